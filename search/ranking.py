"""Which photographs answer, best first: pure functions over the scores of their regions.

A photograph's score for a phrase is its best region's, for several phrases the mean over phrases (paper, image
retrieval with several captions). The order is total: equal scores are ordered by id, so that the first five of fifteen
hits are the five hits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# How many regions show where a photograph answers a single phrase: the best, and others nearly as good.
MAX_REGIONS = 3

# Equal photographs must tie, but float32 sums differ in the seventh digit with the shape of the matrix product.
_DIGITS = 6


@dataclass(frozen=True)
class RegionScores:
    """Scores of N regions for Q phrases. The rows of a photograph stand together, in the order of region ids."""

    region_ids: np.ndarray  # (N,) int64
    photo_ids: np.ndarray  # (N,) int64
    scores: np.ndarray  # (Q, N) float32, higher is better; -inf: not judged

    def starts(self) -> np.ndarray:
        """(P,) int64: the first row of each photograph."""
        return np.flatnonzero(np.diff(self.photo_ids, prepend=-1))


@dataclass(frozen=True)
class Ranking:
    """P photographs, best first."""

    phrases: list[str]  # Q phrases scored: the given ones first
    photo_ids: np.ndarray  # (P,) int64
    scores: np.ndarray  # (P,) float64
    best_region_ids: np.ndarray  # (P, Q) int64: the region that answers a phrase best, its grounding


def rank_photographs(regions: RegionScores, phrases: list[str]) -> Ranking:
    """Rank the photographs of some regions.

    regions: at least one judged region for each photograph and phrase.
    """
    best, rows = best_regions(regions)
    return rank_by_best(phrases, regions.photo_ids[regions.starts()], best, regions.region_ids[rows])


def rank_by_best(phrases: list[str], photo_ids: np.ndarray, best: np.ndarray, region_ids: np.ndarray) -> Ranking:
    """Rank photographs whose best regions are known: photo_ids (P,) int64; best (Q, P) scores, region_ids (Q, P)."""
    scores = np.round(best.mean(axis=0), _DIGITS)
    order = np.lexsort((photo_ids, -scores))
    return Ranking(phrases, photo_ids[order], scores[order], region_ids.T[order])


def best_regions(regions: RegionScores) -> tuple[np.ndarray, np.ndarray]:
    """The best region of each photograph for each phrase; of equal ones that with the lowest id.

    Returns scores (Q, P) float64 and rows (Q, P) int64 of `regions`.
    """
    starts = regions.starts()
    if not len(starts):
        empty = np.empty((len(regions.scores), 0))
        return empty, empty.astype(np.int64)
    best = np.maximum.reduceat(regions.scores, starts, axis=1)  # (Q, P)
    sizes = np.diff(starts, append=len(regions.photo_ids))
    rows = np.empty(best.shape, dtype=np.int64)
    for q, scores in enumerate(regions.scores):
        winning = np.flatnonzero(scores == np.repeat(best[q], sizes))
        rows[q] = winning[np.searchsorted(winning, starts)]  # the first winning row of each photograph
    return best.astype(np.float64), rows


def answering_regions(
    regions: RegionScores, photo_id: int, columns: Sequence[int], closeness: float
) -> list[tuple[int, int]]:
    """The regions that show where a photograph answers, as (row of regions, column of a phrase).

    Several phrases: the best region of each, in the order of the phrases. One phrase: its best region and others
    whose score is at most `closeness` lower, best first, at most MAX_REGIONS.
    """
    rows = np.flatnonzero(regions.photo_ids == photo_id)
    most = 1 if len(columns) > 1 else MAX_REGIONS
    answers = []
    for column in columns:
        scores = regions.scores[column, rows]
        best_first = np.lexsort((regions.region_ids[rows], -scores))[:most]
        answers += [(int(rows[i]), column) for i in best_first if scores[i] >= scores[best_first[0]] - closeness]
    return answers
