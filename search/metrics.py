"""How well a ranking and its groundings answer: pure functions. Boxes are x1 y1 x2 y2; ranks count from 1."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

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


def list_f1(relevant: ArrayLike, answers: int) -> float:
    """F1 of a list: 2 * right ones / (its length + all that answer). relevant: (K,) bool. answers: at least 1."""
    relevant = np.asarray(relevant, dtype=bool)
    return float(2 * relevant.sum() / (len(relevant) + answers))


def best_f1(relevant: ArrayLike) -> float:
    """The highest F1 of all beginnings of a whole ranking; 0 if nothing answers. relevant: (P,) bool, best first."""
    relevant = np.asarray(relevant, dtype=bool)
    right = np.cumsum(relevant)
    return float((2 * right / (np.arange(1, len(relevant) + 1) + relevant.sum())).max(initial=0.0))


def standard_error(values: ArrayLike) -> float:
    """Standard error of the mean over draws: sample standard deviation / sqrt(N). values: (N,); nan for one draw."""
    values = np.asarray(values, dtype=np.float64)
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def expected_by_chance(photos: int, answers: Sequence[int]) -> float:
    """The mean AP to expect if the photographs were ranked at random; answers: how many each question has.

    Of n photographs of which m answer, the one at rank r answers with probability m/n, and then one of it and
    (m - 1)/(n - 1) of each of the r - 1 before it do: AP is the mean over ranks of (1 + (r - 1)(m - 1)/(n - 1)) / r.
    """
    if not answers:
        return 0.0
    harmonic = sum(1 / rank for rank in range(1, photos + 1)) / photos
    share = [(m - 1) / max(1, photos - 1) for m in answers]
    return statistics.fmean(harmonic + s * (1 - harmonic) for s in share)


def bootstrap_interval(
    values: Sequence[Any], statistic: Callable[[np.ndarray], float], *, draws: int = 2000, share: float = 0.95
) -> tuple[float, float]:
    """The interval that holds the middle `share` of a statistic over draws with replacement: low, high (percentiles).

    values: N >= 1 of anything that numpy holds, one a question. The seed is fixed: the same values, the same interval.
    """
    drawn = np.asarray(values)
    random = np.random.default_rng(0)
    found = [statistic(drawn[random.integers(0, len(drawn), len(drawn))]) for _ in range(draws)]
    low, high = np.quantile(found, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
