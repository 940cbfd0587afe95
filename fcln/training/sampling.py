"""Which boxes of a photograph are trained on (paper 3.2, "Box Sampling")."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fcln.modeling.boxes import iou


@dataclass(frozen=True)
class Sample:
    """A minibatch of the boxes of one photograph, positives first; the best one of each true box leads."""

    indices: Tensor  # (S,) int64, into the boxes
    matched: Tensor  # (P,) int64, true box of each of the P positives
    positives: int  # P <= S


def sample_boxes(
    boxes: Tensor,
    truth: Tensor,
    allowed: Tensor,
    *,
    count: int,
    positive_iou: float,
    negative_iou: float,
    generator: torch.Generator,
) -> Sample:
    """At most count / 2 positives, the rest negatives, drawn without replacement.

    Positive: overlaps some true box by more than positive_iou, or overlaps a true box best of all boxes.
    Negative: overlaps every true box by less than negative_iou (all non-positives if there is none such).

    boxes: (A, 4), anchors or proposals. truth: (G, 4), G >= 1. allowed: (A,) bool, boxes that may be drawn. A
    photograph with fewer than `count` drawable boxes gives fewer.
    """
    overlap = iou(boxes, truth).masked_fill(~allowed[:, None], -1.0)  # (A, G)
    best, owner = overlap.max(1)
    forced = overlap.argmax(0)  # (G,) best box for each true box
    positive = best > positive_iou
    negative = (best < negative_iou) & allowed
    positive[forced] = True
    negative[forced] = False
    if not negative.any():
        negative = allowed & ~positive

    forced = torch.unique(forced)
    others = positive.clone()
    others[forced] = False
    chosen = torch.cat([_shuffled(forced, generator), _shuffled(others.nonzero()[:, 0], generator)])[: count // 2]
    rest = _shuffled(negative.nonzero()[:, 0], generator)[: count - len(chosen)]
    return Sample(torch.cat([chosen, rest]), owner[chosen], len(chosen))


def _shuffled(indices: Tensor, generator: torch.Generator) -> Tensor:
    return indices[torch.randperm(len(indices), generator=generator).to(indices.device)]
