"""A trained linear layer as a product of two smaller ones: fewer products for nearly the same outputs.

Truncated SVD as in Girshick, "Fast R-CNN" (ICCV 2015, 3.1), but of the outputs that there really are: the directions in
which these vary most are kept (principal components), so it is their error that is least, not that of the weights.
"""

from dataclasses import dataclass

import numpy as np

# Of the largest deviation, how much is the least that a number between the layers is divided by: those that hardly vary
# would else have weights beyond float16's range.
_LEAST_DEVIATION = 1e-3


class Moments:
    """Mean and covariance of vectors that come in parts."""

    def __init__(self, size: int):
        self.count = 0
        self._sum = np.zeros(size)
        self._squares = np.zeros((size, size))

    def add(self, vectors: np.ndarray) -> None:
        """vectors: (N, size)."""
        vectors = vectors.astype(np.float64)
        self.count += len(vectors)
        self._sum += vectors.sum(0)
        self._squares += vectors.T @ vectors

    @property
    def mean(self) -> np.ndarray:
        """(size,) float64."""
        return self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(size, size) float64."""
        return self._squares / self.count - np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Factors:
    """outputs = second @ (first @ inputs) + bias."""

    first: np.ndarray  # (rank, inputs) float32
    second: np.ndarray  # (outputs, rank) float32
    bias: np.ndarray  # (outputs,) float32
    kept: float  # share of the outputs' variance, weighted, from 0 to 1


def factorize(weight: np.ndarray, bias: np.ndarray, outputs: Moments, importance: np.ndarray, *, rank: int) -> Factors:
    """The two layers of `rank` numbers between them whose outputs differ least from those of weight and bias.

    weight: (outputs, inputs). bias: (outputs,). outputs: moments of what the layer gave. importance: (outputs,) > 0, by
    which errors of each output are multiplied before they are squared. What is between the layers has a variance of 1,
    less where outputs hardly vary.
    """
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    variances, directions = np.linalg.eigh(importance[:, None] * outputs.covariance * importance)
    variances, directions = variances[::-1].clip(min=0), directions[:, ::-1]
    deviations = np.sqrt(variances[:rank])
    scales = np.maximum(deviations, max(_LEAST_DEVIATION * deviations[0], 1e-12))
    down = (directions[:, :rank] * importance[:, None] / scales).T  # (rank, outputs)
    up = directions[:, :rank] * scales / importance[:, None]  # (outputs, rank)
    return Factors(
        (down @ weight).astype(np.float32),
        up.astype(np.float32),
        (outputs.mean + up @ down @ (bias - outputs.mean)).astype(np.float32),
        float(variances[:rank].sum() / variances.sum()),
    )
