import math

import numpy as np
import pytest

from db.records import RegionScores
from helpers.word_predictor import WordPredictor, code_of
from search.likelihood import (
    JUDGED_PAIRS,
    JUDGED_REGIONS,
    MIN_JUDGED_PHOTOS,
    closest_regions,
    fuse,
    judged_photos,
    log_likelihoods,
)


def test_log_likelihoods_of_the_regions_to_judge():
    predictor = WordPredictor()
    codes = np.stack([code_of("dog"), code_of("red couch"), code_of("dog")])
    judged = np.array([[True, False, True], [False, True, False]])
    scores = log_likelihoods(predictor, ["dog", "red lamp"], codes, judged)
    # "dog" given a region of one word: 0.8. "red lamp" given red and couch: 0.8 / 2 * 0.2 / 4.
    expected = [[math.log(0.8), -math.inf, math.log(0.8)], [-math.inf, math.log(0.4 * 0.05), -math.inf]]
    assert scores == pytest.approx(np.array(expected))
    assert scores.dtype == np.float32
    assert predictor.judged == 3


def test_all_regions_are_judged_if_none_are_named():
    predictor = WordPredictor()
    scores = log_likelihoods(predictor, ["dog", "red"], np.stack([code_of("dog"), code_of("red couch")]))
    expected = np.log([[0.8, 0.2 / 4], [0.2 / 5, 0.8 / 2]])
    assert scores == pytest.approx(expected)


def test_the_closest_regions_as_sorting_finds_them():
    """Of photographs of any number of regions, equal scores and ones that were not judged: the first ones."""
    random = np.random.default_rng(3)
    sizes = random.integers(1, 30, 40)
    scores = random.integers(0, 12, (3, sizes.sum())).astype(np.float32)
    scores[random.uniform(size=scores.shape) < 0.2] = -np.inf
    cosines = RegionScores(np.arange(sizes.sum()), np.repeat(np.arange(40), sizes), scores)
    for count in (1, 5, 40):
        judged = closest_regions(cosines, count)
        for its_rows in cosines.slices():
            for row, its_scores in zip(judged[:, its_rows], scores[:, its_rows], strict=True):
                first = sorted(range(len(its_scores)), key=lambda place: -its_scores[place])[:count]
                assert np.flatnonzero(row).tolist() == sorted(first)
    assert closest_regions(cosines.take(slice(0, 0)), 5).shape == (3, 0)


def test_the_closest_regions_of_each_photograph_are_judged():
    cosines = RegionScores(
        np.arange(1, 7),
        np.array([4, 4, 4, 2, 9, 9]),
        np.array([[0.1, 0.3, 0.2, 0.0, 0.5, 0.5], [0.9, 0.8, 0.7, 0.6, 0.1, 0.2]], dtype=np.float32),
    )
    assert closest_regions(cosines, 1).tolist() == [
        [False, True, False, True, True, False],
        [True, False, False, True, False, True],
    ]
    assert closest_regions(cosines, 2).tolist() == [
        [False, True, True, True, True, True],
        [True, True, False, True, True, True],
    ]


def test_fused_is_the_cosine_and_the_weighted_likelihood_of_a_word():
    cosines = np.array([[0.5, 0.2], [0.1, 0.0]], dtype=np.float32)
    likelihoods = np.array([[-4.0, -2.0], [-6.0, -np.inf]], dtype=np.float32)
    fused = fuse(cosines, likelihoods, [2, 3], 0.25)
    assert fused == pytest.approx(np.array([[0.5 - 0.5, 0.2 - 0.25], [0.1 - 0.5, -np.inf]]))
    assert fused.dtype == np.float32
    assert fuse(cosines, likelihoods, [2, 3], 0.0).tolist() == [cosines[0].tolist(), [cosines[1, 0], -np.inf]]


def test_more_phrases_leave_fewer_photographs_to_judge():
    assert judged_photos(1, k=10) == JUDGED_PAIRS // JUDGED_REGIONS
    assert judged_photos(3, k=10) * 3 * JUDGED_REGIONS <= JUDGED_PAIRS
    assert judged_photos(1000, k=10) == MIN_JUDGED_PHOTOS
    assert judged_photos(3, k=5000) == 5000
