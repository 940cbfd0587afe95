"""Colours changed on the device: the factors' meaning, by hand and against Pillow's enhancers."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from fcln.training.augmentation import tint


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 3, 12, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_factors_of_one_change_nothing(images):
    found = tint(images, torch.ones(3, 3))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, images.float(), atol=1e-3, rtol=0)


def test_each_factor_does_what_its_name_says(images):
    dark, grey, flat = tint(images, torch.tensor([[0.5, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]))
    torch.testing.assert_close(dark, images[0].float() / 2, atol=1e-3, rtol=0)
    torch.testing.assert_close(grey[0], grey[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(grey[0], grey[2], atol=1e-3, rtol=0)
    assert flat.std() < 1e-3  # all of one brightness, the mean's
    luma = (images[2].float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).mean()
    assert flat.mean().item() == pytest.approx(luma.item(), abs=1e-2)


def test_it_is_what_pillow_does_in_this_order(images):
    factors = torch.tensor([[1.2, 0.8, 1.3], [0.7, 1.3, 0.7], [1.0, 1.1, 0.9]])
    for found, pixels, (brightness, contrast, colour) in zip(tint(images, factors), images, factors.tolist()):
        image = Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy()))
        for enhancer, factor in (
            (ImageEnhance.Brightness, brightness), (ImageEnhance.Contrast, contrast), (ImageEnhance.Color, colour),
        ):  # fmt: skip
            image = enhancer(image).enhance(factor)
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
        assert (found - expected).abs().max() < 4  # Pillow rounds to whole numbers three times


def test_nothing_leaves_the_range(images):
    found = tint(images, torch.full((3, 3), 1.9))
    assert found.min() >= 0 and found.max() <= 255
