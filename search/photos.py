"""Photographs given as files or folders, decoded upright; for drawing too.

Files come from strangers: only the named formats are opened, the size is checked before any pixel is decoded, and
whatever Pillow finds wrong ends as a PhotoError with the reason.
"""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from search.errors import PhotoError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".heic", ".heif", ".hif"}
)
# JPEG opens as MPO where a camera wrote a second picture behind the first.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")

# As in a build: smaller ones are less than a cell of the network's feature map, larger ones no camera makes.
_MIN_SIDE = 16
_PIXEL_LIMIT = 200_000_000

# As in a build: larger photographs are reduced by a whole factor, never below the longest side that any configuration
# of the network looks at.
_SIDE = 720

# Checked here, before decoding: Pillow's own limit of 179 megapixels would be one more.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class DecodedPhoto:
    """A photograph to describe."""

    image: Image.Image  # RGB, upright, reduced where it is large
    width: int  # upright pixels of the whole photograph
    height: int

    def full_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of `image` as boxes of the whole photograph: (N, 4) x1 y1 x2 y2 pixels each, float32."""
        size = np.array([self.width, self.height, self.width, self.height], np.float64)
        scale = size / np.array([*self.image.size, *self.image.size])
        return np.minimum(boxes * scale, size).astype(np.float32)


def find_photos(arguments: Iterable[Path]) -> list[Path]:
    """The files given, and those of the folders given that are photographs by their names, each once.

    Folders with all that is in them, in the order of names; hidden files and folders are left out. A file given by name
    may have any.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        for path in _walk(argument) if argument.is_dir() else [argument]:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def read_photo(path: Path) -> DecodedPhoto:
    """Decode a photograph. Raises PhotoError with the reason if that fails."""
    try:
        with opened(path) as photo:
            width, height = photo.size
            if min(width, height) < _MIN_SIDE:
                raise PhotoError(f"{width}x{height} pixels: too small, both sides need {_MIN_SIDE}")
            if width * height > _PIXEL_LIMIT:
                raise PhotoError(f"{width}x{height} pixels: too large, the limit is {_PIXEL_LIMIT // 10**6} megapixels")
            reduced = next((f for f in (8, 4, 2) if max(width, height) // f >= _SIDE), 1)
            is_jpeg = photo.draft("RGB", (width // reduced, height // reduced)) is not None
            photo.load()
            turned = upright(photo)
            if not is_jpeg:
                width, height = turned.size
            elif _orientation(photo) in (5, 6, 7, 8):
                width, height = height, width
            image = rgb(turned)
            image = image.reduce(max(1, max(image.size) // _SIDE))
    except FileNotFoundError as error:
        raise PhotoError("there is no such file") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise PhotoError("the file is empty" if empty else "it is not a photograph") from error
    except PhotoError:
        raise
    except OSError as error:
        raise PhotoError(error.strerror or f"it cannot be decoded ({error})") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        raise PhotoError(f"it cannot be decoded ({error or type(error).__name__})") from error
    return DecodedPhoto(image, width, height)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A photograph whose header was read, no pixel yet. Raises whatever Pillow does."""
    formats: tuple[str, ...] = _FORMATS
    with contextlib.suppress(ImportError):  # the extra `heic`
        from pillow_heif import register_heif_opener

        register_heif_opener()
        formats = (*_FORMATS, "HEIF")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on odd metadata
        with Image.open(path, formats=formats) as photo:
            yield photo


def _orientation(photo: Image.Image) -> int:
    """The EXIF orientation; 5 to 8 exchange width and height."""
    try:
        return int(photo.getexif().get(0x0112, 1))
    except Exception:  # a photograph whose EXIF block is garbage is still a photograph
        return 1


def upright(photo: Image.Image) -> Image.Image:
    """A decoded photograph turned as its EXIF block says; as it is, where that is garbage."""
    try:
        return ImageOps.exif_transpose(photo)
    except Exception:
        return photo


def rgb(photo: Image.Image) -> Image.Image:
    """A photograph of any mode as RGB: scans of more than 8 bits by their brightest pixel, transparent parts white."""
    if photo.mode.startswith(("I", "F")):
        grey = np.nan_to_num(np.asarray(photo, dtype=np.float32))
        photo = Image.fromarray(np.clip(grey * (255 / max(float(grey.max()), 1e-6)), 0, 255).astype(np.uint8))
    elif photo.has_transparency_data:
        white = Image.new("RGBA", photo.size, "white")
        photo = Image.alpha_composite(white, photo.convert("RGBA"))
    return photo.convert("RGB")
