"""What goes into a collection and what comes out of it, as plain values."""

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class ModelIdentity:
    """Which checkpoint a collection belongs to."""

    digest: str  # sha256 of the weights file, hexadecimal
    embedding_size: int
    code_size: int


# -- in


@dataclass(frozen=True)
class NewPhoto:
    """A photograph to add, with its N >= 1 regions, or to put in the place of what is known under its path."""

    root_id: int
    path: str  # relative to the root, '/' between folders, as os.fsdecode gives it
    size: int  # bytes
    mtime_ns: int
    digest: str  # sha256 of the file's content, hexadecimal
    width: int  # pixels of the upright photograph
    height: int
    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2, pixels of the upright photograph
    scores: np.ndarray  # (N,) float32 in [0, 1]
    phrases: list[str]  # N
    codes: np.ndarray  # (N, code_size) float16
    embeddings: np.ndarray  # (N, embedding_size) float32, unit length; kept as float16


@dataclass(frozen=True)
class NewPath:
    """Where a known photograph is now, and what the file system says about it there."""

    root_id: int
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be described: remembered, so that it is not tried again until it changes."""

    root_id: int
    path: str
    size: int  # bytes; -1, which no file has: it is to be tried again
    mtime_ns: int
    digest: str | None  # None: not even its bytes could be read
    reason: str


# -- out


class PhotoStat(NamedTuple):
    """What is remembered of a file, to tell whether it changed."""

    photo_id: int
    path: str
    size: int
    mtime_ns: int
    digest: str | None
    reason: str | None  # why it failed; None: it was described

    @property
    def failed(self) -> bool:
        return self.reason is not None

    @property
    def unread(self) -> bool:
        """Whether not even its bytes could be read."""
        return self.failed and self.digest is None


@dataclass(frozen=True)
class PhotoRow:
    photo_id: int
    path: Path  # absolute
    width: int  # pixels of the upright photograph
    height: int


@dataclass(frozen=True)
class RegionRow:
    region_id: int
    photo_id: int
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photograph
    score: float  # objectness in [0, 1]
    phrase: str


@dataclass(frozen=True)
class RegionIds:
    """N regions of P photographs. The rows of a photograph stand together, in the order of region ids."""

    region_ids: np.ndarray  # (N,) int64
    photo_ids: np.ndarray  # (N,) int64

    def starts(self) -> np.ndarray:
        """(P,) int64: the first row of each photograph."""
        return np.flatnonzero(np.diff(self.photo_ids, prepend=-1))

    def sizes(self) -> np.ndarray:
        """(P,) int64: how many rows each photograph has."""
        return np.diff(self.starts(), append=len(self.photo_ids))

    def slices(self) -> list[slice]:
        """The rows of each photograph."""
        return [slice(*ends) for ends in pairwise([*self.starts().tolist(), len(self.photo_ids)])]

    def places(self) -> np.ndarray:
        """(N,) int64: each row's place among its photograph's, from 0."""
        return np.arange(len(self.photo_ids)) - np.repeat(self.starts(), self.sizes())


@dataclass(frozen=True)
class Features(RegionIds):
    """What the network made of regions, which are ascending by region id."""

    codes: np.ndarray  # (N, code_size) float16
    embeddings: np.ndarray  # (N, embedding_size) float32, unit length up to float16's rounding

    def take(self, rows: slice | np.ndarray) -> "Features":
        """Some of the regions. rows: a slice, (N,) bool, or numbers of rows."""
        return Features(self.region_ids[rows], self.photo_ids[rows], self.codes[rows], self.embeddings[rows])


@dataclass(frozen=True)
class BuildRecord:
    """A finished run of `indexer build`."""

    finished_at: datetime  # UTC
    seconds: float
    counts: dict[str, int]  # as the indexer names them


@dataclass(frozen=True)
class CompactionReport:
    """What `Collection.compact` did."""

    segments_before: int
    segments_after: int
    bytes_before: int
    bytes_after: int
    rows_dropped: int  # of photographs that are gone


@dataclass(frozen=True)
class IndexReport:
    """What `Collection.rebuild_index` made, and how well it finds."""

    regions: int
    files: int
    lists: int  # inverted lists in all files; 0: every vector is looked at
    bytes: int
    queries: int  # embeddings drawn from the collection, and what exact search finds for them
    recall_at_10: float  # share of that among the first 10 that the index finds
    recall_at_100: float
