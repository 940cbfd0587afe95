"""How much the parts of a question weigh, and what that does to a photograph's score and its explanation."""

import numpy as np
import pytest

from fcln.scoring import AnswerCalibration, Scoring
from search.composition import compose, upper_bounds
from search.explanation import ExplainedThing, Explanation
from search.explanation_text import explanation_document, explanation_lines
from search.grounding import PhotoRegions, side_by_side
from search.likely import CLOSEST, CLOSEST_OF_PARTS, Likelihoods
from search.part_weights import part_weights
from search.probability import rarities
from search.wording.counts import Count
from search.wording.parse import Query

# A first axis on which phrases are as usual as they lie along it: "a man" in nearly every photograph.
ANSWERS = AnswerCalibration(-6.0, 10.0, 0.0, 0.0, (0.8, 0.0, 0.0), (0.0, 0.0, 0.0), 0.1)
SCORING = Scoring(answers=ANSWERS)
MAN, TRUMPET, BOTH = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.6, 0.8])
QUESTION = Query(["man with a trumpet"], ["man with a trumpet", "a man", "a trumpet"], [1, 2], [])
DOING = Query(["dog swimming"], ["dog swimming", "a dog"], [1], [])
REGIONS = PhotoRegions(np.array([[0, 0, 30, 30], [60, 0, 90, 30]], np.float64), np.array([0.5, 0.5]))


def compose_one(query, scores, weights):
    arrays = side_by_side(np.array(scores, np.float32), np.array([2]), REGIONS)
    (found,) = compose(query, *arrays, np.array([(100, 100)]), "embedding", weights)
    return found


def test_what_photographs_seldom_show_is_rare():
    # log-odds of 8 - 6 and of 0 - 6
    assert rarities(ANSWERS, np.stack([MAN, TRUMPET])) == pytest.approx([np.log1p(np.exp(-2)), np.log1p(np.exp(6))])


def test_rare_things_weigh_more():
    weights = part_weights(QUESTION, SCORING, np.stack([BOTH, MAN, TRUMPET]))
    assert weights.as_one == 0.5
    assert weights.things == pytest.approx(np.array([0.1269, 6.0025]) / 6.1294, abs=1e-3)
    vectors = np.array([[0.5, 0.5], [0.9, 0.1], [0.1, 0.9]])  # how like each phrase's best region is
    lamp = compose_one(QUESTION, vectors[:, [0, 1]], weights)
    equal = compose_one(QUESTION, vectors[:, [0, 1]], part_weights(QUESTION))
    assert lamp.score == pytest.approx(equal.score, abs=0.02)  # both are there
    man, trumpet = ([[0.5, 0.1], [0.9, 0.1], [0.1, 0.1]], [[0.5, 0.1], [0.1, 0.1], [0.9, 0.1]])
    assert compose_one(QUESTION, trumpet, weights).score > compose_one(QUESTION, man, weights).score + 0.3
    same = [compose_one(QUESTION, scores, part_weights(QUESTION)).score for scores in (man, trumpet)]
    assert same[0] == pytest.approx(same[1])


def test_nothing_known_of_things_or_several_phrases_given_weigh_the_same():
    vectors = np.stack([BOTH, MAN, TRUMPET])
    assert part_weights(QUESTION).things.tolist() == [0.5, 0.5]
    assert part_weights(QUESTION, Scoring(), vectors).things.tolist() == [0.5, 0.5]
    given = part_weights(Query(["a man", "a trumpet"], ["a man", "a trumpet"], [0, 1], []), SCORING, vectors[1:])
    assert (given.as_one, given.things.tolist(), given.of_said) == (0.0, [0.5, 0.5], 1.0)


def test_a_question_that_names_one_thing_is_mostly_that_question():
    weights = part_weights(DOING)
    assert (weights.as_one, weights.things.tolist()) == (0.9, [1.0])
    swims = compose_one(DOING, [[0.5, 0.0], [0.3, 0.0]], weights)
    stands = compose_one(DOING, [[0.4, 0.0], [0.6, 0.0]], weights)
    assert swims.score == pytest.approx(0.9 * 0.5 + 0.1 * 0.3)
    assert swims.score > stands.score


