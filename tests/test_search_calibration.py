"""Hand-computed confidences, and which regions answer."""

import math

import numpy as np
import pytest

from fcln.scoring import Calibration
from search.calibration import confidences, nms, place_features, presence_features, sigmoid


def test_place_features():
    features = place_features(np.array([[0.5, 0.4], [0.0, 0.0]]), np.array([0.5, 0.75]))
    assert features.shape == (2, 2, 4)
    # Shares of a softmax of 20 times the similarity: 1 / (1 + e^-2) and e^-2 / (1 + e^-2); then a half each.
    assert features[0, 0] == pytest.approx([1, 0.5, 0, -math.log(1 + math.exp(-2))])
    assert features[0, 1] == pytest.approx([1, 0.4, math.log(3), -2 - math.log(1 + math.exp(-2))])
    assert features[1, 0] == pytest.approx([1, 0, 0, math.log(0.5)])


def test_objectness_of_exactly_1_or_0_is_finite():
    features = place_features(np.zeros((1, 2)), np.array([1.0, 0.0], np.float32))
    assert features[0, :, 2] == pytest.approx([math.log(9999), -math.log(9999)])


def test_a_lone_region_has_its_whole_photograph():
    assert place_features(np.array([[0.3]]), np.array([0.5]))[0, 0, 3] == 0


def test_presence_features():
    similarities, places = np.array([[0.1, 0.6], [0.2, 0.3]]), np.array([[-1.0, -2.0], [0.5, 3.0]])
    assert presence_features(similarities, places).tolist() == [[1, 0.6, -1], [1, 0.3, 3]]


def test_confidence_is_the_product_of_its_factors():
    calibration = Calibration(presence=(-1.0, 2.0, 0.5), place=(0.0, 2.0, 1.0, 0.0), prevalence=0.02)
    sure = confidences(calibration, np.array([[0.5, 0.0]]), np.array([0.5, 0.75]))
    # Places: 1 and log 3; presence: -1 + 2 * 0.5 + 0.5 * log 3.
    presence = math.sqrt(3) / (1 + math.sqrt(3))
    assert sure[0] == pytest.approx([presence / (1 + math.exp(-1)), presence * 0.75])


def test_a_prior_moves_the_odds_that_the_photograph_shows_it():
    certain_place = Calibration(presence=(0.0, 0.0, 0.0), place=(100.0, 0.0, 0.0, 0.0), prevalence=0.02)
    even, rare, sure = (
        confidences(certain_place, np.zeros((1, 1)), np.array([0.5]), prior=prior)[0, 0] for prior in (0.5, 0.02, 0.9)
    )
    assert (even, rare, sure) == pytest.approx((0.5, 0.02, 0.9))
    # Evidence of 4 to 1 for it: 4/49 to 1 where it is in one of fifty.
    evidence = Calibration(presence=(math.log(4), 0.0, 0.0), place=(100.0, 0.0, 0.0, 0.0), prevalence=0.02)
    assert confidences(evidence, np.zeros((1, 1)), np.array([0.5]), prior=0.02)[0, 0] == pytest.approx(4 / 53)


def test_a_known_presence_is_shared_out_among_the_regions():
    calibration = Calibration(presence=(9.0, 9.0, 9.0), place=(0.0, 0.0, 1.0, 0.0), prevalence=0.02)
    # Places: 1/2 and 3/4, so some region is right in 7 of 8 cases; the photograph shows it for sure in 0.7.
    sure = confidences(calibration, np.zeros((1, 2)), np.array([0.5, 0.75]), presence=np.array([0.7]))
    assert sure[0] == pytest.approx([0.7 * 0.5 / 0.875, 0.7 * 0.75 / 0.875])
    # A lone region is where it is.
    alone = confidences(calibration, np.zeros((2, 1)), np.array([0.5]), presence=np.array([0.7, 0.2]))
    assert alone[:, 0] == pytest.approx([0.7, 0.2])


def test_logistic_takes_any_odds():
    assert sigmoid(np.array([-1e9, 0.0, 1e9])) == pytest.approx([0, 0.5, 1])


def test_of_overlapping_answers_the_surest_stays():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 4], [20, 0, 30, 10]], float)
    # The second overlaps the first by 0.8; the third overlaps the first by 0.4, exactly the limit, the second by 0.5.
    assert nms(boxes, np.array([0.5, 0.6, 0.4, 0.9])).tolist() == [3, 1]
    assert nms(boxes, np.array([0.6, 0.5, 0.4, 0.9])).tolist() == [3, 0, 2]


def test_answers_need_the_least_confidence():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], float)
    assert nms(boxes, np.array([0.3, 0.5, 0.2]), threshold=0.3).tolist() == [1, 0]
    assert nms(boxes, np.array([0.3, 0.5, 0.2]), threshold=0.6).tolist() == []


def test_equally_sure_answers_keep_their_order():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [20, 0, 30, 10]], float)
    assert nms(boxes, np.full(3, 0.5)).tolist() == [0, 2]


def test_confidences_of_photographs_side_by_side_are_those_of_each():
    random = np.random.default_rng(5)
    calibration = Calibration(presence=(-1.0, 2.0, 0.5), place=(-3.0, 9.0, 0.7, 1.1), prevalence=0.02)
    sizes = [4, 1, 7]
    similarities = np.full((3, 2, 7), -np.inf)
    objectness = np.zeros((3, 7))
    for photo, size in enumerate(sizes):
        similarities[photo, :, :size] = random.uniform(-0.2, 0.7, (2, size))
        objectness[photo, :size] = random.uniform(size=size)
    presence = random.uniform(size=(3, 2))
    found = confidences(calibration, similarities, objectness, presence=presence)
    for photo, size in enumerate(sizes):
        its_own = similarities[photo, :, :size], objectness[photo, :size]
        alone = confidences(calibration, *its_own, presence=presence[photo])
        assert found[photo, :, :size] == pytest.approx(alone, rel=1e-12)
        assert not found[photo, :, size:].any()
