"""The samples of a TIFF's page as numbers, whatever their kind: bands of rows, so that memory stays bounded.

Pillow (libtiff) undoes the compression only: it is shown a small file with the page's strips or tiles in which every
byte is a grey pixel. It knows few kinds of samples, and takes some of the others for what they are not.
"""

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import numpy as np
from PIL import Image

from decoding.errors import PhotoError
from decoding.tiff_pages import FLOAT, NONE, SIGNED, UNSIGNED, Page

# Compressions that give back the bytes that went in: LZW, two of Deflate, PackBits, LZMA, Zstandard.
_OF_BYTES = (5, 8, 32946, 32773, 34925, 50000)
BYTEWISE = (NONE, *_OF_BYTES)

_BAND = 8 << 20  # bytes of samples that are looked at together
_FILL_ORDER = 266


def why_not(page: Page) -> str | None:
    """What about a page's samples cannot be read; None: they can."""
    bits = set(page.bits)
    if page.compression not in BYTEWISE:
        return f"compression {page.compression}"
    if len(bits) != 1:
        return "samples of several sizes"
    (size,) = bits
    if page.sample_format == FLOAT:
        readable = size in (16, 32, 64)
    elif page.sample_format == SIGNED:
        readable = size in (8, 16, 32)
    else:
        readable = page.sample_format == UNSIGNED and 1 <= size <= 32
    if not readable:
        kind = {UNSIGNED: "whole numbers", SIGNED: "signed numbers", FLOAT: "floats"}.get(page.sample_format, "samples")
        return f"{kind} of {size} bits" if kind != "samples" else "samples that are no real numbers"
    if page.predictor not in (1, 2, 3) or (page.predictor == 2 and size not in (8, 16, 32)):
        return f"predictor {page.predictor}"
    if page.predictor == 3 and page.sample_format != FLOAT:
        return "a predictor of floats"
    return None


def memory(page: Page) -> int:
    """Bytes that reading takes at most, besides what is made of the samples."""
    rows = page.chunks.height if page.compression != NONE or page.chunks.tiles else 1
    chunk = _row_bytes(page) * rows
    together = max(_BAND, chunk * (page.chunks.across if page.chunks.tiles else 1))
    # What Pillow reads, its strip and its picture, our copy; and the numbers made of a band.
    unpacked = 32 if page.bits[0] not in (8, 16, 32, 64) else 4
    return (1 if page.compression == NONE else 5) * together + unpacked * max(_BAND, _row_bytes(page))


