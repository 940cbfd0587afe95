"""How two boxes lie to each other, and where one lies in a photograph."""

import numpy as np
import pytest

from search.relations import PLACES, RELATIONS, place_scores, relation_scores

#          x1  y1  x2  y2
LEFT = (10, 40, 30, 60)
RIGHT = (70, 40, 90, 60)
HIGH = (40, 5, 60, 25)
LOW = (40, 75, 60, 95)
SOFA = (10, 50, 90, 95)
ON_SOFA = (40, 35, 60, 70)
TABLE = (20, 30, 80, 90)
UNDER_TABLE = (40, 65, 60, 88)
BASKET = (30, 30, 70, 70)
IN_BASKET = (40, 40, 60, 60)
BESIDE = (32, 40, 52, 60)
HUGE = (0, 0, 95, 95)


def score(kind, a, b):
    return float(relation_scores(kind, np.array([a]), np.array([b]))[0, 0])


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("left of", LEFT, RIGHT),
        ("right of", RIGHT, LEFT),
        ("above", HIGH, LOW),
        ("below", LOW, HIGH),
        ("on", ON_SOFA, SOFA),
        ("under", UNDER_TABLE, TABLE),
        ("in", IN_BASKET, BASKET),
        ("in", BASKET, IN_BASKET),  # the man in the jacket: his box is the larger one
        ("inside", IN_BASKET, BASKET),
        ("next to", BESIDE, LEFT),
        ("bigger than", SOFA, LEFT),
        ("smaller than", LEFT, SOFA),
    ],
)
def test_what_holds_scores_high(kind, a, b):
    assert score(kind, a, b) > 0.75


@pytest.mark.parametrize(
    ("kind", "a", "b"),
    [
        ("left of", RIGHT, LEFT),
        ("right of", LEFT, RIGHT),
        ("above", LOW, HIGH),
        ("below", HIGH, LOW),
        ("on", SOFA, ON_SOFA),
        ("on", HIGH, SOFA),  # in the air
        ("on", UNDER_TABLE, HIGH),
        ("on", LEFT, RIGHT),
        ("under", HIGH, TABLE),
        ("in", LEFT, RIGHT),
        ("inside", BASKET, IN_BASKET),
        ("inside", LEFT, BASKET),
        ("next to", LEFT, RIGHT),  # far apart
        ("next to", IN_BASKET, BASKET),  # in it
        ("bigger than", LEFT, SOFA),
        ("smaller than", SOFA, LEFT),
    ],
)
def test_what_does_not_hold_scores_low(kind, a, b):
    assert score(kind, a, b) < 0.3


@pytest.mark.parametrize(
    ("kind", "opposite"), [("left of", "right of"), ("above", "below"), ("bigger than", "smaller than")]
)
def test_opposites_are_complements(kind, opposite):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 100, (8, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)
    forth, back = relation_scores(kind, boxes, boxes), relation_scores(opposite, boxes, boxes)
    np.testing.assert_allclose(forth + back, 1)
    np.testing.assert_allclose(forth, back.T)


def test_a_score_changes_little_by_little():
    places = np.arange(0, 81, dtype=float)
    boxes = np.stack([places, places * 0 + 40, places + 20, places * 0 + 60], axis=1)
    scores = relation_scores("left of", boxes, np.array([(40, 40, 60, 60)]))[:, 0]
    assert (np.diff(scores) <= 0).all() and (np.abs(np.diff(scores)) < 0.1).all()
    assert scores[40] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", RELATIONS)
def test_every_score_is_between_0_and_1_whatever_the_boxes(kind):
    odd = np.array([(0, 0, 0, 0), (5, 5, 5.001, 90), (0, 0, 1e4, 1e4), LEFT, (-5, -5, 3, 3)], np.float32)
    scores = relation_scores(kind, odd, odd)
    assert scores.shape == (5, 5) and scores.dtype == np.float64
    assert (scores > 0).all() and (scores < 1).all()


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        ("left", LEFT, RIGHT),
        ("right", RIGHT, LEFT),
        ("top", HIGH, LOW),
        ("bottom", LOW, HIGH),
        ("top left", (5, 5, 25, 25), (75, 75, 95, 95)),
        ("top right", (75, 5, 95, 25), (5, 75, 25, 95)),
        ("bottom left", (5, 75, 25, 95), (75, 5, 95, 25)),
        ("bottom right", (75, 75, 95, 95), (5, 5, 25, 25)),
        ("corner", (75, 75, 95, 95), IN_BASKET),
        ("middle", IN_BASKET, (5, 5, 25, 25)),
        ("foreground", (20, 40, 80, 100), (45, 30, 55, 45)),
        ("background", (45, 30, 55, 45), (20, 40, 80, 100)),
    ],
)
def test_places(kind, inside, outside):
    scores = place_scores(kind, np.array([inside, outside]), 100, 100)
    assert scores[0] > 0.7 and scores[1] < 0.3
    # of the photograph's sides, not of pixels
    wide = place_scores(kind, np.array([inside, outside]) * (3, 1, 3, 1), 300, 100)
    np.testing.assert_allclose(wide, scores)


@pytest.mark.parametrize("kind", PLACES)
def test_places_of_any_box_are_between_0_and_1(kind):
    scores = place_scores(kind, np.array([(0, 0, 0, 0), HUGE, (99, 99, 100, 100)]), 100, 100)
    assert (scores > 0).all() and (scores < 1).all()
