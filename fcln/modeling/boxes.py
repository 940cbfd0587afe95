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
    """Intersection over union of every pair: (..., N, 4), (..., M, 4) -> (..., N, M) in [0, 1]."""
    # One side at a time: a tensor of pairs with both sides takes twice the memory.
    width, height = (
        (
            torch.minimum(a[..., :, None, n + 2], b[..., None, :, n + 2])
            - torch.maximum(a[..., :, None, n], b[..., None, :, n])
        ).clamp(min=0)
        for n in (0, 1)
    )
    intersection = width * height
    union = area(a)[..., :, None] + area(b)[..., None, :] - intersection
    return intersection / union.clamp(min=1e-9)


def vote(boxes: Tensor, voters: Tensor, scores: Tensor, *, least: float) -> Tensor:
    """Boxes moved to the weighted mean of the voters around them (box voting: Gidaris and Komodakis 2015, 4.2).

    A voter that overlaps a box by `least` or more weighs its score times that overlap, squared; a box for which nobody
    votes stays. boxes: (..., N, 4). voters: (..., M, 4). scores: (..., M) in [0, 1]. Returns (..., N, 4).
    """
    overlaps = iou(boxes, voters)
    # In float64 a photograph's boxes do not hang on how many voters its neighbours in the batch have. A sum, for a
    # product of matrices would round to whole pixels in bfloat16.
    weights = (overlaps.double() * scores[..., None, :]).square() * (overlaps >= least)
    total = weights.sum(-1, keepdim=True)
    mean = (weights[..., None] * voters[..., None, :, :]).sum(-2) / total
    return torch.where(total > 0, mean.to(boxes.dtype), boxes)


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


def clip(boxes: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Cut boxes (..., 4) at the border of a photograph of width x height pixels; each side keeps a pixel.

    width, height: numbers, or tensors (...) for boxes of several photographs.
    """
    x1 = boxes[..., 0].clamp(min=0).minimum(torch.as_tensor(width - 1, dtype=boxes.dtype, device=boxes.device))
    y1 = boxes[..., 1].clamp(min=0).minimum(torch.as_tensor(height - 1, dtype=boxes.dtype, device=boxes.device))
    x2 = torch.maximum(boxes[..., 2].minimum(torch.as_tensor(width, dtype=boxes.dtype, device=boxes.device)), x1 + 1)
    y2 = torch.maximum(boxes[..., 3].minimum(torch.as_tensor(height, dtype=boxes.dtype, device=boxes.device)), y1 + 1)
    return torch.stack([x1, y1, x2, y2], dim=-1)


def box_position_features(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Where a box lies in its photograph, for the recognition network: boxes (..., 4), sizes (..., 2) -> (..., 5).

    x1/width, y1/height, x2/width, y2/height and the square root of the area fraction, all about [0, 1]. sizes: width
    and height of the photographs, broadcast.
    """
    fraction = area(boxes).clamp(min=0) / (sizes[..., 0] * sizes[..., 1])
    return torch.cat([boxes / torch.cat([sizes, sizes], -1), fraction.clamp(min=1e-6).sqrt()[..., None]], dim=-1)


def resize_shape(width: int, height: int, longest: int, multiple: int) -> tuple[int, int]:
    """The size at which the network sees a photograph: longest side `longest`, both sides whole multiples.

    Rounding to the stride keeps every feature cell full (no half-empty border); the aspect changes by a few per cent
    at most, except for extreme panoramas, whose short side is kept at two cells.
    """
    scale = longest / max(width, height)
    return tuple(max(2 * multiple, math.floor(side * scale / multiple + 0.5) * multiple) for side in (width, height))  # type: ignore[return-value]
