"""The pages of a TIFF: how each keeps its pixels, and which one is the photograph."""

from dataclasses import dataclass
from typing import BinaryIO

from decoding.ifd import Directory, Header, directories

ORIENTATION = 274
ICC_PROFILE = 34675

_NEW_SUBFILE_TYPE, _SUBFILE_TYPE = 254, 255
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 317, 322, 323, 324, 325
_SUB_IFDS, _INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _MOST_VALUE = 330, 332, 338, 339, 281
_DNG_VERSION = 50706

# Photometric interpretations.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
_OF_A_SENSOR = (32803, 34892)  # colour filter array, LinearRaw
_COLOURS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3, LAB: 3}

# Compressions.
NONE, OLD_JPEG, JPEG = 1, 6, 7

UNSIGNED, SIGNED, FLOAT = 1, 2, 3

_MOST_SAMPLES = 64
_MOST_SUB_IFDS = 32


@dataclass(frozen=True)
class Chunks:
    """The strips or tiles that a page is cut into, row by row of them; with separate planes, plane by plane."""

    width: int  # pixels
    height: int
    across: int  # how many stand side by side
    down: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]  # bytes in the file
    tiles: bool


@dataclass(frozen=True)
class Page:
    """How a page keeps its pixels."""

    directory: Directory
    width: int  # as stored
    height: int
    photometric: int
    compression: int
    bits: tuple[int, ...]  # of each sample of a pixel
    sample_format: int  # UNSIGNED, SIGNED, FLOAT, or another that cannot be read
    extra: tuple[int, ...]  # what the samples beyond the colours are: 1 alpha that is multiplied in, 2 alpha
    planar: bool  # each sample has chunks of its own
    predictor: int
    ink_set: int
    most: int | None  # the value that the file says is the largest
    chunks: Chunks

    @property
    def colours(self) -> int:
        """Samples of a pixel that are colours."""
        return _COLOURS.get(self.photometric, len(self.bits))


def is_raw(file: BinaryIO, header: Header) -> bool:
    """Whether a file is a camera's raw photograph in the guise of a TIFF: DNG, NEF, ARW, PEF and others."""
    for number, directory in enumerate(directories(file, header)):
        if number == 0 and _DNG_VERSION in directory:
            return True
        for each in (directory, *directory.children(_SUB_IFDS)[:_MOST_SUB_IFDS]):
            if each.integer(_PHOTOMETRIC, -1) in _OF_A_SENSOR:
                return True
        if number == 8:
            break
    return False


def photograph_directory(file: BinaryIO, header: Header) -> Directory | None:
    """The directory of the largest page that is no reduced picture of another; None: there is no page at all.

    Of pages of one size the first. Programs put a thumbnail first, or behind, or in a directory of its own.
    """
    best: tuple[bool, int] | None = None
    chosen = None
    for directory in directories(file, header):
        for each in (directory, *directory.children(_SUB_IFDS)[:_MOST_SUB_IFDS]):
            pixels = each.integer(_WIDTH, 0) * each.integer(_LENGTH, 0)
            kind = each.integer(_NEW_SUBFILE_TYPE, 0)
            if pixels <= 0 or kind & 4:  # a mask of transparency
                continue
            whole = not kind & 1 and each.integer(_SUBFILE_TYPE, 1) != 2
            if best is None or (whole, pixels) > best:
                best, chosen = (whole, pixels), each
    return chosen


def read_page(directory: Directory, file_size: int) -> Page | None:
    """A directory as a page; None where it lacks what is needed to find the pixels."""
    width, height = directory.integer(_WIDTH, 0), directory.integer(_LENGTH, 0)
    bits = directory.integers(_BITS) or (1,)
    photometric = directory.integer(_PHOTOMETRIC, WHITE_IS_ZERO)
    samples = directory.integer(_SAMPLES, len(bits))
    if width <= 0 or height <= 0 or not 0 < samples <= _MOST_SAMPLES:
        return None
    bits = bits * samples if len(bits) == 1 else bits[:samples]
    formats = directory.integers(_SAMPLE_FORMAT)[:samples] or (UNSIGNED,)
    planar = directory.integer(_PLANAR, 1) == 2 and samples > 1
    chunks = _chunks(directory, width, height, sum(bits), samples if planar else 1, file_size)
    if chunks is None or len(bits) != samples:
        return None
    extra = directory.integers(_EXTRA_SAMPLES)
    beyond = max(0, samples - _COLOURS.get(photometric, samples))
    if beyond > len(extra):
        # What is not named is no alpha, except where an old program left the tag out of RGBA.
        extra = (*extra, *((2,) if photometric == RGB and beyond == 1 else (0,) * (beyond - len(extra))))
    return Page(
        directory=directory,
        width=width,
        height=height,
        photometric=photometric,
        compression=directory.integer(_COMPRESSION, NONE),
        bits=bits,
        sample_format=formats[0] if len(set(formats)) == 1 else -1,
        extra=extra[:beyond],
        planar=planar,
        predictor=directory.integer(_PREDICTOR, 1),
        ink_set=directory.integer(_INK_SET, 1),
        most=max(directory.integers(_MOST_VALUE), default=None),
        chunks=chunks,
    )


def _chunks(directory: Directory, width: int, height: int, bits: int, planes: int, file_size: int) -> Chunks | None:
    tiles = _TILE_OFFSETS in directory or _TILE_WIDTH in directory
    if tiles:
        chunk_width, chunk_height = directory.integer(_TILE_WIDTH, 0), directory.integer(_TILE_LENGTH, 0)
        # Some programs write tiles under the names of strips.
        offsets = directory.integers(_TILE_OFFSETS) or directory.integers(_STRIP_OFFSETS)
        sizes = directory.integers(_TILE_COUNTS) or directory.integers(_STRIP_COUNTS)
    else:
        chunk_width, chunk_height = width, directory.integer(_ROWS_PER_STRIP, height) or height
        offsets, sizes = directory.integers(_STRIP_OFFSETS), directory.integers(_STRIP_COUNTS)
        chunk_height = min(chunk_height, height)
    if chunk_width <= 0 or chunk_height <= 0 or not offsets:
        return None
    across, down = -(-width // chunk_width), -(-height // chunk_height)
    if not any(sizes):
        # Left out or all zero: as long as the pixels are, or as far as the file goes.
        whole = -(-chunk_width * bits // (8 * planes)) * chunk_height
        sizes = tuple(max(0, min(whole, file_size - offset)) for offset in offsets)
    count = min(len(offsets), len(sizes), across * down * planes)
    return Chunks(chunk_width, chunk_height, across, down, offsets[:count], sizes[:count], tiles)
