"""Which boxes of a batch are trained on (paper 3.2, "Box Sampling")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fcln.modeling.boxes import iou


@dataclass(frozen=True)
class Sample:
    """A minibatch of boxes for each of B photographs, positives first; `count` columns, of which some may be unused."""

    indices: Tensor  # (B, count) int64, into the boxes
    matched: Tensor  # (B, count) int64, true box of each positive; of others without meaning
    positive: Tensor  # (B, count) bool
    negative: Tensor  # (B, count) bool


def sample_boxes(
    boxes: Tensor,
    truth: Tensor,
    is_truth: Tensor,
    allowed: Tensor,
    *,
    count: int,
    fg_iou: float,
    bg_iou: float,
    generator: torch.Generator,
) -> Sample:
    """At most count / 2 positives, the rest negatives, drawn without replacement.

    Positive: overlaps some true box by more than fg_iou, or overlaps a true box best of all boxes.
    Negative: overlaps every true box by less than bg_iou (all non-positives if there is none such).

    boxes: (B, A, 4) or (A, 4), anchors or proposals. truth: (B, G, 4), of which is_truth (B, G) bool are boxes; a
    photograph may have none. allowed: (B, A) bool, boxes that may be drawn. A photograph with fewer than `count`
    drawable boxes gives fewer.
    """
    overlap = iou(boxes, truth)  # (B, A, G)
    overlap.masked_fill_(~(allowed[:, :, None] & is_truth[:, None]), -1.0)
    best, owner = overlap.max(2)
    # Several true boxes may share their best box, and columns that are no box point anywhere: hence the maximum.
    forced = torch.zeros_like(best).scatter_reduce_(1, overlap.argmax(1), is_truth.to(best.dtype), "amax") > 0
    positive = ((best > fg_iou) | forced) & allowed
    negative = (best < bg_iou) & allowed & ~positive
    negative = torch.where(negative.any(1, keepdim=True), negative, allowed & ~positive)

    keys = torch.rand(allowed.shape, generator=generator, device=allowed.device)
    # The best box of each true box leads, then other positives; what is not positive has a key below 0.
    first = torch.where(positive, keys + forced, -1.0).topk(min(count // 2, keys.shape[1]), dim=1)
    order = torch.where(negative, keys, -1.0)
    order.scatter_reduce_(1, first.indices, torch.where(first.values >= 0, first.values + 2, -1.0), "amax")
    chosen = order.topk(min(count, order.shape[1]), dim=1)
    return Sample(
        chosen.indices, owner.gather(1, chosen.indices), chosen.values >= 2, (chosen.values >= 0) & (chosen.values < 2)
    )
