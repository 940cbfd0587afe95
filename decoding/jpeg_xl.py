"""What the package that decodes JPEG XL does not tell: the size before it decodes, and the XMP packet."""

from collections.abc import Iterator
from typing import BinaryIO

from decoding.errors import PhotoError

# Measured at 4000x4000 pixels: 10, with transparency 15.
BYTES_PER_PIXEL = 20

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MOST_BOXES = 1000
_MOST_XMP = 4 << 20


def size(file: BinaryIO) -> tuple[int, int]:
    """Width and height in pixels as stored. Raises PhotoError if the header is damaged. (ISO/IEC 18181-1, D.3)"""
    head = _codestream(file)
    if head[:2] != b"\xff\x0a" or len(head) < 8:
        raise PhotoError("a JPEG XL photograph whose header is damaged")
    bits = _Bits(head[2:])
    small = bits.take(1)
    height = 8 * (bits.take(5) + 1) if small else bits.number()
    ratio = bits.take(3)
    if ratio:
        across, down = _RATIOS[ratio - 1]
        return height * across // down, height
    return 8 * (bits.take(5) + 1) if small else bits.number(), height


class _Bits:
    def __init__(self, data: bytes):
        self._bits = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def number(self) -> int:
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])


def _codestream(file: BinaryIO) -> bytes:
    """The first bytes of the codestream, which may lie in a box of a container."""
    file.seek(0)
    head = file.read(16)
    if head.startswith(b"\xff\x0a"):
        return head
    for name, start, _ in _boxes(file):
        if name in (b"jxlc", b"jxlp"):
            file.seek(start + (4 if name == b"jxlp" else 0))
            return file.read(16)
    return b""


def xmp(file: BinaryIO) -> bytes:
    """The XMP packet of a file, which the package leaves out; b"": none, a compressed one, or one that is too long."""
    for name, start, end in _boxes(file):
        if name == b"xml ":
            file.seek(start)
            return file.read(end - start) if end - start <= _MOST_XMP else b""
    return b""


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of a container: name, where what is in it begins and ends."""
    size = file.seek(0, 2)
    position = 0
    for _ in range(_MOST_BOXES):
        file.seek(position)
        box = file.read(16)
        length, name, start = int.from_bytes(box[:4], "big"), box[4:8], position + 8
        if length == 1:
            length, start = int.from_bytes(box[8:16], "big"), position + 16
        if len(box) < 8:
            return
        yield name, start, max(start, position + length) if length else size
        if length < 8:  # it goes on to the end, or is none
            return
        position += length
