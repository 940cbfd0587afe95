"""Colours as sRGB, by the profile that a photograph carries; without one, or with a broken one, as they are."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# Profiles are the same for all photographs of a camera or program.
_KEPT = 16
# A profile whose colours differ from sRGB by less is left out: no eye sees it, and most photographs have such a one.
_SAME = 2

_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """An image of mode L, RGB, CMYK or LAB as sRGB, mode RGB."""
    transform = None
    if image.mode == "LAB":
        transform = _lab()
    elif profile:
        transform = _transform(profile, image.mode)
        if transform is None and image.mode == "L":
            transform = _transform(profile, "RGB")  # grey pixels with the profile of the colour picture they were
            image = image if transform is None else image.convert("RGB")
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only with inPlace
    return converted


@lru_cache(_KEPT)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours to sRGB; None: it is broken, of another kind of colours, or sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        )
        changes = mode == "CMYK" or _changes(transform, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if changes else None


def _changes(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform makes a difference that can be seen."""
    steps = np.linspace(0, 255, 6).astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(36, 6, 3)
    image = Image.fromarray(grid).convert(mode)
    after = ImageCms.applyTransform(image, transform)
    difference = np.abs(np.asarray(after, np.int16) - np.asarray(image.convert("RGB"), np.int16))
    return bool(difference.max() > _SAME)


@lru_cache(1)
def _lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
