"""The nearest of many rows, on a GPU: in a build its processors have enough to do."""

import numpy as np
import torch
from torch import Tensor


class NearestRows:
    """`fcln.naming.nearest_rows` on a device, where the rows stay. Safe to share between threads."""

    def __init__(self, device: torch.device):
        self._device = device
        self._rows: tuple[np.ndarray, Tensor] | None = None

    def __call__(self, vectors: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """vectors: (N, E) float32. rows: (Q, E) float32, the same array in every call."""
        kept = self._rows
        if kept is None or kept[0] is not rows:
            kept = self._rows = rows, torch.from_numpy(rows).to(self._device)
        best = (torch.from_numpy(vectors).to(self._device) @ kept[1].T).max(1)
        return best.indices.cpu().numpy(), best.values.cpu().numpy()
