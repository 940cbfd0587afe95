"""How well a ranking and its groundings answer: pure functions. Boxes are x1 y1 x2 y2; ranks count from 1."""

import math

import numpy as np
from numpy.typing import ArrayLike


def recall_at(ranks: ArrayLike, k: int) -> float:
    """Share of queries whose photograph is among the first k. ranks: (N,) integers from 1."""
    return float(np.mean(np.asarray(ranks) <= k))


def median_rank(ranks: ArrayLike) -> float:
    """Median rank of the queries' photographs. ranks: (N,) integers from 1."""
    return float(np.median(np.asarray(ranks)))


def localization_recall(ious: ArrayLike, threshold: float) -> float:
    """Share of phrases whose grounding overlaps the labelled box by at least threshold. ious: (N,) in [0, 1]."""
    return float(np.mean(np.asarray(ious) >= threshold))


def median_iou(ious: ArrayLike) -> float:
    """Median overlap of groundings and labelled boxes. ious: (N,) in [0, 1]."""
    return float(np.median(np.asarray(ious)))


def average_precision(relevant: ArrayLike) -> float:
    """Mean over the answers of the precision at each one's rank; 0 if there is none.

    relevant: (P,) bool, whether each photograph of a whole ranking answers, best first.
    """
    relevant = np.asarray(relevant, dtype=bool)
    ranks = np.flatnonzero(relevant) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0


def precision_at(relevant: ArrayLike, k: int) -> float:
    """Share of answers among the first k photographs; places beyond the end count as misses. relevant: (P,) bool."""
    return float(np.sum(np.asarray(relevant, dtype=bool)[:k])) / k


def standard_error(values: ArrayLike) -> float:
    """Standard error of the mean over draws: sample standard deviation / sqrt(N). values: (N,); nan for one draw."""
    values = np.asarray(values, dtype=np.float64)
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
