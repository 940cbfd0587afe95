"""How many lists of an index a question looks into: as few as find what exact search finds, on vectors of its own.

The same for FAISS files and for a server's indexes.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

QUERIES = 100
DEPTH = 100
SEED = 4321
# Of the exact first 100, the share that must be found.
WANTED = 0.99


def exact_limits(
    queries: np.ndarray, parts: Iterable[np.ndarray], depths: Sequence[int] = (10, DEPTH)
) -> dict[int, np.ndarray]:
    """k -> (Q,) float32: the inner product of the k-th best vector of all, for each depth k; of fewer, the last.

    queries: (Q, E) float32. parts: all vectors, piece by piece, (N, E) float32, at least one.
    """
    deepest = max(depths)
    best = np.empty((len(queries), 0), np.float32)
    for vectors in parts:
        best = np.concatenate([best, queries @ vectors.T], axis=1)
        best = np.partition(best, -min(deepest, best.shape[1]), axis=1)[:, -deepest:]
    best.sort(axis=1)
    return {k: best[:, -min(k, best.shape[1])] for k in depths}


def share(
    found: Sequence[np.ndarray], limits: np.ndarray, k: int, *, tolerance: float, total: int | None = None
) -> float:
    """Of the exact first k, the share that is found.

    found: for each query inner products, descending. limits: of `exact_limits`. tolerance: between two sums of the same
    products; what is as good as the k-th counts, for copies of a photo are equally good answers. total: of how many
    vectors; None: of at least k.
    """
    wanted = k if total is None else min(k, total)
    hits = [np.count_nonzero(some[:k] >= limit - tolerance) for some, limit in zip(found, limits, strict=True)]
    return float(np.mean(hits)) / wanted


def least_probes(found: Callable[[int], float], lists: int, wanted: float = WANTED) -> int:
    """The least probes (of 1, 2, 4, ... and all lists) with which the share found is the one that is wanted."""
    probes = 1
    while probes < lists and found(probes) < wanted:
        probes *= 2
    return min(probes, lists)
