"""Region codes and embeddings on disk: immutable HDF5 segments, one a commit.

A segment `features/<id>-<sha256, first 8>.h5` holds three arrays of one row a region, little-endian, neither
chunked nor compressed:

    region_ids   (N,) int64
    codes        (N, code_size) float16
    embeddings   (N, embedding_size) float32's unit vectors as float16

Any HDF5 library reads it. This one reads it without: an array that is not chunked is one run of bytes, whose place
in the file the segment's row remembers. 200 photos out of 7,000 in 220 segments take 4 ms that way; opening
each file with h5py takes 60 ms, keeping 220 of them open eats a process's file descriptors, and importing h5py alone
costs a query 0.25 s (2 cores, warm).
"""

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from db.checksums import features_crc32
from db.errors import CollectionDamaged
from db.local.extents import Extents
from db.local.files import atomic_write, file_fault, sync_folder
from db.local.layout import segments_in
from db.local.records import SegmentFile

Array = Literal["codes", "embeddings"]

PART_ROWS = 100_000  # for who reads many regions, part by part: 100 MB as float32 vectors of 256
_PRODUCT_ROWS = 500  # multiplied at a time: 0.5 MB


# What is left of the bits of a half float, moved to the places of a single one: its sign, exponent and mantissa.
_BITS = np.int32(-0x70000001)
_NOT_FINITE = np.int16(0x7C00)
_EXPONENTS = np.float32(2.0**112)  # half floats' exponents begin at -14, single ones' at -126


def as_float32(halves: np.ndarray) -> np.ndarray:
    """Half floats (N, E) as float32; what is float32 stays so.

    By whole numbers, 0.3 ns each: NumPy's own conversion takes 1.7, a table of all half floats 0.8.
    """
    if halves.dtype != np.float16:
        return halves
    if (halves.view(np.int16) & _NOT_FINITE).max(initial=0) == _NOT_FINITE:  # of a file that is damaged
        return halves.astype(np.float32)
    singles = _placed(halves.view(np.int16).astype(np.int32))
    singles *= _EXPONENTS
    return singles


def _placed(bits: np.ndarray) -> np.ndarray:
    """Half floats as float32 that are smaller by _EXPONENTS, in place. bits: int32, the sign fills the upper half."""
    bits <<= 13
    bits &= _BITS
    return bits.view(np.float32)


