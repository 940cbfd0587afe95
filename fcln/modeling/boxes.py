"""Geometry of boxes, pure functions. Boxes are `(..., 4)` float tensors x1 y1 x2 y2 in pixels, 0 <= x1 < x2 <= width.

Continuous coordinates: a box from x1 to x2 is x2 - x1 wide. (The released code's 1-indexed boxes with a "+1" here and
there make identical boxes overlap by less than 1. The paper's formulas need none of it.)
"""

import math

import torch
from torch import Tensor

# exp(4) is 55 times an anchor's side: more than any photograph needs, and safe in float32.
MAX_LOG_SCALE = 4.0


def area(boxes: Tensor) -> Tensor:
    """Areas, (..., 4) -> (...), square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair: (N, 4), (M, 4) -> (N, M) in [0, 1]."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (high - low).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    return intersection / union.clamp(min=1e-9)


def to_centers(boxes: Tensor) -> Tensor:
    """x1 y1 x2 y2 -> xc yc w h, same shape."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([boxes[..., :2] + sides / 2, sides], dim=-1)


def apply_offsets(anchors: Tensor, offsets: Tensor) -> Tensor:
    """Move boxes by the network's offsets (paper 3.2, "Box Regression").

    x = xa + tx wa, y = ya + ty ha, w = wa exp(tw), h = ha exp(th); differentiable in both arguments.

    anchors: (..., 4) x1 y1 x2 y2 pixels. offsets: (..., 4) tx ty tw th. Returns (..., 4) x1 y1 x2 y2 pixels.
    """
    a = to_centers(anchors)
    centers = a[..., :2] + offsets[..., :2] * a[..., 2:]
    sides = a[..., 2:] * offsets[..., 2:].clamp(max=MAX_LOG_SCALE).exp()
    return torch.cat([centers - sides / 2, centers + sides / 2], dim=-1)


def find_offsets(anchors: Tensor, boxes: Tensor) -> Tensor:
    """The offsets that move anchors onto boxes: the inverse of `apply_offsets`. All (..., 4), boxes in pixels."""
    a, b = to_centers(anchors), to_centers(boxes)
    a_sides, b_sides = a[..., 2:].clamp(min=1e-3), b[..., 2:].clamp(min=1e-3)
    return torch.cat([(b[..., :2] - a[..., :2]) / a_sides, torch.log(b_sides / a_sides)], dim=-1)


def clip(boxes: Tensor, width: float, height: float) -> Tensor:
    """Cut boxes (..., 4) at the border of a photograph of width x height pixels; each side keeps a pixel."""
    x1 = boxes[..., 0].clamp(0, width - 1)
    y1 = boxes[..., 1].clamp(0, height - 1)
    x2 = torch.maximum(boxes[..., 2].clamp(max=width), x1 + 1)
    y2 = torch.maximum(boxes[..., 3].clamp(max=height), y1 + 1)
    return torch.stack([x1, y1, x2, y2], dim=-1)


def geometry(boxes: Tensor, width: float, height: float) -> Tensor:
    """Where a box lies in its photograph, for the recognition network: (N, 4) -> (N, 5).

    x1/width, y1/height, x2/width, y2/height and the square root of the area fraction, all about [0, 1].
    """
    scale = boxes.new_tensor([width, height, width, height])
    fraction = area(boxes).clamp(min=0) / (width * height)
    return torch.cat([boxes / scale, fraction.clamp(min=1e-6).sqrt()[:, None]], dim=-1)


def fit(width: int, height: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size at which the network sees a photograph: longest side `longest`, both sides whole multiples.

    Rounding to the stride keeps every feature cell full (no half-empty border); the aspect changes by a few per cent
    at most, except for extreme panoramas, whose short side is kept at two cells.
    """
    scale = longest / max(width, height)
    return tuple(max(2 * multiple, math.floor(side * scale / multiple + 0.5) * multiple) for side in (width, height))  # type: ignore[return-value]
