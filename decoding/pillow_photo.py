"""Photographs that Pillow decodes: reduced on the way where the format allows it, rescued where they end early."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from decoding import gif, jpeg, jpeg_xl, png, unwritten
from decoding.colour import to_srgb
from decoding.errors import PhotoError
from decoding.formats import JPEG_XL, pillow_formats
from decoding.frames import seek_first_frame
from decoding.headers import Headers, read_headers
from decoding.reasons import LEAST_SHARE, ends_early, is_of_the_disk, percent, share_of_file
from decoding.signatures import photo_format
from decoding.slices import Slices, cut
from decoding.whites import white_of_16_bits

_DAMAGED = "the file is damaged"
_ORIENTATION_TAG = 0x0112
# Bytes of headers of one JPEG that Pillow may keep in memory; with more of them, it gets to see none.
_MOST_JPEG_HEADERS = 64 << 20

# Pillow warns at 89 megapixels and refuses at 179, whatever the format and the memory. `OpenedPhoto` checks every file
# before it is decoded, so its limit is the one that counts.
Image.MAX_IMAGE_PIXELS = None

# Pillow takes memory in blocks of 16 MiB, and glibc does not give such blocks back when threads free them: after a
# few photographs of 200 megapixels 800 MB more were in use. Blocks beyond 32 MiB always go back to the system.
Image.core.set_block_size(64 << 20)


@dataclass(frozen=True)
class Decoded:
    """The pixels of a photograph as they are stored: reduced, not yet upright."""

    image: Image.Image  # RGB
    scale: int  # a pixel of it stands for scale x scale of the photograph
    orientation: int  # as EXIF numbers it
    incomplete: str | None = None  # what is missing of it, in words


class PillowPhoto:
    """A photograph whose header Pillow has read."""

    def __init__(self, file: BinaryIO, head: bytes):
        """
        Args:
            head: the first bytes of the file.

        Raises:
            PhotoError: Pillow makes nothing of it.
        """
        size = file.seek(0, os.SEEK_END)
        written = unwritten.written(file, compressed=not head.startswith(b"BM"))
        self._file = file if written == size else cut(file, written)
        self._fault = "the file ends early" if written == size else _DAMAGED
        self._head = head
        self._incomplete: str | None = None
        self._image = self._open()
        self.size = self._image.size
        self.format = self._image.format

    def _open(self) -> Image.Image:
        if self._head.startswith(b"\xff\xd8"):
            self._file.seek(0)
            if jpeg.bytes_of_headers(self._file) <= _MOST_JPEG_HEADERS:
                try:
                    return _opened(self._file)
                except Exception as error:  # broken notes raise anything
                    if is_of_the_disk(error):
                        raise
            return _opened(jpeg.structure(self._file).readable(self._file, notes=False))
        if self._head.startswith(b"\x89PNG"):
            return _opened(png.readable(self._file))
        try:
            return _opened(self._file)
        except Exception as error:
            if is_of_the_disk(error):
                raise
            return self._filled_up(error)

    @property
    def memory(self) -> int:
        """Bytes that `decode` takes at most (measured at 14142x14142 pixels)."""
        return self.size[0] * self.size[1] * _bytes_per_pixel(self._image)

    def headers(self) -> Headers:
        """What they tell besides the pixels; after `decode`, because some formats have them behind the pixels."""
        if self.format == "JXL" and not self._image.info.get("xmp"):
            self._image.info["xmp"] = jpeg_xl.xmp(self._file)
        return read_headers(self._image)

    def decode(self, side: int) -> Decoded:
        """The pixels, reduced by a whole factor as far as the longest side stays as long as `side`."""
        scale = _draft(self._image, side)
        try:
            if not seek_first_frame(self._image):
                self._image = self._open()
                self._image.load()
            damaged = self._is_damaged()
        except Exception as error:
            if is_of_the_disk(error):
                raise
            self._rescue(error, side)
        else:
            if damaged:
                self._rescue(PhotoError(self._fault), side)
        # Only now: PNG may carry its EXIF block after the pixels.
        orientation = _orientation(self._image)
        factor = max(1, max(self._image.size) // side)
        return Decoded(rgb(self._image, factor), scale * factor, orientation, self._incomplete)

    def _is_damaged(self) -> bool:
        """Whether something is wrong with pixels that were decoded without complaint."""
        if self.format not in ("JPEG", "MPO", "PNG"):
            return False
        at = unwritten.first_hole(self._file, self._pixels)
        if at is not None:  # from there on, the file is taken for cut off
            self._file, self._fault = cut(self._file, at), _DAMAGED
            return True
        return self.format == "PNG" and not png.checksums_hold(self._file)

    def _pixels(self) -> list[tuple[int, int]]:
        return png.pixels(self._file) if self.format == "PNG" else jpeg.structure(self._file).pixels

    @property
    def _bytes(self) -> int:
        return self._file.seek(0, os.SEEK_END)

    def _rescue(self, error: Exception, side: int) -> None:
        """Decodes what is there of a picture, and says what is missing; PhotoError if that is too much."""
        if self.format in ("JPEG", "MPO"):
            self._rescue_jpeg(side)
        elif self.format == "PNG":
            self._rescue_png(error)
        elif self.format == "GIF":
            self._rescue_gif(error)
        elif self._incomplete is None:
            self._image = self._filled_up(error)
            with _truncated_allowed():
                self._image.load()
        else:
            raise error

    def _rescue_jpeg(self, side: int) -> None:
        found = jpeg.structure(self._file)
        if not found.scans:
            raise PhotoError(f"{self._fault} before the picture begins")
        if found.progressive:
            found.end_last_scan(self._file)
            if not found.has_everything_coarsely:
                raise PhotoError(f"{self._fault}, only a coarse part of the picture is there")
        self._image = _opened(found.readable(self._file, notes=self._image.info.get("exif") is not None))
        _draft(self._image, side)
        self._image.load()
        if not found.progressive:
            share = jpeg.share_there(self._image, self.size[1], found.row_height)
            self._note_share(share if found.has_all_colours else min(share, 0.5))
        elif not found.has_all_bits:
            self._incomplete = f"{self._fault}, the finest details may be missing"

    def _rescue_png(self, error: Exception) -> None:
        whole, share, damaged = png.mended(self._file)
        if damaged:
            self._fault = _DAMAGED
        self._note_share(share)
        self._image = _opened(whole)
        self._image.load()
        if damaged and share == 1:
            self._incomplete = f"{self._fault}, its checksum is wrong"

    def _rescue_gif(self, error: Exception) -> None:
        if not ends_early(error):
            raise error
        self._note_share(gif.share_there(self._file))
        with _truncated_allowed():
            self._image = _opened(self._file)
            self._image.load()

    def _filled_up(self, error: Exception) -> Image.Image:
        """The file with zeros for what is missing at its end, as its header tells; else the error as it is."""
        share = share_of_file(self._file, self._head)
        if share is not None and share < 1:
            self._note_share(share, "the picture" if self._head.startswith(b"BM") else "it")
        if photo_format(self._head) is JPEG_XL:  # its library shows nothing of it, and speaks of how it was built
            raise PhotoError(self._incomplete or "a JPEG XL photograph that is damaged or ends early") from error
        if share is None or share == 1:
            raise error
        size = self._bytes
        missing = round(size / share) - size
        if self._fault == _DAMAGED and missing < unwritten.ZEROS:  # its own last zeros: others follow the file
            self._incomplete = None
        return _opened(Slices(self._file, [(0, size), bytes(missing)]))

    def _note_share(self, share: float, what: str = "the picture") -> None:
        """Say how much of the picture is there; PhotoError if that is too little."""
        said = f"{self._fault}, {percent(share)} of {what} is there"
        if share < LEAST_SHARE:
            raise PhotoError(said)
        self._incomplete = said if share < 1 else None


@contextmanager
def _truncated_allowed() -> Iterator[None]:
    """Has Pillow show what is there of a picture. For all threads: the others may take one for whole meanwhile."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def _opened(file: BinaryIO | Slices) -> Image.Image:
    file.seek(0)
    try:
        return Image.open(file, formats=pillow_formats())  # type: ignore[arg-type]  # reads, seeks and tells
    except UnidentifiedImageError:
        raise PhotoError("its header is damaged") from None


