"""The localization layer (paper 3.2): scores and offsets for k anchors a cell, proposals, bilinear sampling."""

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.anchors import anchor_grid
from fcln.modeling.boxes import apply_offsets, clip
from fcln.modeling.boxes import iou as overlaps
from fcln.modeling.int8_convolution import Int8Convolution
from fcln.modeling.nms_operator import nms_operator

# Pairs of boxes that are compared in one go on a GPU: four tensors of so many floats, 1 GB.
_PAIRS = 1 << 26


class LocalizationLayer(nn.Module):
    """Predicts 5k numbers a cell (paper 3.2: one score and four offsets for each of k anchors).

    The released code predicts 6k (a two-way softmax for the score); we follow the paper.
    """

    shapes: Tensor  # (k, 2) float32, width and height of the anchors in pixels

    def __init__(self, channels: int, hidden: int, anchors: tuple[tuple[float, float], ...], stride: int):
        super().__init__()
        self.stride = stride
        self.register_buffer("shapes", torch.tensor(anchors), persistent=False)
        k = len(anchors)
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.score = nn.Conv2d(hidden, k, 1)
        self.offset = nn.Conv2d(hidden, 4 * k, 1)
        # Paper 3.5: everything outside the backbone starts from N(0, 0.01); the released code starts the offsets from
        # zero, so that proposals start as the anchors themselves.
        for layer, deviation in ((self.conv, 0.01), (self.score, 0.01), (self.offset, 0.0)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.get_parameter("bias"))
        self._in_int8: Int8Convolution | None = None  # the first convolution, see prepare_inference

    def prepare_inference(self, dtype: torch.dtype) -> None:
        """dtype: torch.int8 has the first convolution run so on a CPU; for a network whose weights change no more."""
        if dtype == torch.int8:
            self._in_int8 = Int8Convolution(self.conv)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features (B, C, H, W) -> objectness logits (B, A), offsets (B, A, 4), anchors (A, 4); A = H W k, float32."""
        if self._in_int8 is None:
            hidden = F.relu(self.conv(features))
        else:
            hidden = self._in_int8.of_positive(features, relu=True)
        batch, _, rows, columns = hidden.shape
        scores = self.score(hidden).permute(0, 2, 3, 1).reshape(batch, -1)
        offsets = self.offset(hidden).permute(0, 2, 3, 1).reshape(batch, scores.shape[1], 4)
        return scores.float(), offsets.float(), anchor_grid(rows, columns, self.stride, self.shapes)


def move_anchors(anchors: Tensor, offsets: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Proposals of one photograph: anchors moved by their offsets and cut at its border. (A, 4) each, pixels.

    Of several photographs: offsets (B, A, 4), width and height (B, 1).

    The released code drops proposals that cross the border from training; regressed boxes of things at the border
    cross it by a pixel most of the time, so we cut them instead, in training as at test time.
    """
    return clip(apply_offsets(anchors, offsets), width, height)


