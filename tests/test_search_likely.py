"""How likely the answers of a query are, by hand; lists that stop, through the real command."""

import math
from pathlib import Path

import numpy as np
import pytest

from fcln.scoring import AnswerCalibration, Calibration, Scoring
from search.hits import Hit, HitRegion
from search.likely import CLOSEST, LONGEST, Likelihoods, with_probabilities
from search.wording.parse import Query

ANSWERS = AnswerCalibration(-2.0, 10.0, 0.0, 0.0, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 0.1, -1.0, 2.0)
PLACE = Calibration(presence=(0.0, 0.0, 0.0), place=(0.0, 0.0, 1.0, 0.0), prevalence=0.1)
VECTORS = np.eye(2, dtype=np.float32)


def sigmoid(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def likelihoods(query: Query, *, boxes: bool = True) -> Likelihoods:
    scoring = Scoring(calibration=PLACE if boxes else None, answers=ANSWERS)
    return Likelihoods(scoring, query, VECTORS[: len(query.phrases)])


ONE = Query(["a dog"], ["a dog"], [0], [])
TWO = Query(["a dog", "a couch"], ["a dog", "a couch"], [0, 1], [])
QUESTION = Query(["dog asleep"], ["dog asleep", "a dog"], [1], [])


def test_a_photograph_of_one_phrase():
    assert likelihoods(ONE).of_scores(np.array([0.2, 0.5])) == pytest.approx([0.5, sigmoid(3)])


def test_all_of_several_parts_are_rarer():
    # Log-odds of 0 and 3; of two parts 2 * odds - 1.
    for query in (TWO, QUESTION):
        assert likelihoods(query).of_scores(np.array([0.2, 0.5])) == pytest.approx([sigmoid(-1), sigmoid(5)])


def test_boxes_together_are_as_likely_as_the_photograph():
    boxes = likelihoods(ONE).of_boxes(np.array([[0.2, 0.1]]), np.array([0.75, 0.5]))
    # The photograph 0.5; places 3/4 and 1/2, so one of them in 7 of 8 cases.
    assert boxes == pytest.approx(np.array([[0.5 * 0.75 / 0.875, 0.5 * 0.5 / 0.875]]))
    assert likelihoods(ONE, boxes=False).of_boxes(np.array([[0.2]]), np.array([0.5])) is None


def scores_of(*probabilities: float) -> np.ndarray:
    return np.array([(math.log(p / (1 - p)) + 2) / 10 for p in probabilities])


def test_a_list_stops_where_answers_stop():
    end = likelihoods(ONE).end(scores_of(0.95, 0.95, 0.1, 0.1), k=None, least=None)
    assert (end.count, end.convincing) == (2, True) and end.next == pytest.approx(0.1)


def test_so_many_as_asked_for():
    end = likelihoods(ONE).end(scores_of(0.95, 0.95, 0.1, 0.1), k=3, least=None)
    assert (end.count, end.convincing) == (3, True)
    end = likelihoods(ONE).end(scores_of(0.95, 0.9), k=5, least=None)
    assert (end.count, end.next) == (2, None)


def test_a_least_probability():
    some = scores_of(0.95, 0.6, 0.55, 0.1)
    assert likelihoods(ONE).end(some, k=None, least=0.58).count == 2
    assert likelihoods(ONE).end(some, k=1, least=0.3).count == 1
    none = likelihoods(ONE).end(scores_of(0.2, 0.1), k=None, least=0.5)
    assert (none.count, none.convincing) == (0, False) and none.next == pytest.approx(0.2)


def test_where_nothing_convinces_the_closest_are_shown():
    end = likelihoods(ONE).end(scores_of(*[0.2] * 9), k=None, least=None)
    assert (end.count, end.convincing) == (CLOSEST, False)
    assert likelihoods(ONE).end(scores_of(0.2), k=None, least=None).count == 1
    far = likelihoods(ONE).end(scores_of(0.2, 0.03, 0.01, 0.01), k=None, least=None)
    assert (far.count, far.convincing) == (2, False) and far.next == pytest.approx(0.01)
    assert likelihoods(ONE).end(np.array([]), k=None, least=None).count == 0


def test_a_list_has_an_end_if_everything_answers():
    assert likelihoods(ONE).end(scores_of(*[0.9] * 999), k=None, least=None).count == LONGEST


def test_a_box_of_the_whole_question_is_no_likelier_than_the_photograph():
    box = (0.0, 0.0, 1.0, 1.0)
    regions = [HitRegion(1, box, 0.5, "", "dog asleep", 0.9), HitRegion(2, box, 0.5, "", "a dog", 0.9)]
    (found,) = with_probabilities([Hit(1, 1, Path("a"), 0.2, 9, 9, regions)], likelihoods(QUESTION), QUESTION)
    assert found.probability == round(sigmoid(-1), 4)
    assert [region.probability for region in found.regions] == [found.probability, 0.9]
