"""Photographs decoded to small upright RGB images.

Files come from strangers. Nothing here trusts them: the size is checked before any pixel is decoded, only the named
formats are opened, and whatever Pillow finds wrong with one file ends as a `PhotoError` with the reason. A decoder that
crashes or never ends takes the process with it: whoever decodes unattended does so in a process of its own.
"""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from decoding.errors import PhotoError
from decoding.formats import FORMAT_NAMES, pillow_formats

# Larger photographs are refused, whatever the format: no camera makes them, and "bombs" of a few kilobytes do.
PIXEL_LIMIT = 200_000_000

# Memory that all photographs being decoded at one moment may take together. With the network and what waits for it
# that stays below 3 GB. It lowers the pixel limit of formats that take more than 5 bytes a pixel.
DECODE_MEMORY = 1_000_000_000

# Below this, a side has less than one cell of the network's feature map (stride 16).
MIN_SIDE = 16

# The longest side that any configuration of the network looks at (the paper's 720). Larger photographs are reduced by
# a whole factor while they are decoded, never below it: a 24-megapixel JPEG then costs a sixth of the time, and what
# waits for the network is at most 1439x1439 pixels whatever the camera.
DECODE_SIDE = 720

# Unplugged, out of reach, worn out.
_DISK_ERRORS = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, getattr(errno, "ESTALE", errno.EIO)}
)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The orientations whose upright x (y) axis runs against the stored axis that it comes from.
_X_REVERSED = frozenset({2, 3, 6, 7})
_Y_REVERSED = frozenset({3, 4, 7, 8})

# Pillow warns at 89 megapixels and refuses at 179, whatever the format and the memory. `OpenedPhoto` checks every file
# before it is decoded, so its limit is the one that counts.
Image.MAX_IMAGE_PIXELS = None

# Pillow takes memory in blocks of 16 MiB, and glibc does not give such blocks back when threads free them: after a
# few photographs of 200 megapixels 800 MB more were in use. Blocks beyond 32 MiB always go back to the system.
Image.core.set_block_size(64 << 20)


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph, reduced by a whole factor where it is large."""

    image: Image.Image  # RGB, upright; pixel (i, j) stands for scale x scale pixels of the photograph
    width: int  # upright pixels of the whole photograph
    height: int
    scale: int = 1
    origin: tuple[int, int] = (0, 0)  # where the image's corner (0, 0) lies in the photograph: 0, or a part of a
    # pixel of the image outside it, because a side need not be a multiple of the scale

    def full_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the image as boxes of the whole photograph.

        Args:
            boxes: (N, 4) float, x1 y1 x2 y2, pixels of `image`.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, pixels of the upright photograph, 0 <= x1 < x2 <= width.
        """
        full = np.asarray(boxes, np.float64) * self.scale + np.array([*self.origin, *self.origin])
        size = np.array([self.width, self.height])
        # The image's border pixels may reach beyond the photograph; a box out there keeps one pixel inside.
        full[:, :2] = np.clip(full[:, :2], 0, size - 1)
        full[:, 2:] = np.clip(full[:, 2:], 1, size)
        return full.astype(np.float32)


