"""Overlaps of boxes, for arrays (`fcln.modeling.boxes`: for tensors). No torch: other packages import it."""

import numpy as np
from numpy.typing import ArrayLike


def iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of every pair: boxes (N, 4) and (M, 4), any one frame -> (N, M) float64 in [0, 1].

    Further axes in front, as of several photographs, stay: (P, N, 4) and (P, M, 4) -> (P, N, M).
    """
    a, b = np.asarray(a, dtype=np.float64)[..., :, None, :], np.asarray(b, dtype=np.float64)[..., None, :, :]
    width, height = (
        np.maximum(np.minimum(a[..., axis + 2], b[..., axis + 2]) - np.maximum(a[..., axis], b[..., axis]), 0)
        for axis in (0, 1)
    )
    intersection = width * height
    areas_a, areas_b = ((x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b))
    return intersection / (areas_a + areas_b - intersection)
