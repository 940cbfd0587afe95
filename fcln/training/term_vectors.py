"""Vectors of things that training photographs show, fitted in one go, when all else is trained.

Our addition (`fcln.term_vectors`). Of each photograph the phrase encoder's own vector says which regions look like the
thing: they are averaged, most weight on the closest. Ridge regression finds the direction in which these averages
differ between the photographs that show the thing and those that do not, and the encoder's vector moves that way: one
step of multiple-instance learning (Andrews et al. 2003), in closed form. The closest regions of photographs without the
thing are its hardest negatives.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# How much closer regions weigh more in a photograph's average: exp(similarity times this). 5 does as well.
_SHARPNESS = 20.0
# Weight of the squares of the direction. 1 and 10 do as well (docs/experiments.md).
_RIDGE = 3.0
# Photographs that must show a thing.
LEAST_SHOWN = 3
# How far the encoder's vector moves, of its own length 1: this times the direction, whose products with the averages
# have a standard deviation of 1.
STEP = 0.05
# Terms at a time: 220 MB of averages of 13,000 photographs.
_AT_ONCE = 16


@dataclass(frozen=True)
class ShownRegions:
    """One data set: the regions of P photographs and what these show."""

    embeddings: Tensor  # (P, N, embedding_size) float16 or float32, unit length
    counts: Tensor  # (P,) int64, 1 to N: how many regions each photograph has; further rows are ignored
    terms: np.ndarray  # (P, T) bool


def fit_term_vectors(
    sets: Sequence[ShownRegions], encoded: np.ndarray, *, step: float = STEP
) -> tuple[np.ndarray, np.ndarray]:
    """Terms that LEAST_SHOWN photographs show, (K,) int64, and their vectors, (K, embedding_size) float32, unit length.

    encoded: (T, embedding_size) float32, unit length, what the phrase encoder says. Each data set names things in its
    own way and has means of its own.
    """
    known = np.flatnonzero(sum(each.terms.sum(0) for each in sets) >= LEAST_SHOWN)
    vectors = np.empty((len(known), encoded.shape[1]), np.float32)
    for start in range(0, len(known), _AT_ONCE):
        some = known[start : start + _AT_ONCE]
        averages = [_averages(each, torch.from_numpy(encoded[some])) for each in sets]
        for place, term in enumerate(some):
            of_term = [(average[place], each.terms[:, term]) for average, each in zip(averages, sets, strict=True)]
            moved = encoded[term] + step * _direction(of_term)
            vectors[start + place] = moved / np.linalg.norm(moved)
    return known, vectors


def _averages(shown: ShownRegions, encoded: Tensor) -> np.ndarray:
    """The average region of each photograph as seen by each of K vectors: (K, P, embedding_size) float32."""
    found = torch.empty(len(encoded), *shown.embeddings.shape[::2])
    for rows in torch.arange(len(shown.embeddings)).split(2048):
        embeddings = shown.embeddings[rows].float()
        similarities = embeddings @ encoded.T  # (p, N, K)
        missing = torch.arange(embeddings.shape[1]) >= shown.counts[rows, None]
        weights = (_SHARPNESS * similarities).masked_fill(missing[..., None], -torch.inf).softmax(1)
        found[:, rows] = (weights.transpose(1, 2) @ embeddings).transpose(0, 1)
    return found.numpy()


def _direction(sets: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The direction in which averages (P, E) tell who shows a thing (P,) bool: (E,), products with a deviation of 1."""
    size = sets[0][0].shape[1]
    squares, products = _RIDGE * np.eye(size), np.zeros(size)
    for averages, shows in sets:
        seen = averages - averages.mean(0)
        squares += seen.T @ seen
        products += seen.T @ (shows - shows.mean())
    direction = np.linalg.solve(squares, products)
    deviation = np.concatenate([averages for averages, _ in sets]).dot(direction).std()
    return direction / max(float(deviation), 1e-12)
