"""How much of a GIF's first picture is in a file that ends early, by its codes (GIF89a specification, appendix F)."""

from typing import BinaryIO

_MOST_BITS = 12
# Of longer pictures the rest is taken to be as dense: 10 s on a busy computer.
_MOST_BYTES = 16 << 20


def share_there(file: BinaryIO) -> float:
    """The share of the first picture's pixels that have codes, 0 to 1."""
    file.seek(0)
    data = file.read()
    position = 13 + _colours(data[10:11])
    while data[position : position + 1] == b"!":  # an extension: its name and blocks
        position = _blocks(data, position + 2)[1]
    width, height = (int.from_bytes(data[position + at : position + at + 2], "little") for at in (5, 7))
    if data[position : position + 1] != b"," or not width * height:
        return 0.0
    position += 10 + _colours(data[position + 9 : position + 10])
    codes = _blocks(data, position + 1)[0]
    pixels = _pixels(codes[:_MOST_BYTES], data[position] if position < len(data) else 8, width * height)
    return min(1.0, pixels * max(1.0, len(codes) / _MOST_BYTES) / (width * height))


def _colours(flags: bytes) -> int:
    """How long the table of colours is that follows."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _blocks(data: bytes, position: int) -> tuple[bytes, int]:
    """What a row of blocks holds, and where it ends."""
    parts = []
    while position < len(data) and (length := data[position]):
        parts.append(data[position + 1 : position + 1 + length])
        position += 1 + length
    return b"".join(parts), position + 1


def _pixels(codes: bytes, bits: int, most: int) -> int:
    """How many pixels some codes stand for, at most `most`."""
    clear, end = 1 << bits, (1 << bits) + 1
    lengths, width, count = [1] * (clear + 2), bits + 1, 0
    before: int | None = None
    held = held_bits = 0
    for byte in codes:
        held |= byte << held_bits
        held_bits += 8
        while held_bits >= width:
            code = held & ((1 << width) - 1)
            held >>= width
            held_bits -= width
            if code == clear:
                del lengths[clear + 2 :]
                width, before = bits + 1, None
                continue
            if code == end or count >= most or code > len(lengths) or (code == len(lengths) and before is None):
                return min(count, most)
            if before is not None and len(lengths) < 1 << _MOST_BITS:
                lengths.append(lengths[before] + 1)
            count += lengths[code]
            before = code
            if len(lengths) == 1 << width and width < _MOST_BITS:
                width += 1
    return min(count, most)