@pytest.mark.parametrize("phrases", [["two dogs swimming", "a dog"], ["two dogs on a couch", "a dog", "a couch"]])
def test_what_is_said_weighs_the_same_beside_one_thing_and_beside_several(phrases):
    query = Query(phrases[:1], phrases, list(range(1, len(phrases))), [], counts={"a dog": Count(2)})
    weights = part_weights(query)
    both, one = ([[0.5, 0.5]] + [[0.5, 0.5]] * (len(phrases) - 1), [[0.5, -0.5]] + [[0.5, -0.5]] * (len(phrases) - 1))
    found = compose_one(query, both, weights)
    points = sum(part.points for part in found.said)
    assert (1 - weights.as_one) * points == pytest.approx(0.5 * 0.05 * np.log(found.said[0].score))
    assert found.score > compose_one(query, one, weights).score
    best = np.array(both).max(axis=1, keepdims=True)
    assert found.score <= upper_bounds(query, best, weights)[0]


@pytest.mark.parametrize("query", [QUESTION, DOING])
def test_the_parts_of_an_explanation_add_up(query):
    vectors = np.stack([BOTH, MAN, TRUMPET])[: len(query.phrases)]
    weights = part_weights(query, SCORING, vectors)
    found = compose_one(query, [[0.5, 0.1], [0.7, 0.2], [0.1, 0.4]][: len(query.phrases)], weights)
    things = sum(share * thing.score for share, thing in zip(weights.things, found.things, strict=True))
    assert found.as_things == pytest.approx(things)
    assert found.score == pytest.approx(weights.as_one * found.as_one + (1 - weights.as_one) * found.as_things)


def test_an_explanation_tells_the_shares():
    things = [ExplainedThing("a man", 0.5, [], 0.25), ExplainedThing("a trumpet", 0.3, [], 0.75)]
    told = Explanation("several things", ExplainedThing("man with a trumpet", 0.4, [], 0.5), 0.35, things)
    first, _, _, man, _ = explanation_lines(told, 0.375)
    assert first == "0.375 = the mean of 0.400 and 0.350"
    assert man.startswith('thing, 25%: "a man" 0.500')
    assert [part["share"] for part in explanation_document(told, dict)["things"]] == [0.25, 0.75]
    one = Explanation(
        "one thing", ExplainedThing("dog swimming", 0.5, [], 0.9), 0.3, [ExplainedThing("a dog", 0.3, [])]
    )
    lines = list(explanation_lines(one, 0.48))
    assert lines[0] == "0.480 = 90% of 0.500 and 10% of 0.300" and lines[3].startswith('thing: "a dog"')


def test_log_odds_of_a_question_are_weighted_as_its_score_is():
    vectors = np.stack([BOTH, MAN, TRUMPET])
    answers = AnswerCalibration(-6.0, 10.0, 5.0, 0.0, (0.8, 0.0, 0.0), (0.0, 0.0, 0.0), 0.1)
    scoring = Scoring(answers=answers)
    weights = part_weights(QUESTION, scoring, vectors)
    # offsets: -6 + 5 * usual, of which "a man" has 0.8, the question 0.48
    odds = 10 * 0.3 - 6 + 5 * (0.5 * 0.48 + 0.5 * weights.things[0] * 0.8)
    found = Likelihoods(scoring, QUESTION, vectors).of_scores(np.array([0.3]))
    assert found == pytest.approx([1 / (1 + np.exp(-odds))])


def test_more_are_shown_of_several_parts_where_nothing_convinces():
    scores = np.full(20, 0.3)
    of_parts = Likelihoods(SCORING, QUESTION, np.stack([BOTH, MAN, TRUMPET])).end(scores, k=None, least=None)
    of_one = Likelihoods(SCORING, Query(["a man"], ["a man"], [0], []), MAN[None]).end(scores, k=None, least=None)
    assert not of_parts.convincing and not of_one.convincing
    assert (of_parts.count, of_one.count) == (CLOSEST_OF_PARTS, CLOSEST)
    assert CLOSEST_OF_PARTS > CLOSEST
