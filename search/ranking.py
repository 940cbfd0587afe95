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
    # (Q, N): what chooses a photograph's region where it is not the score itself (`search.grounding`).
    grounding: np.ndarray | None = None

    def starts(self) -> np.ndarray:
        """(P,) int64: the first row of each photograph."""
        return np.flatnonzero(np.diff(self.photo_ids, prepend=-1))

    def of(self, photo_ids: np.ndarray) -> "RegionScores":
        """The regions of some photographs, in the order they have here. photo_ids: (P,) int64."""
        rows = np.isin(self.photo_ids, photo_ids)
        chosen = None if self.grounding is None else self.grounding[:, rows]
        return RegionScores(self.region_ids[rows], self.photo_ids[rows], self.scores[:, rows], chosen)


@dataclass(frozen=True)
class Ranking:
    """P photographs, best first."""

    phrases: list[str]  # Q phrases scored: the given ones first
    photo_ids: np.ndarray  # (P,) int64
    scores: np.ndarray  # (P,) float64
    best_region_ids: np.ndarray  # (P, Q) int64: the region that answers a phrase, its grounding


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
    """The score of each photograph for each phrase, its best region's, and the region that answers.

    Returns scores (Q, P) float64 and rows (Q, P) int64 of `regions`; of equal regions that with the lowest id.
    """
    best, rows = _highest(regions, regions.scores)
    if regions.grounding is not None:
        _, rows = _highest(regions, regions.grounding)
    return best, rows


def _highest(regions: RegionScores, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The highest of some values (Q, N) in each photograph: itself (Q, P) float64, and its first row (Q, P) int64."""
    starts = regions.starts()
    if not len(starts):
        empty = np.empty((len(values), 0))
        return empty, empty.astype(np.int64)
    highest = np.maximum.reduceat(values, starts, axis=1)  # (Q, P)
    sizes = np.diff(starts, append=len(regions.photo_ids))
    rows = np.empty(highest.shape, dtype=np.int64)
    for q, of_phrase in enumerate(values):
        winning = np.flatnonzero(of_phrase == np.repeat(highest[q], sizes))
        rows[q] = winning[np.searchsorted(winning, starts)]  # the first winning row of each photograph
    return highest.astype(np.float64), rows


def answering_regions(
    regions: RegionScores, photo_id: int, columns: Sequence[int], closeness: float
) -> list[tuple[int, int]]:
    """The regions that show where a photograph answers, as (row of regions, column of a phrase).

    Several phrases: the best region of each, in the order of the phrases. One phrase: its best region and others that
    are at most `closeness` worse, best first, at most MAX_REGIONS. Worse in the grounding, where there is one.
    """
    rows = np.flatnonzero(regions.photo_ids == photo_id)
    values = regions.scores if regions.grounding is None else regions.grounding
    most = 1 if len(columns) > 1 else MAX_REGIONS
    answers = []
    for column in columns:
        of_phrase = values[column, rows]
        best_first = np.lexsort((regions.region_ids[rows], -of_phrase))[:most]
        answers += [(int(rows[i]), column) for i in best_first if of_phrase[i] >= of_phrase[best_first[0]] - closeness]
    return answers
