"""The size of a JPEG XL photograph, from its header: the package that decodes it does so at once when it opens one."""

from typing import BinaryIO

from decoding.errors import PhotoError

# Measured at 4000x4000 pixels: 10, with transparency 15.
BYTES_PER_PIXEL = 20

_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MOST_BOXES = 1000


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
    position = 0
    for _ in range(_MOST_BOXES):
        file.seek(position)
        box = file.read(16)
        length, name, start = int.from_bytes(box[:4], "big"), box[4:8], position + 8
        if length == 1:
            length, start = int.from_bytes(box[8:16], "big"), position + 16
        if name in (b"jxlc", b"jxlp"):
            file.seek(start + (4 if name == b"jxlp" else 0))
            return file.read(16)
        if length < 8 or len(box) < 8:
            break
        position += length
    return b""
