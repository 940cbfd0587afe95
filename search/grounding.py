"""Where a photograph answers a phrase: pure functions over the regions of one photograph.

How well a photograph answers is its best region's score (`search.ranking`). Where, that region says less well: half a
dog is as similar to "a dog" as the whole one. Two things help. The objectness knows which of the two is a thing; score
and objectness together say how likely a region is the right one. And a region that overlaps other likely ones is wrong
by less: chosen is the one whose expected overlap with the right one is largest (minimum Bayes risk). With the network
of version 0.1, on `val`, phrases of three words or more of photographs with four: localization@0.5 0.609 by the score
alone, 0.658 with objectness, 0.650 with both; @0.3 0.774, 0.802, 0.810; mean overlap 0.526, 0.550, 0.554.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from db.records import RegionRow
from fcln.boxes import iou
from search.assignment import assign

# How many regions show where a photograph answers a single phrase: the right one, and others nearly as likely.
MAX_REGIONS = 3

# Objectness closer to 0 or 1 says no more than this; float32 rounds some to exactly 1.
_EPSILON = 1e-4


@dataclass(frozen=True)
class GroundingWeights:
    """log P(a region is the right one) = score * `score` + logit of the objectness * `objectness`, up to a constant."""

    score: float
    objectness: float


# For likelihoods, natural logarithms, the score is log P(phrase | region) itself. (Chosen on `val`: of the embedding,
# all 3,970 phrases of three words or more, localization@0.1/0.3/0.5 is 0.912/0.820/0.678 at 20 and 0.3,
# 0.908/0.817/0.677 at 24 and 0.4, 0.913/0.822/0.675 at 16 and 0.3, 0.906/0.814/0.672 at 28 and 0.3.)
GROUNDING_WEIGHTS = {
    "embedding": GroundingWeights(20, 0.3),
    "likelihood": GroundingWeights(1, 0.6),
    "fused": GroundingWeights(20, 0.3),
}
# A region is nearly as likely the right one as the likeliest: 0.05 less similar, or half as likely to be described so.
_SHOWN_MARGIN = {
    "embedding": 0.05 * GROUNDING_WEIGHTS["embedding"].score,
    "likelihood": float(np.log(2)),
    "fused": 0.05 * GROUNDING_WEIGHTS["fused"].score,
}


@dataclass(frozen=True)
class PhotoRegions:
    """The N >= 1 regions of one photograph, or those of P photographs with a first axis of P more."""

    boxes: np.ndarray  # (N, 4) x1 y1 x2 y2, pixels of the upright photograph
    objectness: np.ndarray  # (N,) in [0, 1]

    def take(self, photos: Sequence[int]) -> "PhotoRegions":
        """Those of some of the P photographs."""
        return PhotoRegions(self.boxes[photos], self.objectness[photos])

    @classmethod
    def from_boxes(cls, boxes: np.ndarray) -> "PhotoRegions":
        """boxes: (N, 5) of `Collection.boxes`."""
        return cls(boxes[:, :4], boxes[:, 4])

    @classmethod
    def from_rows(cls, rows: Sequence[RegionRow]) -> "PhotoRegions":
        return cls(np.array([row.box for row in rows]), np.array([row.score for row in rows]))


def side_by_side(scores: np.ndarray, sizes: np.ndarray, regions: PhotoRegions) -> tuple[np.ndarray, PhotoRegions]:
    """The regions of P photographs, one after the other, as arrays of P photographs with N regions each.

    Those with fewer than N are filled up with regions that answer nothing: their scores are -inf.

    scores: (Q, M). sizes: (P,) how many of the M regions each photograph has, at least 1. regions: M of them. Returns
    scores (P, Q, N) float64, and regions with a first axis of P.
    """
    photo = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(photo)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    shape = len(sizes), int(sizes.max())
    filled = np.full((shape[0], len(scores), shape[1]), -np.inf)
    filled[photo, :, place] = scores.T
    boxes = np.tile(np.array([0.0, 0.0, 1.0, 1.0]), (*shape, 1))
    boxes[photo, place] = regions.boxes
    objectness = np.zeros(shape)
    objectness[photo, place] = regions.objectness
    return filled, PhotoRegions(boxes, objectness)


def logit(objectness: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of probabilities of any shape, float64."""
    clipped = np.clip(np.asarray(objectness, dtype=np.float64), _EPSILON, 1 - _EPSILON)
    return np.log(clipped / (1 - clipped))


