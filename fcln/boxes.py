"""Overlaps of boxes, for arrays (`fcln.modeling.boxes`: for tensors). No torch: other packages import it."""

import numpy as np
from numpy.typing import ArrayLike


def iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of every pair: boxes (N, 4) and (M, 4), any one frame -> (N, M) float64 in [0, 1]."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    areas_a, areas_b = ((x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b))
    return intersection / (areas_a[:, None] + areas_b[None, :] - intersection)
