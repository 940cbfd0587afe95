import math

import numpy as np
import pytest

from search.grounding import (
    MAX_REGIONS,
    PhotoRegions,
    answering_regions,
    ground,
    likeliest_regions,
    logit,
    side_by_side,
)

# Four boxes side by side that do not overlap.
APART = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], np.float32)


def apart(*objectness):
    return PhotoRegions(APART[: len(objectness)], np.array(objectness))


def test_log_odds():
    assert logit(np.array([0.5, 0.75, 0.2])).tolist() == pytest.approx([0, math.log(3), -math.log(4)])
    # float32 rounds a sigmoid to exactly 0 or 1
    assert logit(np.array([0, 1], np.float32)).tolist() == pytest.approx([-math.log(9999), math.log(9999)])


def test_score_and_objectness_choose_together():
    # 10 * 0.50 + 0.4 log(0.2 / 0.8) = 4.45; 10 * 0.48 + 0.4 log(0.8 / 0.2) = 5.35; 10 * 0.1 + 0.4 log(999) = 3.76
    scores = np.array([[0.50, 0.48, 0.10], [0.50, 0.20, 0.10]])
    assert ground(scores, apart(0.2, 0.8, 0.999), "embedding").tolist() == [1, 0]
    assert ground(scores, apart(0.2, 0.8, 0.999), "fused").tolist() == [1, 0]
    # -2 + 0.6 log(1) = -2; -3 + 0.6 log(3) = -2.34; -3 + 0.6 log(9) = -1.68
    assert ground(np.array([[-2.0, -3.0]]), apart(0.5, 0.75), "likelihood").tolist() == [0]
    assert ground(np.array([[-2.0, -3.0]]), apart(0.5, 0.9), "likelihood").tolist() == [1]


def test_of_equal_regions_the_first_answers():
    assert ground(np.array([[0.3, 0.3, 0.2]]), apart(0.5, 0.5, 0.5), "embedding").tolist() == [0]


def test_a_region_that_overlaps_other_likely_ones_is_chosen():
    # The second overlaps the first by 5 / 15 and the third not at all; the fourth is alone and likeliest by a little.
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [30, 0, 40, 10], [60, 0, 70, 10]], np.float32)
    regions = PhotoRegions(boxes, np.full(4, 0.5))
    scores = np.log(np.array([[0.29, 0.30, 0.09, 0.32]])) / 10
    # Expected overlaps: 0.29 + 0.30 / 3 = 0.39, 0.30 + 0.29 / 3 = 0.397, 0.09, 0.32.
    assert ground(scores, regions, "embedding").tolist() == [1]
    assert answering_regions(scores, regions, [0], "embedding") == [(1, 0), (3, 0), (0, 0)]
    scores = np.log(np.array([[0.24, 0.25, 0.09, 0.42]])) / 10
    assert ground(scores, regions, "embedding").tolist() == [3]


def test_a_region_that_was_not_judged_never_answers():
    # It overlaps both judged ones, which do not overlap each other, by more than a half.
    boxes = np.array([[0, 0, 10, 10], [0, 0, 20, 10], [10, 0, 20, 10]], np.float32)
    regions = PhotoRegions(boxes, np.array([0.5, 0.999, 0.5]))
    judged = np.array([[-2.0, -np.inf, -2.1]])
    assert ground(judged, regions, "likelihood").tolist() == [0]
    assert answering_regions(judged, regions, [0], "likelihood") == [(0, 0), (2, 0)]
    assert ground(np.array([[-2.0, -2.0, -2.1]]), regions, "likelihood").tolist() == [1]


def test_one_phrase_is_answered_by_the_regions_nearly_as_likely():
    regions = apart(0.5, 0.5, 0.5, 0.5)
    scores = np.array([[0.58, 0.62, 0.56, 0.61]])
    assert answering_regions(scores, regions, [0], "embedding") == [(1, 0), (3, 0), (0, 0)]
    assert len(answering_regions(np.full((1, 4), 0.5), regions, [0], "embedding")) == MAX_REGIONS
    assert answering_regions(scores - np.array([[0.1, 0, 0, 0.1]]), regions, [0], "embedding") == [(1, 0)]


def test_each_of_several_phrases_is_answered_by_one_region():
    scores = np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])
    assert answering_regions(scores, apart(0.5, 0.5, 0.5), [2, 1], "embedding") == [(0, 2), (2, 1)]


def test_the_likeliest_regions_of_many_photographs_are_those_of_each():
    random = np.random.default_rng(4)
    sizes = random.integers(1, 9, 50)
    corners = random.uniform(0, 50, (sizes.sum(), 2))
    regions = PhotoRegions(
        np.concatenate([corners, corners + random.uniform(5, 60, corners.shape)], axis=1),
        random.uniform(size=sizes.sum()),
    )
    scores = random.uniform(0.2, 0.4, (1, sizes.sum())).astype(np.float32)
    ends = np.cumsum(sizes)
    side, their_regions = side_by_side(scores, sizes, regions)
    for scoring in ("embedding", "likelihood"):
        found = likeliest_regions(side[:, 0], their_regions, scoring)
        for rows, start, end in zip(found, ends - sizes, ends, strict=True):
            alone = PhotoRegions(regions.boxes[start:end], regions.objectness[start:end])
            assert [(row, 0) for row in rows] == answering_regions(scores[:, start:end], alone, [0], scoring)
