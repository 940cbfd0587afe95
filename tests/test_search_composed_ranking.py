"""Photographs ranked by all parts of a question: no further looked at than is asked for, and the same order."""

import numpy as np
import pytest

from db.records import RegionScores
from helpers.word_predictor import SixWords
from search.composed_ranking import ComposedRanking
from search.wording.parse import parse_query

PHOTOS, REGIONS = 120, 5


class Boxes:
    """A collection that knows its regions' boxes, and counts those that are asked for."""

    def __init__(self):
        rng = np.random.default_rng(1)
        corners = rng.uniform(0, 50, (PHOTOS * REGIONS, 2))
        sides = rng.uniform(5, 50, (PHOTOS * REGIONS, 2))
        self._boxes = np.concatenate([corners, corners + sides, rng.uniform(size=(len(sides), 1))], axis=1)
        self.asked = 0

    def boxes(self, region_ids):
        self.asked += len(region_ids)
        return self._boxes[region_ids]


@pytest.fixture
def query():
    query = parse_query(["a dog on a couch"], SixWords())
    assert query.is_composed
    return query


def ranking(query, spread):
    """spread: how far apart the photographs are in what their regions score."""
    rng = np.random.default_rng(2)
    photo_ids = np.repeat(np.arange(PHOTOS), REGIONS)
    good = spread * rng.permutation(PHOTOS) / PHOTOS
    scores = good[photo_ids] + rng.uniform(0, 0.1, (len(query.phrases), PHOTOS * REGIONS))
    regions = RegionScores(np.arange(PHOTOS * REGIONS), photo_ids, scores.astype(np.float32))
    collection = Boxes()
    return ComposedRanking(collection, query, regions, "embedding"), collection


@pytest.mark.parametrize("spread", [0.0, 0.3, 3.0])
def test_the_first_are_the_first_of_all(query, spread):
    everything = ranking(query, spread)[0].first(PHOTOS)
    assert sorted(everything) == list(range(PHOTOS))
    for count in (1, 2, 10, 60, PHOTOS, PHOTOS + 1):
        assert ranking(query, spread)[0].first(count) == everything[:count]
    one = ranking(query, spread)[0]
    assert [one.first(count) for count in (3, 1, 20)] == [everything[:count] for count in (3, 1, 20)]


def test_what_cannot_be_among_the_first_is_not_looked_at(query):
    some, collection = ranking(query, 3.0)
    some.first(10)
    assert collection.asked == 15 * REGIONS
    some.first(10)
    assert collection.asked == 15 * REGIONS
