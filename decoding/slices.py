"""A file made of parts of another and of bytes of its own, without copying: what is wrong with a file is left out."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO, cast

Part = bytes | tuple[int, int]  # bytes of its own, or (start, stop) in the other file


class Slices(io.RawIOBase):
    """Read-only; several of them may share a file, if they are read in turn."""

    def __init__(self, file: BinaryIO, parts: Sequence[Part]):
        self._file = file
        self._parts = [part for part in parts if _length(part) > 0]
        self._starts = [0]
        for part in self._parts:
            self._starts.append(self._starts[-1] + _length(part))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        stop = self._starts[-1] if size is None or size < 0 else min(self._position + size, self._starts[-1])
        pieces = []
        while self._position < stop:
            number = bisect_right(self._starts, self._position) - 1
            part, inside = self._parts[number], self._position - self._starts[number]
            count = min(stop, self._starts[number + 1]) - self._position
            if isinstance(part, bytes):
                piece = part[inside : inside + count]
            else:
                self._file.seek(part[0] + inside)
                piece = self._file.read(count)
            if not piece:
                break  # the other file became shorter
            pieces.append(piece)
            self._position += len(piece)
        return b"".join(pieces)


def cut(file: BinaryIO, stop: int) -> BinaryIO:
    """The beginning of a file as a file."""
    return cast(BinaryIO, Slices(file, [(0, stop)]))  # reads, seeks and tells


def _length(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part[1] - part[0]
