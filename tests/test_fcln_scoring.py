"""What was fitted to a network, as a weights file keeps it."""

import numpy as np
import pytest

from fcln.scoring import AnswerCalibration, Calibration, Scoring

ANSWERS = AnswerCalibration(-4.0, 20.0, -9.0, 3.0, (0.5, 0.25, -1.0), (0.125, 0.0, 2.0), 0.03, -1.5, 1.25)


@pytest.mark.parametrize(
    "scoring",
    [
        Scoring(),
        Scoring("fused", 0.25),
        Scoring("likelihood", 0.1, Calibration((1, 2, 3), (4, 5, 6, 7), 0.5)),
        Scoring("fused", 0.25, Calibration((1, 2, 3), (4, 5, 6, 7), 0.5), ANSWERS),
        Scoring(answers=ANSWERS),
    ],
)
def test_it_comes_back_from_json(scoring):
    assert Scoring.from_json(scoring.to_json()) == scoring


def test_the_keys_in_the_file_are_those_of_the_first_files():
    values = Scoring("fused", 0.25, Calibration((1, 2, 3), (4, 5, 6, 7), 0.5)).to_json()
    assert list(values) == ["default", "fused_weight", "confidence"]
    assert list(values["confidence"]) == ["presence", "place", "prevalence"]
    assert Scoring.from_json({"default": "fused", "fused_weight": 0.25}) == Scoring("fused", 0.25, None)


@pytest.mark.parametrize(
    "changed",
    [{"usual_mean": [1.0]}, {"usual_mean": [], "usual_spread": []}, {"closest": None}, {"another": 1.0}, {"mean": "x"}],
)
def test_a_calibration_of_answers_of_another_form_is_refused(changed):
    with pytest.raises((KeyError, TypeError, ValueError)):
        AnswerCalibration.from_json(ANSWERS.to_json() | changed)


def test_what_is_usual_for_a_phrase_is_a_linear_function_of_its_vector():
    calibration = AnswerCalibration(0.0, 1.0, 0.0, 0.0, (0.5, -1.0, 0.25), (0.0, 0.0, 0.0), 0.1)
    usual = calibration.usual_similarities(np.array([[1, 0], [0.6, 0.8]], np.float32))
    np.testing.assert_allclose(usual, [0.75, 0.3 - 0.8 + 0.25], atol=1e-7)
