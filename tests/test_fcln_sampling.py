"""Which boxes are trained on: paper 3.2, 0.7 and 0.3, by hand."""

import torch

from fcln.modeling.boxes import iou
from fcln.training.sampling import Sample, sample_boxes


def draw(boxes: list[list[float]], truth: list[list[float]], *, count: int = 8, seed: int = 0, allowed=None) -> Sample:
    given = torch.tensor(boxes)
    return sample_boxes(
        given,
        torch.tensor(truth),
        torch.ones(len(given), dtype=torch.bool) if allowed is None else torch.tensor(allowed),
        count=count,
        positive_iou=0.7,
        negative_iou=0.3,
        generator=torch.Generator().manual_seed(seed),
    )


def height(share: float) -> list[float]:
    """A box that overlaps the truth by `share`: as wide, that much lower."""
    return [0.0, 0.0, 10.0, 10.0 * share]


TRUTH = [[0.0, 0.0, 10.0, 10.0]]
FAR = [100.0, 100.0, 110.0, 110.0]


def test_thresholds():
    boxes = [height(0.95), height(0.71), height(0.69), height(0.31), height(0.29), FAR]
    sample = draw(boxes, TRUTH)
    chosen = sample.indices.tolist()
    assert sorted(chosen[: sample.positives]) == [0, 1]  # over 0.7
    assert sorted(chosen[sample.positives :]) == [4, 5]  # under 0.3; those between are not trained on
    assert chosen[0] == 0  # the best one of a true box leads


def test_the_best_box_of_each_truth_is_positive_however_bad():
    boxes = [height(0.2), height(0.1), [100.0, 100.0, 110.0, 102.0], FAR, [300.0, 0.0, 310.0, 10.0]]
    sample = draw(boxes, [*TRUTH, [100.0, 100.0, 110.0, 103.0]])
    assert sorted(sample.indices[: sample.positives].tolist()) == [0, 2]
    owners = dict(zip(sample.indices.tolist(), sample.matched.tolist(), strict=False))
    assert owners == {0: 0, 2: 1}
    assert sorted(sample.indices[sample.positives :].tolist()) == [1, 4]  # box 3 overlaps the second truth by 0.3


def test_at_most_half_are_positive_and_each_truth_keeps_its_best():
    good = [height(0.75 + 0.01 * i) for i in range(20)]  # the last is best
    bad = [[200.0 + i, 0.0, 201.0 + i, 1.0] for i in range(30)]
    for seed in range(20):
        sample = draw(good + bad, TRUTH, count=8, seed=seed)
        assert sample.positives == 4 and len(sample.indices) == 8
        assert sample.indices[0] == 19
        assert len(set(sample.indices.tolist())) == 8  # without replacement
        assert (sample.indices[:4] < 20).all() and (sample.indices[4:] >= 20).all()
        assert sample.matched.tolist() == [0] * 4


def test_negatives_fill_what_the_positives_leave():
    boxes = [height(0.9)] + [[200.0 + i, 0.0, 201.0 + i, 1.0] for i in range(30)]
    sample = draw(boxes, TRUTH, count=10)
    assert (sample.positives, len(sample.indices)) == (1, 10)


def test_without_negatives_all_others_serve():
    sample = draw([height(0.9), height(0.5), height(0.4)], TRUTH)
    assert sample.indices[: sample.positives].tolist() == [0]
    assert sorted(sample.indices[sample.positives :].tolist()) == [1, 2]


def test_the_forced_positive_is_not_among_them():
    sample = draw([height(0.5), height(0.4)], TRUTH)
    assert (sample.indices.tolist(), sample.positives) == ([0, 1], 1)


def test_boxes_that_are_not_allowed_are_never_drawn():
    boxes = [height(1.0), height(0.9), height(0.8), FAR, [300.0, 0.0, 310.0, 10.0]]
    sample = draw(boxes, TRUTH, allowed=[False, True, True, False, True])
    assert sorted(sample.indices.tolist()) == [1, 2, 4]
    assert sample.indices[0] == 1  # the best of the allowed ones


def test_a_positive_belongs_to_the_truth_it_overlaps_most():
    truth = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0]]
    sample = draw([height(0.82), height(1.0), FAR], truth)
    assert dict(zip(sample.indices.tolist(), sample.matched.tolist(), strict=False)) == {0: 1, 1: 0}


def test_the_generator_decides():
    generator = torch.Generator().manual_seed(1)
    low = torch.rand(300, 2, generator=generator) * 100
    boxes = torch.cat([low, low + 20], 1).tolist()
    truth = [[30.0, 30.0, 50.0, 50.0]]
    first, again, other = (draw(boxes, truth, count=64, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.indices, again.indices)
    assert not torch.equal(first.indices, other.indices)
    assert (iou(torch.tensor(boxes), torch.tensor(truth))[first.indices[first.positives :]] < 0.3).all()
