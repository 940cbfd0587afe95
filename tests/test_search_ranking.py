import numpy as np
import pytest

from db.records import RegionScores
from search.ranking import best_scores, rank_photographs


def regions(photo_ids, *scores, region_ids=None):
    region_ids = np.arange(1, len(photo_ids) + 1) if region_ids is None else np.array(region_ids)
    return RegionScores(region_ids, np.array(photo_ids), np.array(scores, dtype=np.float32))


def test_a_photograph_is_as_good_as_its_best_region():
    ranking = rank_photographs(regions([7, 7, 8, 9, 9], [0.1, 0.5, 0.9, 0.2, 0.3]), ["dog"])
    assert ranking.photo_ids.tolist() == [8, 7, 9]
    assert ranking.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert ranking.phrases == ["dog"]


def test_several_phrases_score_the_mean_of_their_best_regions():
    # Photograph 1: (0.8 + 0.2) / 2, photograph 2: (0.4 + 0.7) / 2.
    scored = regions([1, 1, 2, 2], [0.8, 0.1, 0.4, 0.3], [0.0, 0.2, 0.6, 0.7])
    ranking = rank_photographs(scored, ["dog", "couch"])
    assert ranking.photo_ids.tolist() == [2, 1]
    assert ranking.scores.tolist() == pytest.approx([0.55, 0.5])


def test_equal_photographs_are_ordered_by_id():
    scored = regions([5, 5, 3, 3, 4], [0.5, 0.5, 0.5, 0.5, 0.5], region_ids=[1, 2, 3, 4, 5])
    ranking = rank_photographs(scored, ["dog"])
    assert ranking.photo_ids.tolist() == [3, 4, 5]


def test_differences_below_float32s_rounding_are_ties():
    scored = regions([2, 1], [0.3000001, 0.3])
    assert rank_photographs(scored, ["dog"]).photo_ids.tolist() == [1, 2]


def test_a_region_that_was_not_judged_does_not_count():
    scored = regions([1, 1, 2], [-np.inf, -3.0, -4.0])
    ranking = rank_photographs(scored, ["dog"])
    assert ranking.scores.tolist() == [-3.0, -4.0]


def test_no_regions_rank_no_photographs():
    ranking = rank_photographs(regions([], [], []), ["dog on couch", "a dog"])
    assert ranking.photo_ids.tolist() == []


def test_best_scores_agree_with_a_plain_loop():
    random = np.random.default_rng(0)
    photo_ids = np.repeat(random.permutation(40), random.integers(1, 9, 40))
    scored = regions(photo_ids, *random.integers(0, 5, (3, len(photo_ids))))
    best = best_scores(scored)
    photos = list(dict.fromkeys(photo_ids.tolist()))
    for q in range(3):
        for p, photo in enumerate(photos):
            assert best[q, p] == scored.scores[q, photo_ids == photo].max()


def test_the_regions_of_one_photograph():
    scored = regions([1, 2, 2, 3], [0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8])
    of_photo = scored.of(2)
    assert (of_photo.region_ids.tolist(), of_photo.photo_ids.tolist()) == ([2, 3], [2, 2])
    assert of_photo.scores.tolist() == np.array([[0.2, 0.3], [0.6, 0.7]], np.float32).tolist()
