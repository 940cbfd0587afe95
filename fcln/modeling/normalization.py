"""Pixels as every backbone takes them: ImageNet's mean 0 and deviation 1 in each channel."""

from functools import cache

import torch
from torch import Tensor

# torchvision's ImageNet statistics, for RGB in [0, 1]. (The released code feeds Caffe's BGR 0-255 less a mean.)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor) -> Tensor:
    """(B, 3, H, W) RGB in 0 to 255, uint8 or float -> float32 with ImageNet's mean 0 and deviation 1 per channel."""
    mean, std = _statistics(images.device)
    # In place: on a CPU a tenth of the time, which new memory would take.
    return images.to(torch.float32, copy=True, memory_format=torch.contiguous_format).div_(255).sub_(mean).div_(std)


@cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation, (1, 3, 1, 1) each. Kept: a GPU would be waited for until it has taken them."""
    with torch.inference_mode(False):  # training may be the next to ask
        return torch.tensor(MEAN, device=device).view(1, 3, 1, 1), torch.tensor(STD, device=device).view(1, 3, 1, 1)
