"""TIFF photographs: the page that is the photograph, its samples as 8 bits, or a refusal that says what it is.

A TIFF may hold samples of any size and kind and seldom says what white is; `_levels` says what is taken for it.
"""

from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from decoding import unwritten
from decoding.errors import PhotoError
from decoding.ifd import Directory, Header
from decoding.reasons import LEAST_SHARE, percent
from decoding.slices import cut
from decoding.tiff_pages import (
    BLACK_IS_ZERO,
    CMYK,
    ICC_PROFILE,
    JPEG,
    LAB,
    NONE,
    OLD_JPEG,
    ORIENTATION,
    PALETTE,
    RGB,
    SIGNED,
    UNSIGNED,
    WHITE_IS_ZERO,
    YCBCR,
    Page,
    photograph_directory,
    read_page,
)
from decoding.tiff_samples import BYTEWISE, bands, memory, why_not, write_tiff
from decoding.whites import WHITES_OF_16

_WHITES_OF_SIGNED_16 = (1023, 4095, 16383, 32767)
_OLD_JPEG_START, _OLD_JPEG_LENGTH = 513, 514

# Tags that libtiff needs to decode a page by itself.
_COPIED = (256, 257, 258, 259, 262, 266, 277, 278, 284, 292, 293, 317, 320, 322, 323, 338, 339, 530, 531)
_COPIED_AS_BYTES = (347,)  # the tables of its JPEGs


