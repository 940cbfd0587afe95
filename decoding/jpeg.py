"""JPEG files that end early or go on strangely: what is there, as a file that libjpeg reads to its end.

Telephones leave the end marker out, or write a video behind the picture where the marker should be. libjpeg fills what
is missing of a scan with grey, so how much is there can be seen in the decoded picture (B.2 of ITU T.81 has the
markers).
"""

import re
import zlib
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from decoding.slices import Part, Slices

_SOI, _EOI, _SOS, _DNL, _DRI = 0xD8, 0xD9, 0xDA, 0xDC, 0xDD
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
# What may stand between two scans. Anything else behind a scan is not of the picture any more.
_BETWEEN_SCANS = {0xC4, 0xCC, 0xDB, _SOS, _DNL, _DRI, 0xFE, *range(0xE0, 0xF0)}
# Comments and what applications note; Adobe's (APP14) says how the colours are coded.
_NOTES = {0xFE, *range(0xE1, 0xF0)} - {0xEE}
_END = b"\xff\xd9"
_BLOCK = 1 << 20
_SEGMENT = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xda\xdb\xdd\xe0-\xef\xfe]").search
_LUMA_COEFFICIENTS = frozenset(range(1, 64))
# A picture with more of them is not looked at in colour, which takes 13 bytes each.
_MOST_PIXELS = 30_000_000
# What is put behind a scan to see whether it is over: bits of both kinds, none of which is a marker.
_ANY_BITS = bytes.fromhex("a5 5a 96 69 0f f0 3c c3") * 8


@dataclass(frozen=True)
class Scan:
    components: frozenset[int]
    coefficients: range  # of the spectrum
    refines: bool
    lowest_bit: int  # that it brings
    data: tuple[int, int]  # where it begins and ends in the file
    whole: bool  # something follows it


@dataclass
class Structure:
    """The picture's scans, as far as they are there."""

    end: int  # offset where the picture ends
    progressive: bool = False
    components: tuple[int, ...] = ()
    row_height: int = 8  # pixels of a row of blocks that are coded together
    scans: list[Scan] = field(default_factory=list)
    notes: list[tuple[int, int]] = field(default_factory=list)  # where segments of notes begin and end

    def readable(self, file: BinaryIO, *, notes: bool = True) -> Slices:
        """The picture, with an end marker whether it had one or not.

        notes: with EXIF, profiles and what else programs wrote beside the pixels.
        """
        parts, start = list[Part](), 0
        for note_start, note_stop in [] if notes else self.notes:
            parts.append((start, note_start))
            start = note_stop
        return Slices(file, [*parts, (start, max(start, self.end)), _END])

    @property
    def pixels(self) -> list[tuple[int, int]]:
        """Where in the file the data of its scans begin and end."""
        return [scan.data for scan in self.scans]

    def end_last_scan(self, file: BinaryIO) -> None:
        """Find out whether the last scan of a progressive picture is whole though nothing follows it."""
        if not self.scans or self.scans[-1].whole:
            return
        file.seek(self.end - 1)
        stop = self.end - (file.read(1) == b"\xff")  # half a marker
        of_luma = {*self.components[:1]} <= self.scans[-1].components
        pictures = set()
        try:
            for bits in (b"", _ANY_BITS, _ANY_BITS[::-1]):
                data: Any = Slices(file, [(0, stop), bits, _END])
                with Image.open(data, formats=["JPEG"]) as image:
                    if of_luma:
                        image.draft("L", image.size)  # takes less memory
                    elif image.width * image.height > _MOST_PIXELS:
                        return
                    pictures.add(zlib.crc32(image.tobytes()))
        except (OSError, SyntaxError):
            return
        if len(pictures) == 1:  # more bits than it needs are not looked at
            self.scans[-1] = replace(self.scans[-1], whole=True)

    @property
    def has_everything_coarsely(self) -> bool:
        """Whether a progressive picture has each of its coefficients, if not with all their bits."""
        return self._cover([scan for scan in self.scans if scan.whole and not scan.refines])

    @property
    def has_all_bits(self) -> bool:
        """Whether it has all their bits too. A last scan that nothing follows is taken to lack some."""
        return self._cover([scan for scan in self.scans if scan.whole and scan.lowest_bit == 0])

    def _cover(self, scans: list[Scan]) -> bool:
        """Whether scans bring the mean of each block of each component and all details of the first."""
        means = frozenset().union(*(scan.components for scan in scans if 0 in scan.coefficients))
        luma = self.components[:1]
        details = {k for scan in scans if {*luma} & scan.components for k in scan.coefficients}
        return means >= {*self.components} and details >= _LUMA_COEFFICIENTS

    @property
    def has_all_colours(self) -> bool:
        """Whether each component has a scan."""
        return frozenset().union(*(scan.components for scan in self.scans)) >= {*self.components}


