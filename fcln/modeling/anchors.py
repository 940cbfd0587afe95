"""Anchor boxes of the localization layer (paper 3.2, "Convolutional Anchors")."""

import torch
from torch import Tensor

# (width, height) in pixels of a photograph whose longest side is 720: the released code's twelve, four scales of
# three shapes (LocalizationLayer.lua; the paper gives only k = 12).
PAPER_ANCHORS = (
    (45, 90), (90, 45), (64, 64),
    (90, 180), (180, 90), (128, 128),
    (181, 362), (362, 181), (256, 256),
    (362, 724), (724, 362), (512, 512),
)  # fmt: skip
PAPER_IMAGE_SIZE = 720


def scaled_anchors(image_size: int) -> tuple[tuple[float, float], ...]:
    """The paper's anchors for photographs of another longest side, in pixels of that frame."""
    scale = image_size / PAPER_IMAGE_SIZE
    return tuple((round(w * scale, 2), round(h * scale, 2)) for w, h in PAPER_ANCHORS)


def anchor_grid(rows: int, columns: int, stride: int, shapes: Tensor) -> Tensor:
    """Every anchor of a feature map, centred on its cells.

    shapes: (k, 2) float, width and height in pixels. Returns (rows * columns * k, 4) float32 x1 y1 x2 y2 in pixels of
    the network's input, cells in reading order, the k shapes of a cell side by side. Anchors may cross the border.
    """
    y, x = torch.meshgrid(
        (torch.arange(rows, device=shapes.device) + 0.5) * stride,
        (torch.arange(columns, device=shapes.device) + 0.5) * stride,
        indexing="ij",
    )
    centers = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)  # (rows*columns, 1, 2)
    return torch.cat([centers - shapes / 2, centers + shapes / 2], dim=-1).reshape(-1, 4)
