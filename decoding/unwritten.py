"""Parts of a file that were never written, though it has its length: copies that failed leave zeros there.

Zeros are what decoders make something of without a word: of half a JPEG a whole picture, its lower half flat.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np

# So many zeros do not follow each other at the end of compressed data.
ZEROS = 64
# What is not compressed may well be black at its end. Copies stop where a page of memory or a cluster of a disk does.
_PAGE = 4096
# The same of zeros in the middle, where a picture of one colour may have many: sectors of a disk.
_SECTOR = 512
# The last bytes that were written may have been zeros too.
_CHANCE = 2
_BLOCK = 1 << 20


def written(file: BinaryIO, *, compressed: bool = True) -> int:
    """How many bytes of a file were written, as far as zeros at its end tell.

    compressed: whether its pixels are.
    """
    size = file.seek(0, 2)
    position = size
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        kept = len(file.read(position - start).rstrip(b"\0"))
        position = start + kept
        if kept:
            break
    zeros = size - position
    if compressed:
        return position if zeros >= ZEROS else size
    return position if zeros >= _PAGE and -position % _PAGE <= _CHANCE else size


def first_hole(file: BinaryIO, parts: Callable[[], Iterable[tuple[int, int]]]) -> int | None:
    """Where whole sectors of zeros begin in some parts of a file, which hold compressed data; None: nowhere.

    parts: asked for where each of them begins and ends, only if there are such zeros anywhere.
    """
    for start, stop in _holes(file):
        reached = [
            max(start, part_start) for part_start, part_stop in parts() if start < part_stop and part_start < stop
        ]
        if reached:
            return min(reached)
    return None


def _holes(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Where whole sectors of zeros begin and end, but for zeros at the end of the file."""
    size = file.seek(0, 2)
    run_start: int | None = None  # of zeros that reach to where the next block begins
    for block_start in range(0, size, _BLOCK):
        file.seek(block_start)
        data = file.read(_BLOCK)
        # A run that begins before the block is looked at more closely, and one of half a sector.
        if run_start is None and bytes(_SECTOR // 2) not in data and not data.endswith(b"\0"):
            continue
        some = np.flatnonzero(np.frombuffer(data, np.uint8)) + block_start
        begin = block_start if run_start is None else run_start
        edges = np.concatenate([[begin - 1], some])
        for i in np.flatnonzero(np.diff(edges) > _SECTOR):
            start, stop = int(edges[i]) + 1, int(edges[i + 1])
            if -start % _SECTOR <= _CHANCE and stop % _SECTOR <= _CHANCE:
                yield start, stop
        last = int(edges[-1]) + 1
        run_start = last if last < block_start + len(data) else None
