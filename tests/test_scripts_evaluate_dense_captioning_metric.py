"""The dense captioning metric on examples worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from scripts.evaluate.dense_captioning_metric import Labels, Prediction, average_precision, evaluate, match, merge

THING = (0, 0, 10, 10)


def wide(width: float, *, at: float = 0) -> tuple[float, float, float, float]:
    """A box 10 pixels high. Two that begin at the same place overlap by the ratio of their widths."""
    return (at, 0, at + width, 10)


def prediction(*regions: tuple[tuple[float, ...], float, str]) -> Prediction:
    """Of (box, score, caption)."""
    boxes, scores, captions = zip(*regions)
    return Prediction(np.array(boxes, np.float32), np.array(scores, np.float32), list(captions))


def labels(*things: tuple[tuple[float, ...], list[str]]) -> Labels:
    """Of (box, captions)."""
    return Labels(np.array([box for box, _ in things], np.float64), [captions for _, captions in things])


def same(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """1 for a caption that somebody wrote word for word, else 0."""
    return [float(caption in texts) for caption, texts in zip(captions, references, strict=True)]


# -- merging of labelled boxes


def test_boxes_on_one_another_become_their_mean_with_the_captions_of_both() -> None:
    merged = merge(np.array([wide(10), wide(10, at=50), wide(8)]), ["a man", "a lamp", "a tall man"])
    assert merged.boxes.tolist() == [[0, 0, 9, 10], [50, 0, 60, 10]]
    assert merged.captions == [["a man", "a tall man"], ["a lamp"]]


def test_boxes_merge_at_exactly_the_threshold_and_not_below() -> None:
    assert len(merge(np.array([wide(10), wide(7)]), ["a", "b"]).boxes) == 1
    assert len(merge(np.array([wide(10), wide(6.9)]), ["a", "b"]).boxes) == 2


def test_the_box_with_the_most_neighbours_takes_them_all() -> None:
    # 10 and 6.4 overlap by 0.64 only, but each overlaps 8 by 0.8.
    merged = merge(np.array([wide(10), wide(8), wide(6.4)]), ["a", "b", "c"])
    assert merged.boxes[0].tolist() == pytest.approx([0, 0, 24.4 / 3, 10])
    assert merged.captions == [["a", "b", "c"]]


def test_what_is_merged_draws_no_further_boxes_in() -> None:
    # 8 and 6.4 have two neighbours each; the first of them takes its own, and 5.12 remains.
    merged = merge(np.array([wide(10), wide(8), wide(6.4), wide(5.12)]), ["a", "b", "c", "d"])
    assert merged.captions == [["a", "b", "c"], ["d"]]
    assert merged.boxes[1].tolist() == pytest.approx([0, 0, 5.12, 10])


def test_a_box_with_two_captions_weighs_twice_and_keeps_both() -> None:
    merged = merge(np.array([wide(10), wide(7), wide(10)]), ["a man", "a boy", "a man"])
    assert merged.boxes.tolist() == [[0, 0, 9, 10]]
    assert merged.captions == [["a man", "a boy", "a man"]]


# -- which labelled box a region belongs to


def test_surest_first_and_the_others_are_duplicates() -> None:
    # The second lies exactly on the box, but the surer one, which overlaps half of it, has taken it.
    found = match(np.array([THING, wide(5)]), np.array([0.8, 0.9]), np.array([THING]))
    assert found.regions.tolist() == [1, 0]
    assert found.labels.tolist() == [0, 0]
    assert found.overlaps.tolist() == [0.5, 1.0]
    assert found.first.tolist() == [True, False]


def test_a_duplicate_does_not_get_the_second_best_box() -> None:
    # 9 wide: overlaps the box of 10, which is taken, by 0.9, and the free one of 5 by 0.56.
    found = match(np.array([wide(10), wide(9)]), np.array([0.9, 0.8]), np.array([wide(10), wide(5)]))
    assert found.labels.tolist() == [0, 0]
    assert found.first.tolist() == [True, False]


def test_the_least_overlap_takes_a_box() -> None:
    found = match(np.array([wide(1, at=9), THING]), np.array([0.9, 0.8]), np.array([THING]))
    assert found.overlaps.tolist() == [0.1, 1.0]
    assert found.first.tolist() == [True, False]


def test_a_region_that_touches_nothing_takes_nothing() -> None:
    found = match(np.array([wide(10, at=90), THING]), np.array([0.9, 0.8]), np.array([THING, wide(5, at=50)]))
    assert found.overlaps.tolist() == [0.0, 1.0]
    assert found.first.tolist() == [False, True]


# -- average precision


@pytest.mark.parametrize(
    ("correct", "count", "expected"),
    [
        ([True, True], 2, 1),
        ([False, False], 2, 0),
        ([], 2, 0),
        # Half of all at precision 1, for the 51 levels to 0.50; the other half at 2/3, for 50 levels.
        ([True, False, True], 2, (51 + 50 * 2 / 3) / 101),
        # The precision before the first right one is 0, but 1/2 is reached at a higher recall.
        ([False, True], 1, 1 / 2),
        # A quarter found: the levels 0.00 to 0.25.
        ([True], 4, 26 / 101),
        # 1, then 2/4, then 3/5: a later precision counts where it is better. Thirds begin at the levels 0.34 and 0.67.
        ([True, False, False, True, True], 3, (34 + 67 * 3 / 5) / 101),
    ],
)
def test_average_precision(correct: list[bool], count: int, expected: float) -> None:
    assert average_precision(np.array(correct, bool), count) == pytest.approx(expected)


def test_recall_reaches_its_levels_exactly() -> None:
    for count in range(1, 80):
        for found in range(1, count + 1):
            levels = 100 * found // count + 1
            assert average_precision(np.ones(found, bool), count) == pytest.approx(levels / 101), (found, count)


# -- all of it


def test_a_perfect_prediction_scores_100() -> None:
    photos = [
        (labels((THING, ["a man", "a boy"]), (wide(5, at=30), ["a lamp"])),
         prediction((wide(5, at=30), 0.3, "a lamp"), (THING, 0.9, "a boy"))),
        (labels((wide(40), ["the sea"])), prediction((wide(40), 0.5, "the sea"))),
    ]  # fmt: skip
    figures = evaluate(photos, same)
    assert figures.mean_ap == pytest.approx(100)
    assert figures.localization_ap == pytest.approx(100)
    assert figures.meteor == 1
    assert (figures.regions, figures.labels) == (3, 3)


def test_overlaps_count_from_their_threshold_and_meteor_beyond_its_own() -> None:
    photo = (labels((THING, ["a man"])), prediction((wide(5), 0.9, "a boy")))
    figures = evaluate([photo], lambda captions, references: [0.1] * len(captions))
    right = {(t, m) for t, row in figures.ap.items() for m, ap in row.items() if ap}
    assert right == {(t, m) for t in (0.3, 0.4, 0.5) for m in (0.0, 0.05)}
    assert figures.mean_ap == pytest.approx(100 * 6 / 30)
    assert figures.localization_ap_at == pytest.approx({0.3: 100, 0.4: 100, 0.5: 100, 0.6: 0, 0.7: 0})
    assert figures.localization_ap == pytest.approx(100 * 3 / 5)
    assert figures.meteor == pytest.approx(0.1)


def test_a_caption_without_a_word_in_common_is_wrong_even_at_0() -> None:
    photo = (labels((THING, ["a man"])), prediction((THING, 0.9, "zebra")))
    figures = evaluate([photo], same)
    assert (figures.mean_ap, figures.localization_ap, figures.meteor) == (0, pytest.approx(100), 0)


def test_captions_belong_to_their_boxes_but_not_for_meteor_alone() -> None:
    photo = (
        labels((THING, ["a man"]), (wide(5, at=30), ["a lamp"])),
        prediction((THING, 0.9, "a lamp"), (wide(5, at=30), 0.8, "a man")),
    )
    figures = evaluate([photo], same)
    assert (figures.mean_ap, figures.localization_ap, figures.meteor) == (0, pytest.approx(100), 1)


def test_regions_of_all_photographs_are_one_list() -> None:
    # The surest region of all is wrong, the next is right: of two boxes, half are found at precision 1/2.
    photos = [
        (labels((THING, ["a man"])), prediction((wide(10, at=50), 0.9, "a man"))),
        (labels((THING, ["a man"])), prediction((wide(1, at=70), 0.1, "a man"), (THING, 0.8, "a man"))),
    ]
    figures = evaluate(photos, same)
    assert (figures.mean_ap, figures.localization_ap) == pytest.approx((100 * 51 / 2 / 101,) * 2)
    assert figures.meteor == 1


def test_a_duplicate_is_wrong_whatever_it_says() -> None:
    photo = (labels((THING, ["a man"])), prediction((wide(8), 0.9, "zebra"), (THING, 0.8, "a man")))
    figures = evaluate([photo], same)
    assert (figures.mean_ap, figures.localization_ap) == (0, pytest.approx(100))
    assert figures.meteor == 1 / 2


def test_no_question_is_asked_twice_nor_where_the_answer_is_known() -> None:
    asked = []

    def closeness(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        asked.extend(zip(captions, references, strict=True))
        return same(captions, references)

    photo = (
        labels((THING, ["a man", "a man"]), (wide(5, at=30), ["a lamp"])),
        # Right, a duplicate, too far off.
        prediction((THING, 0.9, "a man"), (wide(9), 0.8, "a man"), (wide(1, at=34), 0.7, "a man")),
    )
    evaluate([photo], closeness)
    assert asked == [("a man", ("a man", "a man")), ("a man", ("a man", "a lamp"))]