def bands(file: BinaryIO, page: Page) -> Iterator[tuple[np.ndarray, int]]:
    """The rows of a page from the top, some at a time.

    Yields:
        (rows, width, samples) of whole numbers or floats, not yet scaled; and how many rows of them were in the file
        (others are zero).

    Raises:
        PhotoError: the compressed bytes are damaged.
    """
    samples = len(page.bits)
    planes = samples if page.planar else 1
    chunks = page.chunks
    file_size = file.seek(0, 2)
    if page.compression == NONE and not chunks.tiles:
        yield from _plain_bands(file, page, file_size)
        return
    row = _row_bytes(page) * chunks.across * planes
    together = max(1, _BAND // (row * chunks.height))
    for first in range(0, chunks.down, together):
        last = min(first + together, chunks.down)
        height = min(last * chunks.height, page.height) - first * chunks.height
        parts, there = [], height
        for plane in range(planes):
            start = (plane * chunks.down + first) * chunks.across
            numbers = range(start, start + (last - first) * chunks.across)
            data, whole = _chunk_bytes(file, page, numbers, height, file_size)
            there = min(there, whole * chunks.height)
            rows = _numbers(page, data, chunks.width, 1 if page.planar else samples)
            if chunks.tiles:
                # (tiles, rows, width, samples) side by side
                tiled = rows.reshape(last - first, chunks.across, chunks.height, chunks.width, -1)
                rows = tiled.swapaxes(1, 2).reshape(-1, chunks.across * chunks.width, tiled.shape[-1])
            parts.append(rows[:height, : page.width])
        yield parts[0] if planes == 1 else np.concatenate(parts, axis=2), min(there, height)


def _row_bytes(page: Page) -> int:
    """Bytes of a chunk's row."""
    return -(-page.chunks.width * page.bits[0] * (1 if page.planar else len(page.bits)) // 8)


def _plain_bands(file: BinaryIO, page: Page, file_size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows of strips that are not compressed: read where they are, however long the strips."""
    samples = len(page.bits)
    planes = samples if page.planar else 1
    chunks, row = page.chunks, _row_bytes(page)
    together = max(1, _BAND // (row * planes))
    for top in range(0, page.height, together):
        bottom = min(top + together, page.height)
        parts, there = [], bottom - top
        for plane in range(planes):
            data = bytearray()
            y = top
            while y < bottom:
                strip, inside = divmod(y, chunks.height)
                count = min(chunks.height - inside, bottom - y)
                number = plane * chunks.down + strip
                piece = b""
                if number < len(chunks.offsets):
                    start = min(chunks.offsets[number] + inside * row, file_size)
                    file.seek(start)
                    piece = file.read(count * row)
                if len(piece) < count * row:
                    there = min(there, y - top + len(piece) // row)
                    piece = piece.ljust(count * row, b"\0")
                data += piece
                y += count
            array = np.frombuffer(data, np.uint8)
            if page.directory.integer(_FILL_ORDER, 1) == 2:
                array = np.packbits(np.unpackbits(array, bitorder="little"))
            parts.append(_numbers(page, array.reshape(bottom - top, row), chunks.width, samples // planes))
        yield parts[0] if planes == 1 else np.concatenate(parts, axis=2), there


def _chunk_bytes(file: BinaryIO, page: Page, numbers: range, height: int, file_size: int) -> tuple[np.ndarray, int]:
    """Some strips or tiles one below the other, (rows, bytes) uint8, and how many rows of chunks of them are there."""
    chunks, row = page.chunks, _row_bytes(page)
    rows = len(numbers) * chunks.height if chunks.tiles else height
    pieces = []
    for number in numbers:
        offset, size = (chunks.offsets[number], chunks.sizes[number]) if number < len(chunks.offsets) else (0, 0)
        if not size or offset + size > file_size:
            break
        file.seek(offset)
        pieces.append(file.read(size))
    there = len(pieces) // chunks.across
    rows_there = len(pieces) * chunks.height if len(pieces) < len(numbers) or chunks.tiles else rows
    rows_there = min(rows_there, rows)
    data = np.zeros((rows, row), np.uint8)
    if page.compression == NONE:
        joined = b"".join(piece[: row * chunks.height].ljust(row * chunks.height, b"\0") for piece in pieces)
        array = np.frombuffer(joined, np.uint8)
        if page.directory.integer(_FILL_ORDER, 1) == 2:
            array = np.packbits(np.unpackbits(array, bitorder="little"))
        data[:rows_there] = array.reshape(-1, row)[:rows_there]
    elif pieces:
        data[:rows_there] = _decompressed(page, pieces, rows_there)
    return data, there if len(pieces) < len(numbers) else -(-len(pieces) // chunks.across)


def _decompressed(page: Page, pieces: list[bytes], rows: int) -> np.ndarray:
    """(rows, bytes of a row) uint8 of compressed chunks, one below the other."""
    table: dict[int, list[int] | bytes] = {
        256: [_row_bytes(page)],
        257: [rows],
        258: [8],
        259: [page.compression],
        262: [1],
        266: [page.directory.integer(_FILL_ORDER, 1)],
        277: [1],
        278: [page.chunks.height],
    }
    try:
        with Image.open(write_tiff(table, pieces), formats=("TIFF",)) as image:
            return np.asarray(image)
    except OSError as error:
        raise PhotoError(f"its compressed pixels are damaged ({error})") from error


def write_tiff(tags: dict[int, list[int] | bytes], strips: list[bytes], *, tiles: bool = False) -> BytesIO:
    """A little TIFF in memory: some tags, numbers or bytes as they are, and its strips or tiles."""
    file = BytesIO()
    file.write(b"II*\0\0\0\0\0")
    offsets = []
    for strip in strips:
        offsets.append(file.tell())
        file.write(strip)
    offset_tag, count_tag = (324, 325) if tiles else (273, 279)
    entries = {**tags, offset_tag: offsets, count_tag: [len(strip) for strip in strips]}
    table = []
    for tag, value in sorted(entries.items()):
        if isinstance(value, bytes):
            kind, count, data = 7, len(value), value
        else:
            # Words of 16 bits where they are enough: libtiff wants colour maps so.
            kind, letter = (3, "H") if max(value) < 1 << 16 and tag not in (offset_tag, count_tag) else (4, "I")
            count, data = len(value), struct.pack(f"<{len(value)}{letter}", *value)
        if len(data) > 4:
            where = file.tell()
            file.write(data)
            data = struct.pack("<I", where)
        table.append(struct.pack("<HHI", tag, kind, count) + data.ljust(4, b"\0"))
    directory = file.tell()
    file.write(struct.pack("<H", len(table)) + b"".join(table) + b"\0\0\0\0")
    file.seek(4)
    file.write(struct.pack("<I", directory))
    file.seek(0)
    return file


def _numbers(page: Page, data: np.ndarray, width: int, samples: int) -> np.ndarray:
    """Rows of bytes as (rows, width, samples) numbers, the predictor undone."""
    order, size = page.directory.byte_order, page.bits[0]
    rows = len(data)
    if page.sample_format == FLOAT and page.predictor == 3:
        # Bytes of differences, those of the highest value of all samples first (Adobe's TIFF Technical Note 3).
        data = np.cumsum(data.reshape(rows, -1, samples), axis=1, dtype=np.uint8).reshape(rows, size // 8, -1)
        data = np.ascontiguousarray(data.swapaxes(1, 2))
        return data.view(f">f{size // 8}").reshape(rows, width, samples)
    if size in (8, 16, 32, 64):
        letter = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}[page.sample_format]
        if page.predictor == 2:
            unsigned = data.view(f"{order}u{size // 8}").reshape(rows, width, samples)
            summed = np.cumsum(unsigned, axis=1, dtype=f"u{size // 8}")
            return summed.view(f"{letter}{size // 8}")
        return data.view(f"{order}{letter}{size // 8}").reshape(rows, width, samples)
    bits = np.unpackbits(data, axis=1)[:, : width * samples * size].reshape(rows, width, samples, size)
    return bits @ (1 << np.arange(size - 1, -1, -1, dtype=np.uint32))
