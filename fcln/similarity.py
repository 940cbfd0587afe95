"""Whether two photographs are nearly one: the same regions in the same places. No torch: other packages import it."""

from dataclasses import dataclass

import numpy as np

from fcln.boxes import iou

# Measured on 40 photographs of Flickr8k and their half-sized, recompressed, brightened, shifted and cropped copies: the
# mean cosine of each region and its best match was at least 0.92 among copies and at most 0.84 among strangers; with
# the match at the same place (IoU of at least 0.5), at least 0.41 (crops of a tenth; 0.58 the others) against 0.37.
_ALIKE = 0.9
_ALIKE_IN_PLACE = 0.4
_SAME_PLACE = 0.5
# Of their mean embeddings the cosine was at least 0.918 among copies: a quick look before the close one.
_WORTH_A_LOOK = 0.9

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Look:
    """What there is to compare of a photograph."""

    embeddings: np.ndarray  # (N, D) float32, unit length, of its regions
    boxes: np.ndarray  # (N, 4), x1 y1 x2 y2, shares of its width and height

    @classmethod
    def of(cls, embeddings: np.ndarray, boxes: np.ndarray, width: int, height: int) -> "Look":
        """boxes: (N, 4), x1 y1 x2 y2, pixels."""
        return cls(embeddings, np.asarray(boxes, np.float64) / [width, height, width, height])

    @property
    def mean(self) -> np.ndarray:
        """(D,) float32, unit length: the mean of its regions."""
        mean = self.embeddings.mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-6)


def are_alike(a: Look, b: Look) -> bool:
    """Whether two photographs show the same: copies of other sizes, bursts, slight crops."""
    cosines = a.embeddings @ b.embeddings.T
    if _both_ways(cosines) < _ALIKE:
        return False
    return _both_ways(np.where(iou(a.boxes, b.boxes) >= _SAME_PLACE, cosines, 0)) >= _ALIKE_IN_PLACE


def worth_a_look(means: np.ndarray) -> list[tuple[int, int]]:
    """The pairs (i, j), i < j, of photographs whose means are close enough that they may be alike.

    means: (P, D) float32, unit length.
    """
    pairs = []
    for start in range(0, len(means), _ROWS_AT_ONCE):
        close = means[start : start + _ROWS_AT_ONCE] @ means[start:].T >= _WORTH_A_LOOK
        rows, columns = np.nonzero(np.triu(close, k=1))
        pairs += [(start + i, start + j) for i, j in zip(rows.tolist(), columns.tolist())]
    return pairs


def _both_ways(cosines: np.ndarray) -> float:
    """The mean of each region's best match, seen from both photographs."""
    return float(cosines.max(axis=1).mean() + cosines.max(axis=0).mean()) / 2
