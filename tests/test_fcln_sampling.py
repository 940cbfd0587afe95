"""Which boxes are trained on: paper 3.2, 0.7 and 0.3, by hand."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fcln.modeling.boxes import iou
from fcln.training.sampling import Sample, sample_boxes


@dataclass(frozen=True)
class Drawn:
    """What was drawn for one photograph, positives first."""

    indices: Tensor  # (S,)
    matched: Tensor  # (P,) true box of each positive
    positives: int


def of_one(sample: Sample, photo: int = 0) -> Drawn:
    positive, used = sample.positive[photo], (sample.positive | sample.negative)[photo]
    count = int(positive.sum())
    assert positive[:count].all() and not (sample.positive & sample.negative).any()
    return Drawn(sample.indices[photo][used], sample.matched[photo][positive], count)


def draw(boxes: list[list[float]], truth: list[list[float]], *, count: int = 8, seed: int = 0, allowed=None) -> Drawn:
    given = torch.tensor(boxes)
    sample = sample_boxes(
        given[None],
        torch.tensor(truth)[None],
        torch.ones(1, len(truth), dtype=torch.bool),
        torch.ones(1, len(given), dtype=torch.bool) if allowed is None else torch.tensor([allowed]),
        count=count,
        fg_iou=0.7,
        bg_iou=0.3,
        generator=torch.Generator().manual_seed(seed),
    )
    return of_one(sample)


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


# -- several photographs at once


def kinds_by_loop(boxes, truth, allowed, fg_iou, bg_iou) -> tuple[set[int], set[int], set[int], dict[int, set[int]]]:
    """The rule one box at a time: those forced, positives, negatives, and the true boxes that each overlaps best."""
    overlap = [[iou(b[None], t[None]).item() if allowed[n] else -1 for t in truth] for n, b in enumerate(boxes)]
    forced = set()
    for t in range(len(truth)):
        best = max(overlap[n][t] for n in range(len(boxes)))
        forced.add(next(n for n in range(len(boxes)) if overlap[n][t] == best))
    best = [max(row, default=-1) for row in overlap]
    drawable = {n for n in range(len(boxes)) if allowed[n]}
    positive = forced | {n for n in drawable if best[n] > fg_iou}
    negative = {n for n in drawable - positive if best[n] < bg_iou} or drawable - positive
    owners = {n: {t for t, x in enumerate(row) if x == best[n]} for n, row in enumerate(overlap)}
    return forced, positive, negative, owners


def random_boxes(count: int, generator: torch.Generator) -> Tensor:
    low = torch.rand(count, 2, generator=generator) * 80
    return torch.cat([low, low + 5 + torch.rand(count, 2, generator=generator) * 40], 1)


def test_a_batch_draws_what_the_rule_says_for_each_photograph():
    """Against a slow loop: photographs with many true boxes, with one, with none; some boxes in the padding."""
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        boxes = torch.stack([random_boxes(60, generator) for _ in range(4)])
        counts = [5, 1, 0, 3]
        truth, is_truth = torch.zeros(4, 5, 4), torch.zeros(4, 5, dtype=torch.bool)
        for n, number in enumerate(counts):
            near = boxes[n, torch.randperm(60, generator=generator)[:number]]  # some boxes are good ones
            truth[n, :number], is_truth[n, :number] = near + torch.rand(number, 4, generator=generator) * 3, True
        allowed = torch.rand(4, 60, generator=generator) < 0.8
        sample = sample_boxes(
            boxes, truth, is_truth, allowed, count=16, fg_iou=0.4, bg_iou=0.2,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        for n, number in enumerate(counts):
            forced, positive, negative, owners = kinds_by_loop(
                boxes[n], truth[n, :number], allowed[n].tolist(), 0.4, 0.2
            )
            drawn = of_one(sample, n)
            chosen = drawn.indices.tolist()
            first, rest = chosen[: drawn.positives], chosen[drawn.positives :]
            assert len(set(chosen)) == len(chosen)
            assert set(first) <= positive and set(rest) <= negative
            assert len(first) == min(8, len(positive)) and len(rest) == min(16 - len(first), len(negative))
            assert forced <= set(first)  # at most five of them, of eight places
            assert set(first[: len(forced)]) == forced
            assert all(m in owners[i] for i, m in zip(first, drawn.matched.tolist(), strict=True))


def test_a_photograph_without_boxes_has_negatives_alone():
    boxes = torch.tensor([height(1.0), FAR])
    sample = sample_boxes(
        boxes[None].expand(2, -1, -1), torch.tensor([TRUTH, [[0.0] * 4]]), torch.tensor([[True], [False]]),
        torch.ones(2, 2, dtype=torch.bool), count=4, fg_iou=0.7, bg_iou=0.3, generator=torch.Generator(),
    )  # fmt: skip
    with_box, without = of_one(sample, 0), of_one(sample, 1)
    assert (with_box.indices.tolist(), with_box.positives) == ([0, 1], 1)
    assert (sorted(without.indices.tolist()), without.positives) == ([0, 1], 0)


def test_what_fills_up_a_photographs_boxes_takes_no_part():
    """Zeros after a photograph's boxes are no boxes: not even a box of no size at the corner is theirs."""
    point = [0.0, 0.0, 0.001, 0.001]
    boxes = torch.tensor([[point, height(0.9), FAR]])
    sample = sample_boxes(
        boxes, torch.tensor([[*TRUTH, [0.0] * 4, [0.0] * 4]]), torch.tensor([[True, False, False]]),
        torch.ones(1, 3, dtype=torch.bool), count=6, fg_iou=0.7, bg_iou=0.3, generator=torch.Generator(),
    )  # fmt: skip
    drawn = of_one(sample)
    assert drawn.indices[: drawn.positives].tolist() == [1] and drawn.matched.tolist() == [0]
    assert sorted(drawn.indices[1:].tolist()) == [0, 2]


def test_fewer_boxes_than_asked_for_are_all_drawn():
    sample = draw([height(0.9), FAR, [300.0, 0.0, 310.0, 10.0]], TRUTH, count=256)
    assert sorted(sample.indices.tolist()) == [0, 1, 2] and sample.positives == 1


def test_a_photograph_of_which_nothing_may_be_drawn_gives_nothing():
    sample = draw([height(0.9), FAR], TRUTH, allowed=[False, False])
    assert len(sample.indices) == 0


def test_boxes_that_all_photographs_share():
    boxes = random_boxes(30, torch.Generator().manual_seed(1))
    truth = boxes[[3, 7]][:, None] + 1
    given = {"is_truth": torch.ones(2, 1, dtype=torch.bool), "allowed": torch.ones(2, 30, dtype=torch.bool)}
    given |= {"truth": truth, "count": 8, "fg_iou": 0.7, "bg_iou": 0.3}
    shared, repeated = (
        sample_boxes(b, **given, generator=torch.Generator().manual_seed(2)) for b in (boxes, boxes.expand(2, -1, -1))
    )
    assert all(torch.equal(value, vars(repeated)[name]) for name, value in vars(shared).items())
