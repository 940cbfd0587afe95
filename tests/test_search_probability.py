"""Probabilities of answers by hand, and where a list stops."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fcln.scoring import AnswerCalibration
from search.calibration import log_odds
from search.probability import (
    answer_count,
    answer_probabilities,
    composed_probabilities,
    phrase_offsets,
)

# Usual: 0.1 + 0.2 x for a phrase (x, y), with a spread of 0.05 y.
CALIBRATION = AnswerCalibration(-2.0, 10.0, -5.0, 4.0, (0.2, 0.0, 0.1), (0.0, 0.05, 0.0), 0.2)


def test_offsets_see_what_is_usual_for_a_phrase():
    vectors = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    # -2 - 5 * 0.3 + 4 * 0; -2 - 5 * 0.1 + 4 * 0.05
    assert phrase_offsets(CALIBRATION, vectors) == pytest.approx([-3.5, -2.3])


def test_another_prior_moves_the_odds():
    vectors = np.array([[1.0, 0.0]], np.float32)
    # From 1 to 4 to 1 to 1.
    assert phrase_offsets(CALIBRATION, vectors, prior=0.5) == pytest.approx([-3.5 + math.log(4)])
    assert phrase_offsets(CALIBRATION, vectors, prior=0.2) == pytest.approx([-3.5])


def test_probabilities():
    found = answer_probabilities(CALIBRATION, np.array([-3.5, -2.3]), np.array([[0.35, 0.45], [0.0, 1.0]]))
    expected = [[0, 1.0], [-2.3, 7.7]]
    assert found == pytest.approx(np.array([[1 / (1 + math.exp(-odds)) for odds in row] for row in expected]))


def test_nothing_is_certain():
    sure = AnswerCalibration(0.0, 1e6, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0), 0.5)
    assert answer_probabilities(sure, np.zeros(1), np.array([[1.0, -1.0]])).tolist() == [[1 - 1e-6, 1e-6]]


def test_of_several_parts_another_function_of_the_mean_odds():
    calibration = replace(CALIBRATION, parts_constant=-1.0, parts_slope=2.0)
    found = composed_probabilities(calibration, np.array([0.5, 0.5 + math.log(3) / 2, 1e9]))
    assert found == pytest.approx([0.5, 0.75, 1 - 1e-6])


def test_log_odds():
    assert log_odds(0.75) == pytest.approx(math.log(3))


def test_a_list_stops_where_its_expected_f1_is_highest():
    # 2 * 1.9 / (2 + 2.1) = 0.927 for two, 2 * 0.9.. for one: 1.9 / 3.1 = 0.61, for three 4 / 5.1 = 0.78.
    assert answer_count(np.array([0.95, 0.95, 0.1, 0.1])) == 2
    # Even odds: 2 * 0.5 k / (k + 2), the more the better.
    assert answer_count(np.array([0.5, 0.5, 0.5, 0.5])) == 4
    assert answer_count(np.array([0.01] * 100)) == 100
    assert answer_count(np.array([1.0])) == 1
    assert answer_count(np.array([])) == 0
