"""Colours of photographs changed at random, on the device that trains; windows and mirror images are the loader's."""

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)


def tint(images: Tensor, factors: Tensor) -> Tensor:
    """Change brightness, contrast and colour, each by its factor, in this order.

    images: (B, 3, H, W) uint8 RGB. factors: (B, 3) float32, 1: as it is; contrast around the mean brightness, colour
    around grey. Returns (B, 3, H, W) float32 in [0, 255].
    """
    brightness, contrast, colour = factors[:, :, None, None, None].unbind(1)
    weights = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    pixels = (images.float() * brightness).clamp(0, 255)
    mean = (pixels * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    pixels = ((pixels - mean) * contrast + mean).clamp(0, 255)
    grey = (pixels * weights).sum(1, keepdim=True)
    return ((pixels - grey) * colour + grey).clamp(0, 255)