def _bytes_per_pixel(image: Image.Image) -> int:
    """The memory that decoding needs at most for a pixel of the file."""
    if image.format == "WEBP":
        return 17  # its library keeps several copies of the whole picture
    if image.format == "HEIF":
        return 9
    if image.format == "AVIF":
        return 10
    if image.format == "JPEG2000":
        return 26
    if image.format == "JXL":
        return jpeg_xl.BYTES_PER_PIXEL
    if image.format in ("JPEG", "MPO"):
        return 7 if image.info.get("progressive") else 1  # all coefficients, or a few rows at a time
    return 4 if image.mode in ("1", "L", "RGB", "CMYK") and not image.has_transparency_data else 9


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
    """The EXIF orientation; 1 (upright) where there is none or where the EXIF block is broken."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a photograph whose EXIF block is garbage is still a photograph
        return 1
    return orientation if isinstance(orientation, int) else 1


def rgb(image: Image.Image, factor: int, alpha: Image.Image | None = None) -> Image.Image:
    """An image of any mode, reduced by a whole factor, as sRGB; transparent parts over white.

    Args:
        alpha: of an image whose mode has none: L, of its size.
    """
    profile = image.info.get("icc_profile")
    white = 1.0  # of JPEG XL's floats
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    if image.mode == "I":
        white = white_of_16_bits(np.asarray(image).max())
    elif image.mode == "1":
        image = image.convert("L")
    elif image.has_transparency_data and image.mode not in ("RGBA", "LA"):
        image = image.convert("RGBA")
    elif image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB", "I", "F"):
        image = image.convert("RGB")
    if factor > 1:
        image = image.reduce(factor)
    if image.mode in ("I", "F"):
        grey = np.nan_to_num(np.asarray(image, np.float32)) * (255.0 / white)
        image = Image.fromarray(np.clip(grey, 0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    image = to_srgb(image, profile if isinstance(profile, bytes) else None)
    if alpha is not None:
        white_paper = Image.new("RGB", image.size, "white")
        white_paper.paste(image, mask=alpha)
        return white_paper
    return image
