"""What was fitted to a network, as a weights file keeps it."""

import pytest

from fcln.scoring import Calibration, Scoring


@pytest.mark.parametrize(
    "scoring",
    [Scoring(), Scoring("fused", 0.25), Scoring("likelihood", 0.1, Calibration((1, 2, 3), (4, 5, 6, 7), 0.5))],
)
def test_it_comes_back_from_json(scoring):
    assert Scoring.from_json(scoring.to_json()) == scoring


def test_the_keys_in_the_file_are_those_of_the_first_files():
    values = Scoring("fused", 0.25, Calibration((1, 2, 3), (4, 5, 6, 7), 0.5)).to_json()
    assert list(values) == ["default", "fused_weight", "confidence"]
    assert list(values["confidence"]) == ["presence", "place", "prevalence"]
    assert Scoring.from_json({"default": "fused", "fused_weight": 0.25}) == Scoring("fused", 0.25, None)
