"""Which photographs are like an example, best first: pure functions over the scores of their regions.

A photograph is as much like an example as its regions are like the example's main regions: for each of these the best
match, and of those the mean. A phrase beside the example counts as much as the example: the mean of both. (Among
photographs of everyday things, similarities to an example vary by 0.13 and to a phrase by 0.12, standard deviations:
neither drowns the other.)
"""

from collections.abc import Sequence

import numpy as np

from db.records import RegionScores
from search.ranking import Ranking, best_scores, rank_by_best


def balanced(example: np.ndarray, phrases: np.ndarray) -> np.ndarray:
    """Vectors whose mean similarity counts both alike, nearly: the fewer ones are repeated.

    example: (M, E), phrases: (Q, E). For proposing candidates, whose mean is over single vectors.
    """
    if not len(phrases):
        return example
    times = max(len(example), len(phrases)) / np.array([len(example), len(phrases)])
    repeats = np.maximum(1, np.round(times)).astype(int)
    return np.concatenate([np.tile(example, (repeats[0], 1)), np.tile(phrases, (repeats[1], 1))])


def rank_alike(regions: RegionScores, example_count: int, names: Sequence[str]) -> Ranking:
    """Rank photographs by the cosines of their regions.

    regions: (M + Q, N) cosines, the example's M = example_count vectors first, then those of Q phrases. names: M + Q.
    """
    best = best_scores(regions)
    parts = [part.mean(axis=0) for part in (best[:example_count], best[example_count:]) if len(part)]
    return rank_by_best(list(names), regions.photo_ids[regions.starts()], np.stack(parts))
