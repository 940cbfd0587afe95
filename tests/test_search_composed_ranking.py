"""Photographs ranked by all parts of a question: no further looked at than is asked for, and the same order."""

import numpy as np
import pytest

from db.records import RegionScores
from helpers.word_predictor import SixWords
from search.composed_ranking import ComposedRanking, worth_looking_at
from search.composition import compose
from search.grounding import PhotoRegions, side_by_side
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


def test_the_parts_are_those_of_each_photograph_and_nothing_is_read_again(query, monkeypatch):
    """Of photographs that were looked at in several batches, in any order."""
    monkeypatch.setattr("search.composed_ranking._BATCH", 7)
    some, collection = ranking(query, 0.3)
    asked = some.first(25)[::3][::-1]
    before = collection.asked
    scores, regions, parts = some.parts(asked)
    assert collection.asked == before
    assert scores.photo_ids[scores.starts()].tolist() == asked
    for photo_id, rows, part in zip(asked, scores.slices(), parts, strict=True):
        alone = worth_looking_at(some._regions.of(photo_id))
        assert scores.region_ids[rows].tolist() == alone.region_ids.tolist()
        its_regions = PhotoRegions.from_boxes(collection.boxes(alone.region_ids))
        assert regions.boxes[rows].tolist() == its_regions.boxes.tolist()
        assert regions.objectness[rows].tolist() == its_regions.objectness.tolist()
        (expected,) = compose(
            query, *side_by_side(alone.scores, alone.sizes(), its_regions), np.ones((1, 2)), "embedding"
        )
        assert part.score == pytest.approx(expected.score) and round(part.score, 6) == some.score_of(photo_id)
        assert part.as_one_row == expected.as_one_row and part.won == expected.won
        assert [thing.rows for thing in part.things] == [thing.rows for thing in expected.things]
        assert [said.points for said in part.said] == pytest.approx([said.points for said in expected.said])
