"""Photographs decoded to small upright RGB images.

Files come from strangers. Nothing here trusts them: the size is checked before any pixel is decoded, only the named
formats are opened, and whatever is wrong with one file ends as a `PhotoError` with the reason. A decoder that crashes
or never ends takes the process with it: programs that run unattended decode in a process of its own.
"""

import os
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from PIL import Image

from decoding import jpeg_xl, raw
from decoding.errors import PhotoError
from decoding.formats import FORMAT_NAMES, JPEG_XL, RAW, Extra
from decoding.headers import Headers, read_tiff_headers
from decoding.ifd import Directory, Header, read_header
from decoding.pillow_photo import Decoded, PillowPhoto, rgb
from decoding.reasons import ends_early, faults_as_reasons, is_of_the_disk, percent
from decoding.signatures import HEAD, TIFF, other_name, photo_format
from decoding.tiff import TiffPhotograph
from decoding.tiff_pages import is_raw

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

# The least side of a box of an image, pixels.
_SLIVER = 1 / 16

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


@dataclass(frozen=True)
class Photograph:
    """A decoded photograph, reduced by a whole factor where it is large."""

    image: Image.Image  # RGB (sRGB), upright; pixel (i, j) stands for scale x scale pixels of the photograph
    width: int  # upright pixels of the whole photograph
    height: int
    scale: int = 1
    origin: tuple[int, int] = (0, 0)  # where the image's corner (0, 0) lies in the photograph: 0, or a part of a
    # pixel of the image outside it, because a side need not be a multiple of the scale
    incomplete: str | None = None  # what is missing of the picture, in words; None: it is whole
    headers: Headers = field(default_factory=Headers)

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

    def image_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the whole photograph as boxes of the image.

        Args:
            boxes: (N, 4) float, x1 y1 x2 y2, pixels of the upright photograph.

        Returns:
            (N, 4) float32, x1 y1 x2 y2, pixels of `image`, 0 <= x1 < x2 <= its width.
        """
        inside = (np.asarray(boxes, np.float64) - np.array([*self.origin, *self.origin])) / self.scale
        inside = np.clip(inside, 0, np.array([*self.image.size, *self.image.size]))
        # A box in a border that was cut off keeps a sliver.
        inside[:, :2] = np.minimum(inside[:, :2], np.array(self.image.size) - _SLIVER)
        inside[:, 2:] = np.maximum(inside[:, 2:], inside[:, :2] + _SLIVER)
        return inside.astype(np.float32)


class OpenedPhoto:
    """A photograph whose header was read and found acceptable. No pixel of it was decoded yet."""

    memory: int  # bytes that `decode` takes at most

    def __init__(self, file: BinaryIO, memory_limit: int = DECODE_MEMORY):
        """Read the header of an open file.

        Raises:
            PhotoError: with the reason, if it holds no photograph that can be used, or one that takes more memory.
            OSError: the disk fails.
        """
        with faults_as_reasons():
            file.seek(0)
            head = file.read(HEAD)
            name = photo_format(head)
            if name is None:
                if not head:
                    raise PhotoError("the file is empty")
                what = other_name(head)
                raise PhotoError(f"{what}, not a photograph" if what else f"not a {FORMAT_NAMES} file")
            if name is JPEG_XL and JPEG_XL.installed():
                # Its package decodes while it opens.
                _acceptable(*jpeg_xl.size(file), jpeg_xl.BYTES_PER_PIXEL, "JPEG XL", memory_limit)
            self._source = _source(file, head, name)
            width, height = self._source.size
            memory = self._source.memory
            _acceptable(width, height, -(-memory // (width * height)), self._source.format, memory_limit)
            self.memory = memory

    def decode(self, side: int = DECODE_SIDE) -> Photograph:
        """The pixels, upright. Once only: the file is read to its end.

        Args:
            side: pixels; a larger photograph is reduced as far as its longest side stays as long as this.

        Raises:
            PhotoError: with the reason, if they cannot be decoded.
            OSError: the disk fails.
        """
        with faults_as_reasons():
            decoded = self._source.decode(side)
            return _upright(decoded, *self._source.size, self._source.headers())

    def headers(self) -> Headers:
        """What its headers tell besides the pixels, without decoding those; some formats have a part behind them.

        Raises:
            PhotoError, OSError: as `decode`.
        """
        with faults_as_reasons():
            return self._source.headers()


def _acceptable(width: int, height: int, bytes_per_pixel: int, format_name: str | None, memory_limit: int) -> None:
    """Raise PhotoError for a photograph that is too small or too large."""
    if min(width, height) < MIN_SIDE:
        raise PhotoError(f"{width}x{height} pixels: too small, both sides need {MIN_SIDE}")
    limit = min(PIXEL_LIMIT, memory_limit // bytes_per_pixel)
    if width * height > limit:
        most = f"{limit // 1_000_000} megapixels"
        raise PhotoError(f"{width}x{height} pixels: too large, the limit for such a {format_name} is {most}")


def _source(file: BinaryIO, head: bytes, name: str | Extra) -> "PillowPhoto | _TiffPhoto | _RawPhoto":
    if name == TIFF:
        header = read_header(file)
        if header is None:
            raise PhotoError("a TIFF whose header is damaged")
        return _RawPhoto(file, header) if is_raw(file, header) else _TiffPhoto(file, header)
    if name is RAW:
        return _RawPhoto(file, None)
    if isinstance(name, Extra) and not name.installed():
        raise PhotoError(f"a {name.kind.removesuffix('s')}, {name.remedy}")
    return PillowPhoto(file, head)


class _TiffPhoto:
    """A TIFF's photograph in the form of `PillowPhoto`."""

    format = "TIFF"

    def __init__(self, file: BinaryIO, header: Header):
        self._tiff = TiffPhotograph(file, header)
        self._first = Directory(file, header, header.first)
        self._pillow: PillowPhoto | None = None
        if self._tiff.old_jpeg:
            jpeg = self._tiff.jpeg()
            self._pillow = PillowPhoto(jpeg, jpeg.read(HEAD))
        self.size = self._pillow.size if self._pillow else self._tiff.size

    @property
    def memory(self) -> int:
        if self._pillow:
            return self._pillow.memory
        # and the reduced picture: at most two pixels less than twice the side each way, five floats each, three times
        width, height = self.size
        return self._tiff.memory + (60 * min(width * height, 4 * DECODE_SIDE**2))

    def headers(self) -> Headers:
        return read_tiff_headers(self._first)

    def decode(self, side: int) -> Decoded:
        orientation = self._tiff.orientation
        if self._pillow:
            decoded = self._pillow.decode(side)
            return Decoded(decoded.image, decoded.scale, orientation, decoded.incomplete)
        factor = max(1, max(self.size) // side)
        opened = self._tiff.opened_by_pillow()
        if opened is not None:
            try:
                opened.load()
            except Exception as error:
                if is_of_the_disk(error) or not ends_early(error):
                    raise
                raise PhotoError(f"{self._tiff.fault}, not all of the picture is there") from error
            opened.info["icc_profile"] = self._tiff.icc_profile
            return Decoded(rgb(opened, factor), factor, orientation)
        image, alpha, share = self._tiff.reduced(factor)
        incomplete = f"{self._tiff.fault}, {percent(share)} of the picture is there" if share < 1 else None
        image.info["icc_profile"] = self._tiff.icc_profile
        return Decoded(rgb(image, 1, alpha), factor, orientation, incomplete)


class _RawPhoto:
    """A camera raw photograph's preview in the form of `PillowPhoto`."""

    def __init__(self, file: BinaryIO, header: Header | None):
        preview, self._orientation = raw.preview(file)
        self._pillow = PillowPhoto(preview, preview.getvalue()[:HEAD])
        self.size, self.format = self._pillow.size, "camera raw photograph"
        raw.check_size(*self.size)
        self.memory = self._pillow.memory + file.seek(0, os.SEEK_END)
        self._directory = header and Directory(file, header, header.first)

    def headers(self) -> Headers:
        return read_tiff_headers(self._directory) if self._directory else self._pillow.headers()

    def decode(self, side: int) -> Decoded:
        decoded = self._pillow.decode(side)
        # Some cameras turn their previews, and others say in these how they are to be turned.
        orientation = decoded.orientation if decoded.orientation != 1 else self._orientation
        return Decoded(decoded.image, decoded.scale, orientation, decoded.incomplete)


def _upright(decoded: Decoded, width: int, height: int, headers: Headers) -> Photograph:
    image, scale = decoded.image, decoded.scale
    if image.size != (-(-width // scale), -(-height // scale)):
        raise PhotoError("the file is damaged, its header and its pixels say different sizes")
    orientation = decoded.orientation if decoded.orientation in _UPRIGHT else 1
    # Both reductions round sizes up: the last column and row stand for a few pixels beyond the photograph. Upright,
    # they may come first.
    beyond_x, beyond_y = image.width * scale - width, image.height * scale - height
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
        if orientation >= 5:
            width, height, beyond_x, beyond_y = height, width, beyond_y, beyond_x
    origin = (-beyond_x if orientation in _X_REVERSED else 0, -beyond_y if orientation in _Y_REVERSED else 0)
    return Photograph(image, width, height, scale, origin, decoded.incomplete, headers)