def inside(anchors: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Which anchors are centred in the photograph, not in a batch's padding: (A, 4) -> (A,) bool.

    Of several photographs: width and height (B, 1), giving (B, A).
    """
    centers = (anchors[:, :2] + anchors[:, 2:]) / 2
    return (centers[:, 0] < width) & (centers[:, 1] < height)


def nms(boxes: Tensor, scores: Tensor, *, iou: float, pre_nms_top_n: int, post_nms_top_n: int) -> Tensor:
    """Greedy non-maximum suppression (paper 3.2, test time): indices of at most post_nms_top_n boxes, best first.

    boxes: (A, 4) pixels. scores: (A,). iou: overlap above which the weaker goes. pre_nms_top_n: how many of the best
    take part; the released code lets all take part, which costs 80 of its 240 ms and changes next to nothing.
    """
    suppress = nms_operator()
    best = scores.topk(min(pre_nms_top_n, len(scores))).indices
    # What the best boxes leave of each other does not depend on weaker ones: those are compared only where too few are
    # left. Half of the time.
    count = 5 * post_nms_top_n
    while True:
        kept = suppress(boxes[best[:count]], scores[best[:count]], iou)
        if len(kept) >= post_nms_top_n or count >= len(best):
            return best[kept[:post_nms_top_n]]
        count *= 2


def nms_of_each(
    boxes: Tensor, scores: Tensor, *, iou: float, pre_nms_top_n: int, post_nms_top_n: int
) -> tuple[Tensor, Tensor]:
    """`nms` of several photographs: (B, K) int64 indices, best first, and (B, K) bool which of them count.

    boxes: (B, A, 4) pixels. scores: (B, A); what scores -inf takes no part. K <= post_nms_top_n: the most of any
    photograph, or on a GPU more, because the program would have to wait for that number.
    """
    taking_part = scores != -torch.inf
    if boxes.device.type != "cuda":  # where a loop over boxes ends early
        rows = [
            nms(b, s, iou=iou, pre_nms_top_n=min(pre_nms_top_n, count), post_nms_top_n=post_nms_top_n)
            for b, s, count in zip(boxes, scores, taking_part.sum(1).tolist(), strict=True)
        ]
        return _filled(rows)
    kernel = _nms_kernel()
    if kernel is None:
        return _nms_by_passes(boxes, scores, iou=iou, pre_nms_top_n=pre_nms_top_n, post_nms_top_n=post_nms_top_n)
    best = scores.topk(min(pre_nms_top_n, scores.shape[1]), dim=1)
    best_boxes = boxes.gather(1, best.indices[..., None].expand(-1, -1, 4))
    most = min(post_nms_top_n, best_boxes.shape[1])
    kept, counts = kernel(best_boxes, best.values != -torch.inf, iou=iou, most=most)
    return best.indices.gather(1, kept), counts


@cache
def _nms_kernel() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """`nms_kernel.suppress`, if this GPU can have it: it needs Triton, which comes with torch, and a C compiler."""
    try:
        from fcln.modeling.nms_kernel import suppress

        boxes = torch.tensor([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [5.0, 5.0, 9.0, 9.0]]], device="cuda")
        kept, counts = suppress(boxes, torch.ones(1, 3, dtype=torch.bool, device="cuda"), iou=0.5, most=3)
    except Exception:  # whatever a compiler that is not there, or does not know the GPU, makes of it
        return None
    return suppress if kept[counts].tolist() == [0, 2] else None


def _nms_by_passes(
    boxes: Tensor, scores: Tensor, *, iou: float, pre_nms_top_n: int, post_nms_top_n: int
) -> tuple[Tensor, Tensor]:
    """`nms_of_each` of all photographs at once: a GPU waits for the program with every step of a loop over them."""
    best = scores.topk(min(pre_nms_top_n, scores.shape[1]), dim=1)
    count = min(5 * post_nms_top_n, best.indices.shape[1])  # see nms
    indices = best.indices[:, :count]
    taking_part = best.values[:, :count] != -torch.inf
    some = max(1, _PAIRS // max(1, count * count))
    kept = torch.cat(
        [
            batched_nms(boxes[start : start + some].gather(1, rows[..., None].expand(-1, -1, 4)), iou_threshold=iou)
            for start, rows in zip(range(0, len(boxes), some), indices.split(some))
        ]
    )
    kept &= taking_part
    kept &= kept.cumsum(1) <= post_nms_top_n
    found = kept.sum(1).tolist()
    order = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, : max(found, default=0)]
    indices, kept = indices.gather(1, order), kept.gather(1, order)
    if count == best.indices.shape[1] or min(found, default=post_nms_top_n) >= post_nms_top_n:
        return indices, kept
    # Too few are left of somebody's best: weaker ones are looked at, of those photographs only.
    more = (best.values != -torch.inf).sum(1).tolist()
    rows = []
    for number, (of_one, all_) in enumerate(zip(found, more, strict=True)):
        if of_one < post_nms_top_n and all_ > count:
            top_n = min(pre_nms_top_n, all_)
            rows.append(nms(boxes[number], scores[number], iou=iou, pre_nms_top_n=top_n, post_nms_top_n=post_nms_top_n))
        else:
            rows.append(indices[number, :of_one])
    return _filled(rows)


def _filled(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of different lengths as (B, K), zeros at their ends, and which are no such zeros."""
    from torch.nn.utils.rnn import pad_sequence

    counts = torch.tensor([len(row) for row in rows], device=rows[0].device)
    filled = pad_sequence(rows, batch_first=True)
    return filled, torch.arange(filled.shape[1], device=filled.device) < counts[:, None]


def batched_nms(boxes: Tensor, *, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression of boxes (B, N, 4) that stand best first: (B, N) bool, which are kept.

    All photographs at once: a box falls to a better one that is kept, so who is kept is found by passes over all pairs
    until nothing changes; as many as the longest chain of such falls, about ten.
    """
    falls_to = (overlaps(boxes, boxes) > iou_threshold).triu(1)  # (B, N, N): column falls to row
    kept = torch.ones(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    while True:
        now = ~(falls_to & kept[:, :, None]).any(1)
        if torch.equal(now, kept):
            return kept
        kept = now


def bilinear_sample(features: Tensor, boxes: Tensor, *, stride: int, size: int) -> Tensor:
    """Features of boxes, size x size points each, by bilinear interpolation (paper 3.2, "Bilinear Interpolation").

    Differentiable in the features and in the boxes: the gradient that trains the offsets through the caption.
    Points are spaced evenly from edge to edge of the box, edges included, one sample a point (as the released code).
    Cell (i, j) of the map stands at pixel (16 j + 8, 16 i + 8), so nothing is shifted between boxes and anchors; points
    beyond the outermost cells' centres take the nearest cell's value.

    features: (B, C, H, W). boxes: (B, R, 4) x1 y1 x2 y2, pixels of the network's input. Returns (B, R, C, size, size).
    """
    if features.device.type == "cpu" and not torch.is_grad_enabled():
        return _gather_sample(features, boxes, stride=stride, size=size)
    batch, count = boxes.shape[:2]
    rows, columns = features.shape[-2:]
    frame = boxes.new_full((2,), columns * stride)
    frame[1] = rows * stride  # filled where it is: a GPU would be waited for until it has taken numbers from here
    steps = torch.linspace(0, 1, size, device=boxes.device, dtype=boxes.dtype)
    low, high = boxes[..., :2] / frame, boxes[..., 2:] / frame  # (B, R, 2) in [0, 1]
    points = low[:, :, None] + (high - low)[:, :, None] * steps[None, None, :, None]  # (B, R, size, 2)
    points = points * 2 - 1  # grid_sample's frame with align_corners=False: -1 and 1 are the map's outer edges
    x = points[..., 0][:, :, None, :].expand(-1, -1, size, -1)
    y = points[..., 1][:, :, :, None].expand(-1, -1, -1, size)
    grid = torch.stack([x, y], dim=-1).reshape(batch, count * size, size, 2)
    # The grid stays in float32: bfloat16 would round the points to a third of a pixel, and their gradients with them.
    sampled = F.grid_sample(features.to(grid.dtype), grid, padding_mode="border", align_corners=False)
    return sampled.reshape(batch, -1, count, size, size).transpose(1, 2)  # (B, R, C, size, size)


def _gather_sample(features: Tensor, boxes: Tensor, *, stride: int, size: int) -> Tensor:
    """`bilinear_sample` without gradients: a weighted sum of four rows of a table of cells for each point.

    On a CPU two thirds of grid_sample's time, and what it returns lies in memory with the channels last.
    """
    batch, count = boxes.shape[:2]
    channels, rows, columns = features.shape[1:]
    x, x_weights = _corners(boxes[..., 0::2], columns, stride, size)
    y, y_weights = _corners(boxes[..., 1::2], rows, stride, size)
    y = y + torch.arange(batch).view(-1, 1, 1, 1) * rows
    cells = y[:, :, :, None, :, None] * columns + x[:, :, None, :, None, :]  # (B, R, size, size, 2, 2)
    weights = y_weights[:, :, :, None, :, None] * x_weights[:, :, None, :, None, :]
    table = features.permute(0, 2, 3, 1).reshape(-1, channels).to(boxes.dtype)
    sampled = F.embedding_bag(cells.view(-1, 4), table, mode="sum", per_sample_weights=weights.view(-1, 4))
    return sampled.view(batch, count, size, size, channels).permute(0, 1, 4, 2, 3)


def _corners(edges: Tensor, cells: int, stride: int, size: int) -> tuple[Tensor, Tensor]:
    """Of points along one side of boxes the two nearest cells and their weights: (B, R, size, 2) int64, float.

    edges: (B, R, 2) pixels. cells: how many the map has along it.
    """
    points = _points(edges, cells, stride, size)
    first = points.floor()
    share = points - first
    cell = first.long().clamp(min=0)  # of a box that is not a number: the weights keep saying so
    return torch.stack([cell, (cell + 1).clamp(max=cells - 1)], -1), torch.stack([1 - share, share], -1)


def _points(edges: Tensor, cells: int, stride: int, size: int) -> Tensor:
    """Where bilinear_sample's points lie along one side of boxes, in cells: (B, R, 2) pixels -> (B, R, size)."""
    steps = torch.linspace(0, 1, size, device=edges.device, dtype=edges.dtype)
    low, high = edges[..., :1], edges[..., 1:]
    return ((low + (high - low) * steps) / stride - 0.5).clamp(0, cells - 1)


def bilinear_mean(features: Tensor, boxes: Tensor, *, stride: int, size: int) -> Tensor:
    """The mean of `bilinear_sample`'s points: (B, R, C). A tenth of its time where the map is small.

    The mean over a grid of points is a weighted sum of the map's cells, and the weights are a product of the rows' and
    the columns'.
    """
    rows, columns = features.shape[-2:]
    x, y = (
        (1 - (_points(edges, cells, stride, size)[..., None] - torch.arange(cells, device=boxes.device)).abs())
        .clamp(min=0)
        .mean(2)
        for edges, cells in ((boxes[..., 0::2], columns), (boxes[..., 1::2], rows))
    )
    weights = (y[..., :, None] * x[..., None, :]).flatten(2)  # (B, R, rows * columns)
    with torch.autocast(boxes.device.type, enabled=False):  # bfloat16 would round the weights
        return weights @ features.to(boxes.dtype).flatten(2).transpose(1, 2)
