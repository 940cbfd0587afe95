"""Non-maximum suppression of many photographs at once, as one Triton kernel: a GPU does it without being waited for.

Each photograph's boxes stay in the registers of one multiprocessor, which takes the best box that is left, drops what
overlaps it, and goes on. Imported only where there is a GPU.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Boxes of a photograph that one warp looks at: up to 2,048 are shared out over eight warps.
_BOXES_A_WARP = 256


@triton.jit(do_not_specialize=["n", "most"])
def _suppress(boxes, taking_part, kept, counts, iou, n, most, BLOCK: tl.constexpr):
    """One photograph: (n, 4) boxes and (n,) uint8 -> (most,) int64 places of those kept, and how many those are."""
    photograph = tl.program_id(0).to(tl.int64)
    boxes += photograph * n * 4
    place = tl.arange(0, BLOCK)
    there = place < n
    x1 = tl.load(boxes + place * 4, mask=there, other=0.0)
    y1 = tl.load(boxes + place * 4 + 1, mask=there, other=0.0)
    x2 = tl.load(boxes + place * 4 + 2, mask=there, other=0.0)
    y2 = tl.load(boxes + place * 4 + 3, mask=there, other=0.0)
    area = (x2 - x1) * (y2 - y1)
    left = tl.load(taking_part + photograph * n + place, mask=there, other=0) != 0
    best = tl.min(tl.where(left, place, BLOCK), 0)
    count = 0
    while (count < most) & (best < BLOCK):
        tl.store(kept + photograph * most + count, best.to(tl.int64))
        bx1 = tl.load(boxes + best * 4)
        by1 = tl.load(boxes + best * 4 + 1)
        bx2 = tl.load(boxes + best * 4 + 2)
        by2 = tl.load(boxes + best * 4 + 3)
        width = tl.maximum(tl.minimum(x2, bx2) - tl.maximum(x1, bx1), 0.0)
        height = tl.maximum(tl.minimum(y2, by2) - tl.maximum(y1, by1), 0.0)
        intersection = width * height
        union = tl.maximum(area + (bx2 - bx1) * (by2 - by1) - intersection, 1e-9)
        left = left & (place > best) & ~(intersection / union > iou)
        best = tl.min(tl.where(left, place, BLOCK), 0)
        count += 1
    tl.store(counts + photograph, count)  # as int64


def suppress(boxes: Tensor, taking_part: Tensor, *, iou: float, most: int) -> tuple[Tensor, Tensor]:
    """Greedy non-maximum suppression of boxes (B, N, 4) float32 that stand best first; taking_part: (B, N) bool.

    iou: overlap above which the weaker goes. Returns (B, most) int64, which boxes are kept, best first, and (B, most)
    bool, which of these entries count; the others are 0.
    """
    batch, n = taking_part.shape
    kept = torch.zeros((batch, most), dtype=torch.int64, device=boxes.device)
    counts = torch.zeros((batch, 1), dtype=torch.int64, device=boxes.device)
    if batch and n and most:
        block = max(32, triton.next_power_of_2(n))
        _suppress[(batch,)](
            boxes.contiguous(), taking_part.contiguous().view(torch.uint8), kept, counts, iou, n, most,
            BLOCK=block, num_warps=min(32, max(1, block // _BOXES_A_WARP)),
        )  # fmt: skip
    return kept, torch.arange(most, device=boxes.device) < counts
