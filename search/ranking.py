"""Which photographs answer, best first: pure functions over the scores of their regions.

A photograph's score for a phrase is its best region's, for several phrases the mean over phrases (paper, image
retrieval with several captions). Readings of one question compete. The order is total: equal scores are ordered by id,
so that the first five of fifteen hits are the five hits.
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
    scores: np.ndarray  # (P,) float64, of the reading that won, in the scale of the first reading
    readings: np.ndarray  # (P,) int64, which reading won
    best_region_ids: np.ndarray  # (P, Q) int64: the region that answers a phrase best, its grounding


def rank_photographs(regions: RegionScores, phrases: list[str], readings: Sequence[Sequence[int]]) -> Ranking:
    """Rank the photographs of some regions.

    regions: at least one judged region for each photograph and phrase. readings: each a list of columns of phrases.
    """
    best, rows = best_regions(regions)  # (Q, P)
    scores, winners = compete(np.stack([best[list(reading)].mean(axis=0) for reading in readings]))
    photo_ids = regions.photo_ids[regions.starts()]
    scores = np.round(scores, _DIGITS)
    order = np.lexsort((photo_ids, -scores))
    best_ids = regions.region_ids[rows].T
    return Ranking(phrases, photo_ids[order], scores[order], winners[order], best_ids[order])


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


def compete(readings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One score a photograph, where a question has R readings: that of the reading under which it stands out most.

    Scores of readings are not on one scale (a long phrase is less likely than two short ones, and matches less
    closely), so each is standardised over the photographs; the greatest is then put back on the first reading's scale.

    readings: (R, P), any scale. Returns scores (P,) and the winning reading (P,) int64; of equal ones the first.
    """
    if len(readings) == 1:
        return readings[0], np.zeros(readings.shape[1], dtype=np.int64)
    if not readings.shape[1]:
        return np.empty(0), np.empty(0, dtype=np.int64)
    center = readings.mean(axis=1, keepdims=True)
    spread = readings.std(axis=1, keepdims=True)
    spread = np.where(spread > 0, spread, 1.0)  # all photographs alike: nothing stands out
    standard = (readings - center) / spread
    return standard.max(axis=0) * spread[0] + center[0], standard.argmax(axis=0)


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
