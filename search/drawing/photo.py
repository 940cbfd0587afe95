"""A photograph as a drawing needs it."""

from pathlib import Path

from PIL import Image

from decoding.errors import PhotoError
from decoding.files import decode_file
from decoding.photos import Photograph


class NotShown(Exception):
    """Why a photograph cannot be drawn."""


def open_photo(path: Path, size: tuple[int, int], *, side: int) -> Photograph:
    """A photograph, decoded not much larger than `side` pixels. size: width, height when it was described.

    Raises NotShown.
    """
    try:
        photo = decode_file(path, side)
    except FileNotFoundError as error:
        raise NotShown("not there any more") from error
    except (OSError, PhotoError) as error:
        raise NotShown("cannot be read any more") from error
    if (photo.width, photo.height) != size:
        raise NotShown("changed since it was indexed")
    return photo


def resized(photo: Photograph, size: tuple[int, int]) -> Image.Image:
    """All of a photograph as an image of (width, height), RGB."""
    # The photograph in its image: a reduced one may begin and end up to a pixel outside.
    x0, y0 = photo.origin
    inside = (-x0 / photo.scale, -y0 / photo.scale, (photo.width - x0) / photo.scale, (photo.height - y0) / photo.scale)
    return photo.image.resize(size, Image.Resampling.LANCZOS, box=inside)
