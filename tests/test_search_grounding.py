import math

import numpy as np
import pytest

from search.grounding import grounded, log_odds
from search.ranking import RegionScores, answering_regions, best_regions, rank_photographs


def regions(photo_ids, *scores):
    ids = np.arange(1, len(photo_ids) + 1)
    return RegionScores(ids, np.array(photo_ids), np.array(scores, dtype=np.float32))


def test_log_odds():
    assert log_odds(np.array([0.5, 0.75, 0.2])).tolist() == pytest.approx([0, math.log(3), -math.log(4)])
    # float32 rounds a sigmoid to exactly 0 or 1
    assert log_odds(np.array([0, 1], np.float32)).tolist() == pytest.approx([-math.log(9999), math.log(9999)])


def test_objectness_chooses_among_regions_and_changes_no_score():
    # In photograph 1 the half dog is a little more similar, the whole one is surely a thing.
    scored = regions([1, 1, 1, 2, 2], [0.50, 0.48, 0.10, 0.49, 0.20])
    chosen = grounded(scored, np.array([0.2, 0.8, 0.999, 0.01, 0.9]), "embedding")
    # 0.50 - 0.0555, 0.48 + 0.0555, 0.10 + 0.2763; 0.49 - 0.1838, 0.20 + 0.0879
    assert chosen.grounding[0].tolist() == pytest.approx([0.4445, 0.5355, 0.3763, 0.3062, 0.2879], abs=1e-4)
    best, rows = best_regions(chosen)
    assert best[0].tolist() == pytest.approx([0.50, 0.49])
    assert rows.tolist() == [[1, 3]]
    plain, ranking = rank_photographs(scored, ["a dog"]), rank_photographs(chosen, ["a dog"])
    assert ranking.photo_ids.tolist() == plain.photo_ids.tolist() == [1, 2]
    assert ranking.scores.tolist() == plain.scores.tolist()
    assert (plain.best_region_ids[0, 0], ranking.best_region_ids[0, 0]) == (1, 2)
    assert answering_regions(chosen, 1, [0], closeness=0.1) == [(1, 0), (0, 0)]
    assert answering_regions(chosen, 1, [0, 0], closeness=0.1) == [(1, 0), (1, 0)]


def test_a_likelihood_is_weighed_as_a_probability():
    scored = regions([1, 1], [-2.0, -3.0])
    chosen = grounded(scored, np.array([0.5, 0.75]), "likelihood")
    assert chosen.grounding[0].tolist() == pytest.approx([-2, -3 + math.log(3)])


def test_a_region_that_was_not_judged_is_not_chosen_however_much_a_thing_it_is():
    chosen = grounded(regions([1, 1], [-np.inf, -9.0]), np.array([1.0, 0.0]), "likelihood")
    assert best_regions(chosen)[1].tolist() == [[1]]


def test_regions_of_some_photographs_keep_their_grounding():
    chosen = grounded(regions([7, 7, 8, 9], [0.1, 0.2, 0.3, 0.4]), np.full(4, 0.5), "fused")
    some = chosen.of(np.array([9, 7]))
    assert some.region_ids.tolist() == [1, 2, 4]
    assert some.photo_ids.tolist() == [7, 7, 9]
    assert some.scores[0].tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert some.grounding[0].tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert regions([7, 8], [0.1, 0.2]).of(np.array([8])).grounding is None
