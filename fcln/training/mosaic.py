"""Four photographs of a batch as one, each half as wide and high (Bochkovskiy et al., YOLOv4, 2020).

Things become smaller, what is around them is no longer where they usually are, and a batch shows four times the
photographs that its pixels cost.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from fcln.training.batch import Batch


def mosaic(batch: Batch, images: Tensor) -> tuple[Batch, Tensor]:
    """Photographs 4n to 4n + 3 as the quarters of one, those that people boxed among themselves.

    images: (B, 3, H, W) float32 pixels, H and W even. Returns B // 4 photographs, and their pixels (B // 4, 3, H, W);
    as many as make no four are left out, fewer than four come back as they are. Captions of a photograph become phrases
    of something somewhere in it, and of no mosaic is said what all of it shows.
    """
    count = len(images) // 4
    if not count:
        return batch, images
    order = torch.argsort(batch.complete.int(), stable=True)[: 4 * count]
    height, width = images.shape[-2] // 2, images.shape[-1] // 2
    quarters = F.avg_pool2d(images[order], 2).unflatten(0, (count, 4))
    rows = [torch.cat([quarters[:, left], quarters[:, left + 1]], -1) for left in (0, 2)]
    halves = (batch.sizes[order] / 2).unflatten(0, (count, 4))
    right, bottom = halves[:, 1::2, 0].amax(1), halves[:, 2:, 1].amax(1)
    corners = batch.boxes.new_tensor([[0, 0], [width, 0], [0, height], [width, height]])

    def join(of_boxes: Tensor) -> Tensor:
        """(B, G, ...) -> (B // 4, 4 G, ...)."""
        return of_boxes[order].unflatten(0, (count, 4)).flatten(1, 2)

    complete = batch.complete[order].unflatten(0, (count, 4)).all(1)
    # A detector's boxes teach nothing where people boxed what matters, nor there in a mosaic with other photographs.
    untrusted = join(batch.is_weak & batch.complete[:, None]) & ~complete[:, None]
    is_box = join(batch.is_box) & ~untrusted
    boxes = (batch.boxes[order].unflatten(0, (count, 4)) / 2 + corners.repeat(1, 2)[:, None]).flatten(1, 2)
    place = order.new_full((len(images),), -1)
    place[order] = torch.arange(len(order), device=order.device)
    kept = place[batch.phrase_photo] >= 0
    place = place[batch.phrase_photo[kept]]  # of each phrase's photograph among all quarters
    named = batch.phrase_boxes[kept]
    phrase_boxes = named.new_zeros(len(named), 4, named.shape[1])
    phrase_boxes[torch.arange(len(named), device=order.device), place % 4] = named
    also_true = batch.also_true[kept][:, order].unflatten(1, (count, 4)).any(2)
    also_true.scatter_(1, place[:, None] // 4, False)
    joined = replace(
        batch,
        images=None,
        tints=None,
        sizes=torch.stack([width + right, height + bottom], 1),
        boxes=boxes * is_box[..., None],
        is_box=is_box,
        is_weak=join(batch.is_weak),
        complete=complete,
        captions=join(batch.captions),
        whole_captions=torch.zeros_like(batch.whole_captions[:count]),
        phrases=batch.phrases[kept],
        phrase_photo=place // 4,
        phrase_boxes=phrase_boxes.flatten(1),
        phrase_whole=torch.zeros_like(batch.phrase_whole[kept]),
        phrase_group=batch.phrase_group[kept],
        also_true=also_true,
        names=[", ".join(batch.names[i] for i in four) for four in order.view(count, 4).tolist()],
        phrase_vectors=None if batch.phrase_vectors is None else batch.phrase_vectors[kept],
    )
    if batch.photo_terms is not None and batch.box_terms is not None and batch.main_term is not None:
        terms = batch.photo_terms[order].unflatten(0, (count, 4))
        shown, possible = (terms == 1).any(1), (terms == -1).any(1)
        joined = replace(
            joined,
            photo_terms=shown.to(terms.dtype) - (possible & ~shown).to(terms.dtype),
            box_terms=join(batch.box_terms),
            main_term=torch.full_like(batch.main_term[:count], -1),
        )
    if batch.target_rows is not None:
        whole = torch.full_like(batch.target_rows[:count, :1], -1)
        joined = replace(joined, target_rows=torch.cat([join(batch.target_rows[:, :-1]), whole], 1))
    return joined, torch.cat(rows, -2)