class TiffPhotograph:
    """The photograph in a TIFF. Its header was read and found acceptable."""

    def __init__(self, file: BinaryIO, header: Header):
        """Raises PhotoError if it is of a kind that cannot be read."""
        size = file.seek(0, 2)
        written = unwritten.written(file, compressed=False)  # as far as this is known yet
        self.fault = "the file ends early"  # what to say if a part of the picture is missing
        if written < size:
            self.fault = "the file is damaged"
            file = cut(file, written)
        directory = photograph_directory(file, header)
        page = read_page(directory, file.seek(0, 2)) if directory is not None else None
        if directory is None or page is None:
            raise PhotoError("a TIFF whose pages cannot be found: it is damaged or ends early")
        self.directory: Directory = directory
        self.page: Page = page
        self.size = page.width, page.height
        self.icc_profile = directory.data(ICC_PROFILE)
        self.orientation = directory.integer(ORIENTATION, 1)
        self._file = file
        self.old_jpeg = page.compression == OLD_JPEG and directory.integer(_OLD_JPEG_START, 0) > 0
        if self.old_jpeg:
            return
        self._by_libtiff = _is_for_libtiff(page)
        if not self._by_libtiff and (reason := _why_not(page)):
            raise PhotoError(f"a TIFF of a kind that cannot be read ({reason})")
        self._cut_at_hole()

    def _cut_at_hole(self) -> None:
        """Take the compressed pixels for cut off where a part begins that was never written."""
        if self.page.compression == NONE:
            return
        chunks = [(start, start + size) for start, size in zip(self.page.chunks.offsets, self.page.chunks.sizes)]
        at = unwritten.first_hole(self._file, lambda: chunks)
        if at is not None:
            self.fault = "the file is damaged"
            self._file = cut(self._file, at)

    @property
    def memory(self) -> int:
        """Bytes that decoding takes at most, besides a reduced picture."""
        width, height = self.size
        if self._by_libtiff:
            return 5 * width * height + 2 * sum(self.page.chunks.sizes)
        return memory(self.page)

    @property
    def streams(self) -> bool:
        """Whether it is reduced band by band, so that its pixels need not be in memory."""
        return not self._by_libtiff

    def jpeg(self) -> BytesIO:
        """The JPEG file in a TIFF of the old kind."""
        self._file.seek(self.directory.integer(_OLD_JPEG_START, 0))
        return BytesIO(self._file.read(self.directory.integer(_OLD_JPEG_LENGTH, 0) or -1))

    def opened_by_pillow(self) -> Image.Image | None:
        """The page alone as Pillow opens it, if it is of a kind that libtiff decodes better than this module."""
        if not self._by_libtiff:
            return None
        try:
            return Image.open(self._rebuilt(), formats=("TIFF",))
        except UnidentifiedImageError:
            page = self.page
            kind = f"photometric interpretation {page.photometric}, compression {page.compression}"
            raise PhotoError(f"a TIFF of a kind that cannot be read ({kind})") from None

    def reduced(self, factor: int) -> tuple[Image.Image, Image.Image | None, float]:
        """The page, reduced by a whole factor.

        Returns:
            L, RGB or CMYK; its alpha, L, if it has one; how much of it was in the file, 0 to 1.
        """
        page = self.page
        colours = page.colours
        alpha = next((colours + i for i, kind in enumerate(page.extra) if kind in (1, 2)), None)
        kept = [*range(colours), *([] if alpha is None else [alpha])]
        values, lows, highs, share = _reduced(self._file, page, kept, factor, self.fault)
        low, high = _levels(page, values[:, :, :colours], min(lows[:colours]), max(highs[:colours]))
        eight = _eight_bit(values[:, :, :colours], low, high)
        if page.photometric == WHITE_IS_ZERO:
            eight = 255 - eight
        mode = {1: "L", 3: "RGB", 4: "CMYK"}[colours]
        image = Image.fromarray(eight[:, :, 0] if colours == 1 else eight, mode)
        if alpha is None:
            return image, None, share
        opaque = _levels(page, values[:, :, colours:], lows[colours], highs[colours], full=True)[1]
        mask = _eight_bit(values[:, :, colours], 0, opaque)
        if page.extra[alpha - colours] == 1 and mode != "CMYK":
            # Colours that are multiplied with the alpha already: take that back, as far as 8 bits allow.
            scale = 255 / np.maximum(mask.astype(np.float32), 1)
            eight = np.clip(np.atleast_3d(eight) * scale[:, :, None], 0, 255).round().astype(np.uint8)
            image = Image.fromarray(eight[:, :, 0] if colours == 1 else eight, mode)
        return image, Image.fromarray(mask, "L"), share

    def _rebuilt(self) -> BytesIO:
        """A file of nothing but this page."""
        page, directory = self.page, self.directory
        tags: dict[int, list[int] | bytes] = {}
        for tag in _COPIED:
            if values := directory.integers(tag):
                tags[tag] = list(values)
        for tag in _COPIED_AS_BYTES:
            if data := directory.data(tag):
                tags[tag] = data
        tags[258] = list(page.bits)
        tags[277] = [len(page.bits)]
        tags[262] = [page.photometric]
        strips = []
        for offset, size in zip(page.chunks.offsets, page.chunks.sizes):
            self._file.seek(offset)
            strips.append(self._file.read(size))
        return write_tiff(tags, strips, tiles=page.chunks.tiles)


def _is_for_libtiff(page: Page) -> bool:
    """Whether Pillow decodes a page right: samples of at most 8 bits, coded in ways of their own."""
    if page.sample_format != UNSIGNED or max(page.bits) > 8 or page.compression == OLD_JPEG:
        return False
    if page.photometric == YCBCR and page.compression == NONE:
        # Pillow takes each pixel to have its own colour.
        return page.directory.integers(530) == (1, 1)
    if page.photometric in (PALETTE, YCBCR, LAB) or page.compression not in BYTEWISE:
        return page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB)
    return False


def _why_not(page: Page) -> str | None:
    if page.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK):
        names = {PALETTE: "a palette", YCBCR: "YCbCr", LAB: "L*a*b*", 32844: "LogL", 32845: "LogLuv"}
        name = names.get(page.photometric, f"photometric interpretation {page.photometric}")
        return f"{name} with {page.bits[0]} bits a sample"
    if page.photometric == CMYK and page.ink_set != 1:
        return "inks that are not those of four-colour print"
    if len(page.bits) < page.colours:
        return f"{len(page.bits)} samples a pixel"
    if page.compression in (OLD_JPEG, JPEG):
        return f"JPEG with {page.bits[0]} bits a sample" if page.compression == JPEG else "JPEG of an old kind"
    return why_not(page)