def ground(scores: np.ndarray, regions: PhotoRegions, scoring: str, overlaps: np.ndarray | None = None) -> np.ndarray:
    """The region that answers each of Q phrases, (Q,) int64; of equal ones the first.

    scores: (Q, N) in the scoring named; -inf: not judged, and at least one region of each phrase is. Of P photographs
    (P, Q, N) -> (P, Q). overlaps: (N, N), or (P, N, N), of the regions, if they are known.
    """
    overlaps = iou(regions.boxes, regions.boxes) if overlaps is None else overlaps
    return _ground(log_posteriors(scores, regions, scoring), overlaps)


def answering_regions(
    scores: np.ndarray, regions: PhotoRegions, columns: Sequence[int], scoring: str
) -> list[tuple[int, int]]:
    """The regions that show where a photograph answers, as (row of regions, column of a phrase).

    Several phrases: a region of its own for each, in the order of the phrases (`search.assignment`). One phrase: its
    region and others nearly as likely, likeliest first, at most MAX_REGIONS. scores: (Q, N) in the scoring named; -inf:
    not judged.
    """
    if len(columns) > 1:
        likely = log_posteriors(scores, regions, scoring)
        assigned = assign(likely[columns], iou(regions.boxes, regions.boxes))
        return [(int(row), column) for row, column in zip(assigned, columns)]
    (column,) = columns
    of_one = PhotoRegions(regions.boxes[None], regions.objectness[None])
    (rows,) = likeliest_regions(scores[None, column], of_one, scoring)
    return [(row, column) for row in rows]


def likeliest_regions(scores: np.ndarray, regions: PhotoRegions, scoring: str) -> list[list[int]]:
    """The regions that show where each of P photographs answers one phrase, likeliest first, as in `answering_regions`.

    scores: (P, N) in the scoring named; -inf: not judged. regions: with a first axis of P.
    """
    likely = log_posteriors(scores[:, None], regions, scoring)
    first = _ground(likely, iou(regions.boxes, regions.boxes))[:, 0].tolist()
    likely = likely[:, 0]
    likeliest = np.argsort(-likely, axis=1, kind="stable")[:, :MAX_REGIONS]
    near = np.take_along_axis(likely, likeliest, axis=1) >= likely.max(axis=1, keepdims=True) - _SHOWN_MARGIN[scoring]
    found = []
    for row, others, are_near in zip(first, likeliest.tolist(), near.tolist()):
        beside = [(other, is_near) for other, is_near in zip(others, are_near) if other != row]
        found.append([row, *(other for other, is_near in beside[: MAX_REGIONS - 1] if is_near)])
    return found


def log_posteriors(scores: np.ndarray, regions: PhotoRegions, scoring: str) -> np.ndarray:
    """log P(a region is the right one) up to a constant for each phrase, (Q, N) float64; of P photographs (P, Q, N)."""
    weights = GROUNDING_WEIGHTS[scoring]
    objectness = logit(regions.objectness)[..., None, :]
    return weights.score * np.asarray(scores, np.float64) + weights.objectness * objectness


def _ground(log_posteriors: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    posterior = np.exp(log_posteriors - log_posteriors.max(axis=-1, keepdims=True))
    # Rounded, for a total order: sums differ in the last digits with the shape of the matrix product.
    overlap = np.round(posterior / posterior.sum(axis=-1, keepdims=True) @ overlaps, 9)
    # What was not judged does not answer, however it lies.
    return np.where(np.isneginf(log_posteriors), -1, overlap).argmax(axis=-1)
