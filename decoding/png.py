"""PNG files without what no photograph needs, and those that end early or are damaged.

Text of any length, profiles that unfold to gigabytes, notes with a wrong checksum: Pillow refuses the picture for them,
viewers show it.
"""

import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from PIL import PngImagePlugin

from decoding.errors import PhotoError
from decoding.slices import Part, Slices

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"\0\0\0\0IEND\xaeB`\x82"

# Of one note (profile, XMP, EXIF), unfolded. Profiles of printing presses have a few megabytes.
_MOST_NOTE = 16 << 20
PngImagePlugin.MAX_TEXT_CHUNK = _MOST_NOTE

# Chunks that the pixels cannot do without, and those of an animation.
_PICTURE = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT"}
_NOTES = {b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
# Of texts only those that hold EXIF, IPTC or XMP.
_KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type xmp")

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_LAST_FILTER = 4
_PIECE = 1 << 11  # bytes
_BLOCK = 1 << 18


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # of its length field
    length: int  # of its data


def readable(file: BinaryIO) -> Slices:
    """The file as Pillow is to read it."""
    parts: list[Part] = [(0, len(_SIGNATURE))]
    kept: set[bytes] = set()
    for chunk in _chunks(file):
        end = chunk.start + chunk.length + 12
        if chunk.name in _PICTURE:
            parts.append((chunk.start, end))
        elif chunk.name in _NOTES and (key := _sound_note(file, chunk)) and key not in kept:
            parts.append((chunk.start, end))
            kept.add(key)
    return Slices(file, parts)


def pixels(file: BinaryIO) -> list[tuple[int, int]]:
    """Where in the file the parts of the pixels begin and end."""
    chunks = [chunk for chunk in _chunks(file) if chunk.name == b"IDAT"]
    return [(chunk.start + 8, chunk.start + 8 + chunk.length) for chunk in chunks]


def checksums_hold(file: BinaryIO) -> bool:
    """Whether the pixels are those that were written; Pillow does not ask."""
    for chunk in _chunks(file):
        if chunk.name == b"IDAT":
            data = _data(file, chunk)
            if zlib.crc32(data, zlib.crc32(chunk.name)) != int.from_bytes(file.read(4), "big"):
                return False
    return True


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    size = file.seek(0, 2)
    position = len(_SIGNATURE)
    while position + 8 <= size:
        file.seek(position)
        head = file.read(8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if length >= 1 << 31 or not name.isalpha():
            return
        yield _Chunk(name, position, min(length, size - position - 8))
        if name == b"IEND":
            return
        position += length + 12


def _sound_note(file: BinaryIO, chunk: _Chunk) -> bytes | None:
    """What a note is about, if Pillow can make something of it in little memory. One about each thing is enough."""
    if chunk.length > _MOST_NOTE:
        return None
    file.seek(chunk.start + 8)
    data = file.read(chunk.length)
    checksum = file.read(4)
    if len(checksum) != 4 or zlib.crc32(chunk.name + data) != int.from_bytes(checksum, "big"):
        return None
    if chunk.name == b"eXIf":
        return chunk.name
    keyword, _, rest = data.partition(b"\0")
    if chunk.name == b"iCCP":
        return chunk.name if rest[:1] == b"\0" and _unfolds(rest[1:]) else None
    if keyword not in _KEYWORDS:
        return None
    if chunk.name == b"zTXt":
        sound = rest[:1] == b"\0" and _unfolds(rest[1:])
    elif chunk.name == b"iTXt":
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind the language and the translated keyword
        sound = rest[:1] == b"\0" or (rest[:2] == b"\1\0" and _unfolds(text))
    else:
        sound = True
    return keyword if sound else None


def _unfolds(data: bytes) -> bool:
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(data, _MOST_NOTE)
    except zlib.error:
        return False
    return decompressor.eof


def mended(file: BinaryIO) -> tuple[BytesIO, float, bool]:
    """A sound PNG of what can be read of a damaged one, the rest black or transparent.

    Returns:
        The file; how much of the picture it has, 0 to 1; whether what it has may be damaged too.

    Raises:
        PhotoError: it is no picture, or nothing of it can be read.
    """
    chunks = list(_chunks(file))
    headers = [chunk for chunk in chunks if chunk.name == b"IHDR" and chunk.length == 13]
    if not headers:
        raise PhotoError("the file ends before the picture begins")
    header = _data(file, headers[0])
    size, rows = _unfolded_size(header)
    # Without zlib's frame, whose checksum at the end need not be right, and in small pieces: where one is damaged, what
    # it holds is lost as a whole.
    compressor, decompressor = zlib.compressobj(1), zlib.decompressobj(wbits=-15)
    pixels, done, damaged, frame = BytesIO(), 0, False, 2
    checksum, checksum_read = zlib.adler32(b""), b""
    for chunk in chunks:
        if chunk.name != b"IDAT":
            continue
        for start in range(0, chunk.length, _PIECE):
            file.seek(chunk.start + 8 + start)
            data = file.read(min(_PIECE, chunk.length - start))
            data, frame = data[frame:], max(0, frame - len(data))
            if decompressor.eof:
                checksum_read += data[:4]
            while data and done < size and not damaged:
                try:
                    unfolded = decompressor.decompress(data, min(size - done, _BLOCK))
                except zlib.error:
                    damaged = True
                    break
                data = decompressor.unconsumed_tail
                if not unfolded and not data:
                    break
                for row in rows[bisect_left(rows, done) : bisect_left(rows, done + len(unfolded))]:
                    if unfolded[row - done] > _LAST_FILTER:
                        unfolded, damaged = unfolded[: row - done], True
                        break
                done += len(unfolded)
                checksum = zlib.adler32(unfolded, checksum)
                pixels.write(compressor.compress(unfolded))
    share = done / size
    checksum_read = (decompressor.unused_data + checksum_read)[:4]
    damaged |= len(checksum_read) == 4 and int.from_bytes(checksum_read, "big") != checksum
    zeros = bytes(_BLOCK)
    while done < size:
        pixels.write(compressor.compress(zeros[: size - done]))
        done += min(_BLOCK, size - done)
    pixels.write(compressor.flush())

    whole = BytesIO()
    whole.write(_SIGNATURE)
    _write(whole, b"IHDR", header)
    for chunk in chunks:
        if chunk.name in (b"PLTE", b"tRNS") or (chunk.name in _NOTES and _sound_note(file, chunk)):
            _write(whole, chunk.name, _data(file, chunk))
    _write(whole, b"IDAT", pixels.getbuffer())
    whole.write(_END)
    whole.seek(0)
    return whole, share, damaged


def _unfolded_size(header: bytes) -> tuple[int, list[int]]:
    """Bytes of a picture's rows, and where each begins, with the byte that names its filter.

    Raises PhotoError for no picture.
    """
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits, colour, interlaced = header[8], header[9], header[12]
    if colour not in _CHANNELS or not width or not height:
        raise PhotoError("the header of the PNG is damaged")
    # Adam7: the first column and row of each pass, and the steps between them.
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    size, starts = 0, list[int]()
    for x, y, dx, dy in passes if interlaced else [(0, 0, 1, 1)]:
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        if columns > 0:
            row = 1 + -(-columns * bits * _CHANNELS[colour] // 8)
            starts += range(size, size + rows * row, row)
            size += max(0, rows) * row
    return size, starts


def _data(file: BinaryIO, chunk: _Chunk) -> bytes:
    file.seek(chunk.start + 8)
    return file.read(chunk.length)


def _write(file: BytesIO, name: bytes, data: bytes | memoryview) -> None:
    file.write(len(data).to_bytes(4, "big") + name)
    file.write(data)
    file.write(zlib.crc32(data, zlib.crc32(name)).to_bytes(4, "big"))
