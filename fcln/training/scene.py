"""What a photograph as a whole shows, in the space of embeddings: fitted in one go, when all else is trained.

Our addition (`FCLN.embed_in_scene`). The region code of a whole photograph tells what kind of place it is and what else
is there, which a region of its own does not see well: an oven is likelier in a kitchen. A linear map takes that code
into the space of embeddings so that its product with a phrase tells whether the photograph shows what the phrase names.
It is the closed form of Romera-Paredes and Torr (2015, "An embarrassingly simple approach to zero-shot learning"):
least squares from codes to which terms photographs show, through the terms' embeddings, so that other phrases are
understood too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Weights of the squares, of the map from codes and of that to terms. (Chosen on `val` and `wide/val`, see
# docs/experiments.md, as the share is.)
_CODES, _TERMS = 1000.0, 300.0
# The mean length of what is added to embeddings, which have length 1.
SHARE = 0.12


@dataclass(frozen=True)
class Shown:
    """One data set: what P photographs show."""

    codes: np.ndarray  # (P, code_size) float, of the whole photographs
    terms: np.ndarray  # (P, T) bool


@dataclass(frozen=True)
class SceneMap:
    """scene = weight @ code + bias."""

    weight: np.ndarray  # (embedding_size, code_size) float32
    bias: np.ndarray  # (embedding_size,) float32


def fit_scene(shown: Sequence[Shown], vectors: np.ndarray, *, share: float = SHARE) -> SceneMap:
    """The map of several data sets, each of which names things in its own way, hence with means of its own.

    vectors: (T, embedding_size) unit length, of the terms.
    """
    codes = np.concatenate([np.asarray(each.codes, np.float64) for each in shown])
    mean, deviation = codes.mean(0), codes.std(0) + 1e-3
    size = codes.shape[1]
    squares = _CODES * np.eye(size)
    products = np.zeros((size, vectors.shape[1]))
    for each in shown:
        seen = (each.codes - each.codes.astype(np.float64).mean(0)) / deviation
        named = each.terms @ vectors.astype(np.float64)
        squares += seen.T @ seen
        products += seen.T @ (named - named.mean(0))
    among_terms = vectors.T.astype(np.float64) @ vectors + _TERMS * np.eye(vectors.shape[1])
    whole = np.linalg.solve(squares, products) @ np.linalg.inv(among_terms)
    length = np.linalg.norm((codes - mean) / deviation @ whole, axis=1).mean()
    weight = (share / length * whole / deviation[:, None]).T
    return SceneMap(weight.astype(np.float32), (-weight @ mean).astype(np.float32))
