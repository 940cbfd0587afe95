"""Directories of tags, as TIFF files and EXIF blocks have them: read tolerantly, values only when they are asked for.

Pillow reads every value of a directory at once, a gigabyte of Photoshop's layers too, and gives up where one entry is
broken.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

MOST_BYTES = 16 << 20  # of one value; lists of strips need the most
_MOST_ENTRIES = 4096  # of a directory
_MOST_DIRECTORIES = 1000  # of a chain

# Of each type of value: the letter that `struct` knows it by.
_LETTERS = {
    1: "B", 2: "c", 3: "H", 4: "I", 5: "II", 6: "b", 7: "c", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
_BYTES = (2, 7)
_RATIONALS = (5, 10)

Value = int | float | Fraction | None


class _Entry(NamedTuple):
    kind: int
    number: int  # of values
    field: bytes  # the value itself, if it fits, or where it is


class Header(NamedTuple):
    """What the first bytes of a file or block of directories say."""

    order: str  # "<" or ">", as `struct` writes it
    big: bool  # BigTIFF: offsets of 8 bytes
    first: int  # offset of the first directory


class Directory:
    """One directory: which tags it has and where their values are."""

    def __init__(self, file: BinaryIO, header: Header, offset: int):
        """Read the entries at an offset, as far as they are there; a directory out of reach has none."""
        self._file = file
        self._header = header
        self.offset = offset
        self._entries: dict[int, _Entry] = {}
        self.next = 0  # offset of the next directory; 0: none
        count_size, entry_size, offset_size = (8, 20, 8) if header.big else (2, 12, 4)
        count = min(self._unsigned(self._read(offset, count_size)), _MOST_ENTRIES)
        table = self._read(offset + count_size, count * entry_size + offset_size)
        for at in range(0, min(count * entry_size, len(table) - entry_size + 1), entry_size):
            tag, kind = struct.unpack_from(header.order + "HH", table, at)
            number, field = table[at + 4 : at + 4 + offset_size], table[at + 4 + offset_size : at + entry_size]
            self._entries.setdefault(tag, _Entry(kind, self._unsigned(number), field))
        if len(table) == count * entry_size + offset_size:
            self.next = self._unsigned(table[-offset_size:])

    @property
    def byte_order(self) -> str:
        """Of the file, as `struct` and numpy write it: "<" or ">"."""
        return self._header.order

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def values(self, tag: int) -> tuple[Value, ...]:
        """The numbers of a tag; () where there is no such tag or it cannot be read. Fractions by zero are None."""
        entry = self._entries.get(tag)
        if entry is None or entry.kind not in _LETTERS or entry.kind in _BYTES:
            return ()
        data = self.data(tag)
        letters = _LETTERS[entry.kind]
        size = struct.calcsize("=" + letters)
        count = len(data) // size
        numbers = struct.unpack_from(f"{self._header.order}{count * len(letters)}{letters[0]}", data)
        if entry.kind in _RATIONALS:
            return tuple(Fraction(top, below) if below else None for top, below in zip(numbers[::2], numbers[1::2]))
        return numbers

    def integers(self, tag: int) -> tuple[int, ...]:
        """The same where all are whole numbers, else ()."""
        values = self.values(tag)
        return (
            tuple(value for value in values if isinstance(value, int))
            if all(isinstance(value, int) for value in values)
            else ()
        )

    def integer(self, tag: int, default: int) -> int:
        """The first number of a tag."""
        return next(iter(self.integers(tag)), default)

    def data(self, tag: int) -> bytes:
        """The bytes of a tag's value; b"" where there is none, where they lie outside the file or are too many."""
        entry = self._entries.get(tag)
        if entry is None or entry.kind not in _LETTERS:
            return b""
        size = entry.number * struct.calcsize("=" + _LETTERS[entry.kind])
        if size <= len(entry.field):
            return entry.field[:size]
        if size > MOST_BYTES:
            return b""
        data = self._read(self._unsigned(entry.field), size)
        return data if len(data) == size else b""

    def text(self, tag: int) -> str:
        """A tag's text, without the zeros and spaces around it; "" where there is none."""
        return self.data(tag).split(b"\0")[0].decode("utf-8", "replace").strip()

    def child(self, tag: int) -> "Directory | None":
        """The directory that a tag points to."""
        return next(iter(self.children(tag)), None)

    def children(self, tag: int) -> list["Directory"]:
        """The directories that a tag points to."""
        return [Directory(self._file, self._header, at) for at in self.integers(tag)[:_MOST_DIRECTORIES] if at > 0]

    def _read(self, offset: int, size: int) -> bytes:
        try:
            self._file.seek(offset)
        except (OverflowError, ValueError):  # an offset that no file has
            return b""
        return self._file.read(size)

    def _unsigned(self, number: bytes) -> int:
        return int.from_bytes(number, "little" if self._header.order == "<" else "big")


def read_header(file: BinaryIO) -> Header | None:
    """The header at the beginning of a file; None: it is none."""
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return None
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 42:
        return Header(order, False, struct.unpack_from(order + "I", head, 4)[0])
    if version == 43 and len(head) == 16:
        return Header(order, True, struct.unpack_from(order + "Q", head, 8)[0])
    return None


def directories(file: BinaryIO, header: Header) -> Iterator[Directory]:
    """The chain of directories of a file, each once."""
    offset, seen = header.first, set[int]()
    while offset and offset not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(offset)
        directory = Directory(file, header, offset)
        yield directory
        offset = directory.next