class OpenedPhoto:
    """A photograph whose header was read and found acceptable. No pixel of it was decoded yet."""

    memory: int  # bytes that `decode` takes at most

    def __init__(self, file: BinaryIO, memory_limit: int = DECODE_MEMORY):
        """Read the header of an open file.

        Raises:
            PhotoError: with the reason, if it holds no photograph that can be used, or one that takes more memory.
            OSError: the disk fails.
        """
        with _faults_as_reasons():
            try:
                self._image = Image.open(file, formats=pillow_formats())
            except UnidentifiedImageError:
                empty = file.seek(0, os.SEEK_END) == 0
                raise PhotoError("the file is empty" if empty else f"not a {FORMAT_NAMES} file") from None
        width, height = self._image.size
        if min(width, height) < MIN_SIDE:
            raise PhotoError(f"{width}x{height} pixels: too small, both sides need {MIN_SIDE}")
        bytes_per_pixel = _bytes_per_pixel(self._image)
        limit = min(PIXEL_LIMIT, memory_limit // bytes_per_pixel)
        if width * height > limit:
            most = f"{limit // 1_000_000} megapixels"
            raise PhotoError(f"{width}x{height} pixels: too large, the limit for such a {self._image.format} is {most}")
        self.memory = width * height * bytes_per_pixel

    def decode(self, side: int = DECODE_SIDE) -> Photograph:
        """The pixels, upright. Once only: the file is read to its end.

        Args:
            side: pixels; a larger photograph is reduced as far as its longest side stays as long as this.

        Raises:
            PhotoError: with the reason, if they cannot be decoded.
            OSError: the disk fails.
        """
        with _faults_as_reasons():
            return _decode(self._image, side)


@contextmanager
def _faults_as_reasons() -> Iterator[None]:
    """Turns what Pillow finds wrong with a file into a PhotoError, and keeps its remarks on odd metadata to itself.

    What the disk says goes through, for it is no property of the file, which is to be tried again. Broken files raise
    OSError as well.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoError:
        raise
    except Exception as error:  # whatever broken bytes lead to: OSError, SyntaxError, struct.error, MemoryError, ...
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        raise PhotoError(f"cannot be decoded ({error or type(error).__name__})") from error


def _bytes_per_pixel(image: Image.Image) -> int:
    """The memory that `_decode` needs at most for a pixel of the file (measured at 14142x14142 pixels)."""
    if image.format == "WEBP":
        return 17  # its library keeps several copies of the whole picture
    if image.format == "HEIF":
        return 9
    if image.format in ("JPEG", "MPO"):
        return 7 if image.info.get("progressive") else 1  # all coefficients, or a few rows at a time
    return 4 if image.mode in ("1", "L", "RGB", "CMYK") and not image.has_transparency_data else 9


def _decode(image: Image.Image, side: int) -> Photograph:
    width, height = image.size
    scale = _draft(image, side)
    image.load()
    # Only now: Pillow turns TIFF upright while loading it, and PNG may carry its EXIF block after the pixels.
    orientation = _orientation(image)
    factor = max(1, max(image.size) // side)
    image = _rgb(image, factor)
    scale *= factor
    # Both reductions round sizes up: the last column and row stand for a few pixels beyond the photograph. Upright,
    # they may come first.
    beyond_x, beyond_y = image.width * scale - width, image.height * scale - height
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
        if orientation >= 5:
            width, height, beyond_x, beyond_y = height, width, beyond_y, beyond_x
    origin = (-beyond_x if orientation in _X_REVERSED else 0, -beyond_y if orientation in _Y_REVERSED else 0)
    return Photograph(image, width, height, scale, origin)


def _draft(image: Image.Image, side: int) -> int:
    """Has the JPEG decoder reduce a large photograph by 2, 4 or 8, and returns the factor; 1 for other formats."""
    width, height = image.size
    factor = next(factor for factor in (8, 4, 2, 1) if factor == 1 or max(width, height) // factor >= side)
    drafted = image.draft("RGB", (max(1, width // factor), max(1, height // factor)))
    if drafted is None:
        return 1
    _, (_, _, drafted_width, _) = drafted
    return round(width / drafted_width)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or where the EXIF block is broken."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a photograph whose EXIF block is garbage is still a photograph
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _rgb(image: Image.Image, factor: int) -> Image.Image:
    """An image of any mode, reduced by a whole factor, as RGB; transparent parts over white."""
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data and image.mode not in ("RGBA", "LA"):
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode in ("I", "F"):
        image = Image.fromarray(_eight_bit(np.asarray(image)))
    if image.mode in ("RGBA", "LA"):
        white = Image.new("RGB", image.size, "white")
        white.paste(image.convert("RGB"), mask=image.getchannel("A"))
        return white
    return image.convert("RGB")


def _eight_bit(grey: np.ndarray) -> np.ndarray:
    """Grey values of 16, 32 or float bits as (H, W) uint8.

    The files do not say what white is. Integers: 65535, or their largest value. Floats: 1, 255 or 65535, whichever
    is the first to hold all values, or their largest value.
    """
    whites = (1.0, 255.0, 65535.0) if grey.dtype.kind == "f" else (65535.0,)
    grey = np.nan_to_num(grey.astype(np.float32), posinf=0.0, neginf=0.0)
    largest = float(grey.max())
    white = next((white for white in whites if largest <= white), largest)
    return np.clip(grey * (255.0 / white), 0, 255).round().astype(np.uint8)