def bytes_of_headers(file: BinaryIO) -> int:
    """How long the segments before the first scan are together."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        length = int.from_bytes(head[2:], "big")
        if len(head) < 4 or head[0] != 0xFF or head[1] in (_SOS, _EOI) or length < 2:
            return position
        position += 2 + length


def structure(file: BinaryIO) -> Structure:
    """Follow the markers of a JPEG file from its beginning as far as they make sense."""
    size = file.seek(0, 2)
    found = Structure(end=size)
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        while head[:2] == b"\xff\xff":  # fill bytes
            position += 1
            head = head[1:] + file.read(1)
        if len(head) == 4 and head[0] != 0xFF and not found.scans:
            after = _next_marker(file, position)
            found.notes.append((position, after))
            position = after
            continue
        if len(head) < 4 or head[0] != 0xFF or (found.scans and head[1] not in _BETWEEN_SCANS):
            found.end = min(position, size)
            return found
        marker, length = head[1], int.from_bytes(head[2:], "big")
        if marker in (_EOI, _SOI) or length < 2 or position + 2 + length > size:
            found.end = position
            return found
        body = file.read(length - 2) if marker in _FRAMES or marker == _SOS else b""
        if marker in _FRAMES and not found.components:
            _read_frame(found, marker, body)
        if marker in _NOTES:
            found.notes.append((position, position + 2 + length))
        position += 2 + length
        if marker == _SOS:
            start, position = position, _end_of_scan(file, position, size)
            if not _read_scan(found, body, (start, position), whole=position < size):
                found.end = start
                return found
            sequential_is_over = not found.progressive and found.has_all_colours
            if position >= size or sequential_is_over:
                found.end = position
                return found


def _next_marker(file: BinaryIO, position: int) -> int:
    """Where the next segment begins behind a note that is longer than it says; or far away, if there is none."""
    file.seek(position)
    data = file.read(_BLOCK)
    match = _SEGMENT(data)
    return position + (match.start() if match else max(1, len(data)))


def _read_frame(found: Structure, marker: int, body: bytes) -> None:
    found.progressive = marker in _PROGRESSIVE
    count = body[5] if len(body) > 5 else 0
    parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(count)]
    found.components = tuple(part[0] for part in parts if len(part) == 3)
    found.row_height = 8 * max([part[1] & 15 for part in parts if len(part) == 3] or [1])


def _read_scan(found: Structure, body: bytes, data: tuple[int, int], whole: bool) -> bool:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count or not 1 <= count <= 4:
        return False
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    components = frozenset(body[1 + 2 * i] for i in range(count))
    found.scans.append(Scan(components, range(first, last + 1), bits >> 4 > 0, bits & 15, data, whole))
    return True


def _end_of_scan(file: BinaryIO, start: int, size: int) -> int:
    """Where the first marker lies that is neither a restart nor a byte that had to be written so; else the file's
    end.
    """
    position = start
    while position < size:
        file.seek(position)
        block = np.frombuffer(file.read(_BLOCK + 1), np.uint8)
        if len(block) < 2:
            break
        after = block[1:][block[:-1] == 0xFF]
        places = np.flatnonzero(block[:-1] == 0xFF)
        marks = places[(after != 0) & (after != 0xFF) & ~np.isin(after, _RESTARTS)]
        if len(marks):
            return position + int(marks[0])
        position += len(block) - 1
    return size


def share_there(image: Image.Image, height: int, row_height: int) -> float:
    """How much of a sequential picture was in its file, 0 to 1: what is not there is grey at its end.

    Args:
        image: as libjpeg gave it, perhaps reduced; no colours changed yet.
        height: pixels of the whole picture, `image` may have fewer.
        row_height: pixels of the whole picture that are coded together.
    """
    pixels = np.asarray(image)
    pixels = pixels.reshape(image.height, image.width, -1)
    grey = ((pixels == 128) | (pixels == 127)).all(axis=2)
    rows_there = image.height
    while rows_there and grey[rows_there - 1].all():
        rows_there -= 1
    if not rows_there:
        return 0.0
    missing = image.height - rows_there
    # The last row of blocks that is there may end before the right edge.
    last = grey[rows_there - 1][::-1]
    across = len(last) if last.all() else int(last.argmin())
    row = max(1, round(row_height * image.height / height))
    return max(0.0, 1 - (missing + min(row, rows_there) * across / image.width) / image.height)
