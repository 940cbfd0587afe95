"""Ranks of the right photographs without all scores: those of all scores, and where they are found."""

import numpy as np
import pytest

import scripts.evaluate.exact_ranking
from db.records import Features, RegionScores
from scripts.evaluate.exact_ranking import Question, RankedQuestion, Scorer, rank_all, whole_photographs
from search.ranking import rank_photographs


def features(photo_ids: list[int]) -> Features:
    """Regions 1, 2, ... of these photographs; region n has the code n."""
    ids = np.arange(1, len(photo_ids) + 1)
    return Features(ids, np.array(photo_ids), ids[:, None].astype(np.float32), np.zeros((len(ids), 0), np.float32))


class Known:
    """A scorer of known scores, (Q, N) by region id - 1, that tells nothing below a floor; counts what it tells."""

    def __init__(self, scores: np.ndarray):
        self.scores = scores.astype(np.float32)
        self.told = 0

    def scorer(self) -> Scorer:
        return Scorer(self._score, lambda photo, scores: scores.argmin(axis=1))

    def _score(self, regions: Features, floors: np.ndarray) -> np.ndarray:
        scores = self.scores[:, regions.codes[:, 0].astype(int) - 1]
        assert floors.shape == scores.shape and floors.dtype == np.float32
        self.told += int((scores >= floors).sum())
        return np.where(scores >= floors, scores, -np.inf)


def place(ranked: RankedQuestion, photo_id: int) -> int:
    (found,) = np.flatnonzero(ranked.ranking.photo_ids == photo_id)
    return int(found)


PHRASES = ["a dog", "a couch"]
SCORES = np.array([[-1, -5, -2, -3, -9], [-6, -2, -2, -1, -1]])
OWNERS = [10, 10, 20, 20, 30]  # a dog: -1 (region 1), -2 (3), -9 (5); a couch: -2 (2), -1 (4), -1 (5)


@pytest.mark.parametrize(
    ("asked", "photo_id", "ranking", "scores", "regions"),
    [
        ([0, 1], 20, [10, 20], [-1.5, -1.5], [4, 3]),  # a tie: by id
        ([1, 0], 10, [10, 20], [-1.5, -1.5], [1, 2]),
        ([0], 30, [10, 20, 30], [-1, -2, -9], [5]),
        ([1], 10, [20, 30, 10], [-1, -1, -2], [1]),
        ([0], 10, [10], [-1], [2]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 8192])
def test_by_hand(monkeypatch, asked, photo_id, ranking, scores, regions, size) -> None:
    monkeypatch.setattr(scripts.evaluate.exact_ranking, "_REGIONS", size)
    question = Question(asked, photo_id)
    (ranked,) = rank_all([question], PHRASES, features(OWNERS), Known(SCORES).scorer(), desc="")
    assert ranked.ranking.phrases == [PHRASES[phrase] for phrase in asked]
    assert ranked.ranking.photo_ids[: len(ranking)].tolist() == ranking
    assert ranked.ranking.scores[: len(ranking)].tolist() == scores
    assert sorted(ranked.ranking.photo_ids.tolist()) == [10, 20, 30]
    assert ranked.region_ids == regions  # the scorer's own choice: here the worst region


@pytest.mark.parametrize("seed", range(24))
def test_places_are_those_of_all_scores(monkeypatch, seed) -> None:
    monkeypatch.setattr(scripts.evaluate.exact_ranking, "_REGIONS", 50)
    rng = np.random.default_rng(seed)
    owners = np.sort(rng.choice(40, 300)) + 100
    scores = rng.normal(size=(30, 300))
    if seed % 3 == 1:  # many ties
        scores = np.round(scores)
    if seed % 3 == 2:  # many ties but for what rounding takes away
        scores = np.round(scores) + rng.integers(-3, 4, scores.shape) * 3e-7
    known = [
        Question(rng.choice(30, size, replace=False).tolist(), int(rng.choice(owners)))
        for size in rng.integers(1, 5, 25)
    ]
    # The right photographs are better than chance, as they shall be, but for the last questions.
    for question in known[:-5]:
        scores[question.phrases, rng.choice(np.flatnonzero(owners == question.photo_id))] += 2
    scorer = Known(scores)
    all_ranked = rank_all(
        known, [f"phrase {n}" for n in range(30)], features(owners.tolist()), scorer.scorer(), desc=""
    )
    ids = np.arange(1, 301)
    for question, ranked in zip(known, all_ranked, strict=True):
        all_scores = RegionScores(ids, owners, scorer.scores[question.phrases])
        expected = rank_photographs(all_scores, ranked.ranking.phrases)
        until = place(ranked, question.photo_id) + 1
        assert ranked.ranking.photo_ids[:until].tolist() == expected.photo_ids[:until].tolist()
        np.testing.assert_allclose(ranked.ranking.scores[:until], expected.scores[:until], atol=1e-6)
        own = np.flatnonzero(owners == question.photo_id)
        assert ranked.region_ids == (own[scorer.scores[question.phrases][:, own].argmin(axis=1)] + 1).tolist()
    assert scorer.told < scores.size / 2  # most scores are never asked for


def test_parts_hold_whole_photographs(monkeypatch) -> None:
    monkeypatch.setattr(scripts.evaluate.exact_ranking, "_REGIONS", 3)
    found = whole_photographs(features([4, 7, 7, 7, 2, 9]))
    assert [part.photo_ids.tolist() for part in found] == [[4, 7, 7, 7], [2, 9]]
