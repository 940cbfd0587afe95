"""Batches for tests that say themselves what is in them."""

import torch

from fcln.training.batch import Batch


def batch_of(boxes: list[list[list[float]]], phrases: list[tuple[int, int, bool]], /, **changes) -> Batch:
    """A batch of 100x100 photographs. phrases: photograph, box or -1 (the whole) or -2 (anywhere), in its query."""
    most = max(1, *map(len, boxes))
    padded = torch.zeros(len(boxes), most, 4)
    for n, own in enumerate(boxes):
        padded[n, : len(own)] = torch.tensor(own).view(-1, 4)
    values = {
        "images": None,
        "features": None,
        "sizes": torch.full((len(boxes), 2), 100.0),
        "boxes": padded,
        "is_box": torch.tensor([[n < len(own) for n in range(most)] for own in boxes]),
        "is_weak": torch.zeros(len(boxes), most, dtype=torch.bool),
        "complete": torch.tensor([bool(own) for own in boxes]),
        "captions": torch.zeros(len(boxes), most, 1, dtype=torch.int64),
        "whole_captions": torch.zeros(len(boxes), 1, dtype=torch.int64),
        "phrases": torch.zeros(len(phrases), 1, dtype=torch.int64),
        "phrase_photo": torch.tensor([p for p, _, _ in phrases]),
        "phrase_boxes": torch.tensor([[b == n for n in range(most)] for _, b, _ in phrases]),
        "phrase_whole": torch.tensor([b == -1 for _, b, _ in phrases]),
        "phrase_group": torch.tensor([g for _, _, g in phrases]),
        "also_true": torch.zeros(len(phrases), len(boxes), dtype=torch.bool),
        "names": [f"{n}.jpg" for n in range(len(boxes))],
    }
    return Batch(**(values | changes))
