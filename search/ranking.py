"""Which photographs answer, best first: pure functions over the scores of their regions.

A photograph's score for a phrase is its best region's, for several phrases the mean over phrases (paper, image
retrieval with several captions). The order is total: equal scores are ordered by id, so that the first five of fifteen
hits are the five hits.
"""

from dataclasses import dataclass

import numpy as np

from db.records import RegionScores

# Equal photographs must tie, but float32 sums differ in the seventh digit with the shape of the matrix product.
_DIGITS = 6


@dataclass(frozen=True)
class Ranking:
    """P photographs, best first."""

    phrases: list[str]  # Q phrases scored: the given ones first
    photo_ids: np.ndarray  # (P,) int64
    scores: np.ndarray  # (P,) float64

    def first(self, count: int) -> list[int]:
        """The ids of the first `count` photographs, or of all if there are fewer."""
        return self.photo_ids[:count].tolist()

    def score_of(self, photo_id: int) -> float:
        """The score of a photograph among them."""
        return float(self.scores[self.photo_ids == photo_id][0])


def rank_photographs(regions: RegionScores, phrases: list[str]) -> Ranking:
    """Rank the photographs of some regions.

    regions: at least one judged region for each photograph and phrase.
    """
    return rank_by_best(phrases, regions.photo_ids[regions.starts()], best_scores(regions))


def rank_by_best(phrases: list[str], photo_ids: np.ndarray, best: np.ndarray) -> Ranking:
    """Rank photographs whose scores are known: photo_ids (P,) int64; best (Q, P)."""
    scores = rounded(best.mean(axis=0))
    order = np.lexsort((photo_ids, -scores))
    return Ranking(phrases, photo_ids[order], scores[order])


def rounded(scores: np.ndarray | float) -> np.ndarray:
    """Scores that may be compared."""
    return np.round(np.asarray(scores, np.float64), _DIGITS)


def best_scores(regions: RegionScores) -> np.ndarray:
    """The score of each photograph for each phrase, its best region's: (Q, P) float64."""
    starts = regions.starts()
    if not len(starts):
        return np.empty((len(regions.scores), 0))
    return np.maximum.reduceat(regions.scores, starts, axis=1).astype(np.float64)