def products(vectors: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """The inner products of a few vectors (Q, E) float32 with many embeddings (N, E) float32: (Q, N).

    OpenBLAS takes a fifth of the time of `vectors @ embeddings.T`: 30 us in place of 155 for 3 and 1,000 of 256; and a
    few rows at a time, 4.9 ms in place of 8.1 for 3 and 50,000.
    """
    columns = np.ascontiguousarray(vectors.T)
    found = np.empty((len(embeddings), len(vectors)), np.float32)
    for begin in range(0, len(embeddings), _PRODUCT_ROWS):
        np.matmul(embeddings[begin : begin + _PRODUCT_ROWS], columns, out=found[begin : begin + _PRODUCT_ROWS])
    return found.T


@dataclass(frozen=True)
class StoredRows:
    """The N rows of a segment, and where in the file they begin."""

    region_ids: np.ndarray  # (N,) int64
    codes: np.ndarray  # (N, code_size) float16
    embeddings: np.ndarray  # (N, embedding_size) float16
    codes_offset: int  # bytes from the start of the file
    embeddings_offset: int


class SegmentFolder:
    """The folder of the segments of one collection."""

    def __init__(self, path: Path, *, code_size: int, embedding_size: int):
        self.path = path
        self.embedding_size = embedding_size
        self._sizes: dict[Array, int] = {"codes": code_size, "embeddings": embedding_size}

    def write(self, segment_id: int, region_ids: np.ndarray, codes: np.ndarray, embeddings: np.ndarray) -> SegmentFile:
        """Put a new segment on the disk. It belongs to the collection once its row in photos.db is committed.

        Args:
            region_ids: (N,) int64. codes: (N, code_size) float16. embeddings: (N, embedding_size) float32.

        Raises:
            OSError: the disk refuses; no file of that name exists then.
        """
        import h5py  # 0.25 s that readers of a collection need not pay

        image = io.BytesIO()
        with h5py.File(image, "w") as file:
            file["region_ids"] = np.asarray(region_ids, "<i8")
            file["codes"] = np.asarray(codes, "<f2")
            file["embeddings"] = np.asarray(embeddings, "<f2")
            codes_offset = file["codes"].id.get_offset()
            embeddings_offset = file["embeddings"].id.get_offset()
        data = image.getbuffer()
        sha256 = hashlib.sha256(data).hexdigest()
        segment = SegmentFile(segment_id, len(region_ids), len(data), sha256, codes_offset, embeddings_offset)
        if not self.path.exists():
            self.path.mkdir()
            sync_folder(self.path.parent)
        with atomic_write(self.path / segment.name) as stream:
            stream.write(data)
        return segment

    def read(self, array: Array, extents: Extents, segments: Mapping[int, SegmentFile]) -> np.ndarray:
        """The rows of these photos, in their order: (N, size) float16.

        Only the wanted bytes are read, neighbours together. The file's size is checked, its checksums are not.

        Raises:
            CollectionDamaged: a segment is missing or altered.
        """
        row_size = 2 * self._sizes[array]
        rows = np.empty((extents.region_count, self._sizes[array]), "<f2")
        target = rows.reshape(-1).view(np.uint8).data
        filled = 0
        for segment_id, runs in extents.runs():
            segment = segments[segment_id]
            start = segment.codes_offset if array == "codes" else segment.embeddings_offset
            try:
                with open(self.path / segment.name, "rb") as stream:
                    if os.fstat(stream.fileno()).st_size != segment.size:
                        raise self.damage(segment)
                    for first_row, count in runs:
                        stream.seek(start + first_row * row_size)
                        size = count * row_size
                        stream.readinto(target[filled : filled + size])
                        filled += size
            except FileNotFoundError:
                raise self.damage(segment) from None
        return rows

    def read_checked(self, extents: Extents, segments: Mapping[int, SegmentFile]) -> tuple[np.ndarray, np.ndarray]:
        """The codes and embeddings of these photos, as `read` gives them, compared with their checksums.

        Raises:
            CollectionDamaged: a segment is missing or altered.
        """
        codes = self.read("codes", extents, segments)
        embeddings = self.read("embeddings", extents, segments)
        for position, rows in enumerate(extents.slices()):
            checksum = extents.checksums[position]
            if checksum >= 0 and features_crc32(codes[rows], embeddings[rows]) != checksum:
                raise self.damage(segments[int(extents.segment_ids[position])])
        return codes, embeddings

    def mapped(self, segments: Mapping[int, SegmentFile]) -> "MappedEmbeddings":
        """The embeddings of these segments, to read many small pieces of."""
        return MappedEmbeddings(self, segments)

    def open_embeddings(self, segment: SegmentFile) -> np.ndarray:
        """The embeddings of a segment, mapped: (rows, embedding_size) float16. Raises as `read`."""
        try:
            with open(self.path / segment.name, "rb") as stream:
                if os.fstat(stream.fileno()).st_size != segment.size:
                    raise self.damage(segment)
                shape = segment.rows, self.embedding_size
                return np.memmap(stream, "<f2", "r", segment.embeddings_offset, shape)
        except (FileNotFoundError, ValueError):  # ValueError: the rows end behind the file's end
            raise self.damage(segment) from None

    def check(self, segment: SegmentFile) -> None:
        """Compare the whole file with its checksum.

        Raises:
            CollectionDamaged: the segment is missing or altered.
        """
        if self.fault(segment):
            raise self.damage(segment)

    def fault(self, segment: SegmentFile) -> str | None:
        """What is wrong with the file, to follow its name in a sentence; None: it is what was written."""
        return file_fault(self.path / segment.name, segment.size, segment.sha256)

    def read_file(self, segment: SegmentFile) -> StoredRows:
        """All that a segment holds whose checksum is right."""
        import h5py

        with h5py.File(self.path / segment.name) as file:
            region_ids, codes, embeddings = file["region_ids"], file["codes"], file["embeddings"]
            return StoredRows(region_ids[:], codes[:], embeddings[:], codes.id.get_offset(), embeddings.id.get_offset())

    def absent(self, segments: Mapping[int, SegmentFile]) -> list[SegmentFile]:
        """The segments whose files are not there."""
        there = set(os.listdir(self.path)) if self.path.exists() else set()
        return [segment for segment in segments.values() if segment.name not in there]

    def sweep(self, segments: Mapping[int, SegmentFile]) -> None:
        """Delete what the last commit does not name: files of commits that did not happen, and of photos that
        are gone. Not while anybody reads: earlier commits need those.
        """
        kept = {segment.name for segment in segments.values()}
        for path in segments_in(self.path):
            if path.name not in kept:
                path.unlink()

    def damage(self, segment: SegmentFile) -> CollectionDamaged:
        """The error that says what is wrong with a segment."""
        fault = self.fault(segment) or "is not what its row in photos.db says"
        return CollectionDamaged(f"{self.path / segment.name}, the features of {segment.rows} regions, {fault}")


class MappedEmbeddings:
    """The embeddings of some segments, whose files are mapped into memory as they are needed, and stay so.

    3,000 single rows of 40 segments take 2 ms so, 8 ms by seeking and reading each.
    """

    def __init__(self, folder: SegmentFolder, segments: Mapping[int, SegmentFile]):
        self._folder = folder
        self._segments = segments
        self._open: dict[int, np.ndarray] = {}

    def read(self, extents: Extents) -> np.ndarray:
        """The rows of these photos, in their order: (N, embedding_size) float16, checksums not compared.

        Raises:
            CollectionDamaged: a segment is missing or altered.
        """
        found = np.empty((extents.region_count, self._folder.embedding_size), np.float16)
        rows = extents.rows()
        # Ids of segments rise with those of regions, but for what was compacted: few changes from photo to photo.
        starts = np.flatnonzero(np.diff(extents.segment_ids, prepend=-1))
        ends = np.cumsum(extents.counts)
        begin = 0
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(ends)]):
            end = int(ends[stop - 1])
            # "clip", for otherwise NumPy copies all of it twice; there are no such rows.
            of_segment = self._of(int(extents.segment_ids[start]))
            np.take(of_segment, rows[begin:end], axis=0, out=found[begin:end], mode="clip")
            begin = end
        return found

    def products(self, vectors: np.ndarray, extents: Extents) -> np.ndarray:
        """The inner products of a few vectors (Q, E) float32 with the rows of these photos, in their order: (Q, N).

        A photo's rows become float32 as they are copied, a few photos at a time, so that they stay in the processor's
        cache until they are multiplied: 1.2 ms for 10,000 rows, 2.0 by `read` and `as_float32`. Raises as `read`.
        """
        # The exponents are brought into place once, with the vectors: powers of two change no other bit.
        columns = np.ascontiguousarray(vectors.T) * _EXPONENTS
        found = np.empty((extents.region_count, len(vectors)), np.float32)
        counts = extents.counts.tolist()
        bits = np.empty((max([_PRODUCT_ROWS, *counts]), self._folder.embedding_size), np.int32)
        begin = filled = 0
        for segment_id, first_row, count in zip(extents.segment_ids.tolist(), extents.first_rows.tolist(), counts):
            if filled + count > len(bits):
                np.matmul(_placed(bits[:filled]), columns, out=found[begin : begin + filled])
                begin, filled = begin + filled, 0
            of_photo = self._of(segment_id)[first_row : first_row + count]
            if len(of_photo) < count:
                raise self._folder.damage(self._segments[segment_id])
            bits[filled : filled + count] = of_photo.view(np.int16)
            filled += count
        np.matmul(_placed(bits[:filled]), columns, out=found[begin:])
        return found.T

    def _of(self, segment_id: int) -> np.ndarray:
        if segment_id not in self._open:
            self._open[segment_id] = self._folder.open_embeddings(self._segments[segment_id]).view(np.ndarray)
        return self._open[segment_id]