def _reduced(
    file: BinaryIO, page: Page, kept: list[int], factor: int, fault: str
) -> tuple[np.ndarray, list[float], list[float], float]:
    """Some samples of a page, reduced; the least and the most of each before that; and the share that was there.

    Returns:
        (rows, columns, samples) float32, not yet scaled.
    """
    lows, highs = [np.inf] * len(kept), [-np.inf] * len(kept)
    reduced: list[np.ndarray] = []
    waiting: list[np.ndarray] = []  # rows, reduced across only, that are not enough yet to be reduced down
    rows_there = rows_seen = rows_waiting = 0
    for band, there in bands(file, page):
        if rows_there == rows_seen:
            rows_there += there
        rows_seen += len(band)
        if rows_there < min(rows_seen, LEAST_SHARE * page.height):
            raise PhotoError(f"{fault}, {percent(rows_there / page.height)} of the picture is there")
        values = band[:, :, kept].astype(np.float32)
        if band.dtype.kind == "f":
            np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
        for i in range(len(kept)):
            # From the whole numbers themselves: floats of 32 bits round large ones.
            seen = values[:there, :, i] if band.dtype.kind == "f" else band[:there, :, kept[i]]
            if seen.size:
                lows[i], highs[i] = min(lows[i], float(seen.min())), max(highs[i], float(seen.max()))
        waiting.append(_by_pillow(values, (factor, 1)))
        rows_waiting += len(values)
        if rows_waiting >= factor or rows_seen == page.height:
            rows = np.concatenate(waiting)
            even = len(rows) if rows_seen == page.height else len(rows) - len(rows) % factor
            reduced.append(_by_pillow(rows[:even], (1, factor)))
            waiting, rows_waiting = [rows[even:]], len(rows) - even
    if not np.isfinite(lows).all():
        lows, highs = [0.0] * len(kept), [1.0] * len(kept)
    return np.concatenate(reduced), lows, highs, rows_there / page.height


def _by_pillow(values: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
    """Rows reduced by whole factors, across and down."""
    if factors == (1, 1):
        return values
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(values[:, :, i]), "F").reduce(factors))
        for i in range(values.shape[2])
    ]
    return np.stack(planes, axis=2)


def _levels(page: Page, values: np.ndarray, low: float, high: float, *, full: bool = False) -> tuple[float, float]:
    """The values of black and of white.

    Args:
        values: float32 of any shape, reduced.
        low, high: the least and the most before that.
        full: as far as the numbers reach; they are no colours.
    """
    bits = page.bits[0]
    if page.sample_format not in (UNSIGNED, SIGNED):
        # 1, 255 or 65535, whichever most values keep to; what is beyond it is too bright, and clipped. Pictures of 1
        # may have lights of several times that.
        bright = float(np.percentile(values, 95)) if values.size else 0.0
        whites = ((1.0, 1.0 if full else 8.0), (255.0, 255.0), (65535.0, 65535.0))
        white = next((white for white, most in whites if bright <= most), high)
        return min(0.0, low if low < -white / 2 else 0.0), white
    if page.most is not None and not full and max(high, 1) <= page.most < 2**bits and page.most > 255:
        return 0.0, float(page.most)
    if page.sample_format == SIGNED and low < 0:
        return (low, high) if high > low else (low, low + 1)
    most = 2 ** (bits - 1) - 1 if page.sample_format == SIGNED else 2**bits - 1
    if bits <= 15:
        return 0.0, float(most)
    if full:
        return 0.0, float(next((white for white in (*WHITES_OF_16, most) if high <= white), most))
    if bits == 16:
        steps = _WHITES_OF_SIGNED_16 if page.sample_format == SIGNED else WHITES_OF_16
        return 0.0, float(next(step for step in steps if high <= step))
    # Beyond 16 bits: all there is, if much of it is used; 16 bits, if those are enough; else the largest value.
    if high > most / 2:
        return 0.0, float(most)
    return 0.0, 65535.0 if high <= 65535 else high


def _eight_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of the same shape: 0 where values are low, 255 where they are high."""
    return np.clip((values - low) * (255.0 / max(high - low, 1e-30)), 0, 255).round().astype(np.uint8)
