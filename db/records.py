"""What goes into a collection and what comes out of it, as plain values."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np


@dataclass(frozen=True)
class ModelIdentity:
    """Which checkpoint a collection belongs to."""

    digest: str  # sha256 of the weights file, hexadecimal
    embedding_size: int
    code_size: int


@dataclass(frozen=True)
class PhotoHeaders:
    """What a photo's headers tell besides its pixels; None or empty: they do not say."""

    taken: str | None = None  # local time of the camera, ISO 8601 to the second: "2019-06-23T14:05:06"
    utc_offset: int | None = None  # minutes that this is ahead of UTC
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees north
    longitude: float | None = None  # degrees east
    rating: int | None = None  # 0 to 5 stars, -1 rejected
    keywords: tuple[str, ...] = ()


class FileState(NamedTuple):
    """What the file system says of a file."""

    size: int  # bytes
    mtime_ns: int
    ctime_ns: int | None = None  # when anything about it changed last; None: not known


# -- in


@dataclass(frozen=True)
class NewPhoto:
    """A photo to add, with its N >= 1 regions, or to replace what is known under its path."""

    root_id: int
    path: str  # relative to the root, '/' between folders, as os.fsdecode gives it
    size: int  # bytes
    mtime_ns: int
    digest: str  # sha256 of the file's content, hexadecimal
    width: int  # pixels of the upright photo
    height: int
    boxes: np.ndarray  # (N, 4) float32, x1 y1 x2 y2, pixels of the upright photo
    scores: np.ndarray  # (N,) float32 in [0, 1]
    phrases: list[str]  # N
    codes: np.ndarray  # (N, code_size) float16
    embeddings: np.ndarray  # (N, embedding_size) float32, unit length; kept as float16
    ctime_ns: int | None = None
    incomplete: str | None = None  # what is missing of the picture, in words; None: it is whole
    headers: PhotoHeaders | None = None  # None: they were not read

    @classmethod
    def of_known(
        cls, place: "NewPath", row: "PhotoRow", regions: "Sequence[RegionRow]", features: "Features"
    ) -> "NewPhoto":
        """What a collection holds of a photo, for another file of the same content.

        regions, features: all of the photo's, in the same order.
        """
        return cls(
            root_id=place.root_id,
            path=place.path,
            size=place.size,
            mtime_ns=place.mtime_ns,
            digest=row.digest,
            width=row.width,
            height=row.height,
            boxes=np.array([region.box for region in regions], np.float32),
            scores=np.array([region.score for region in regions], np.float32),
            phrases=[region.phrase for region in regions],
            codes=features.codes,
            embeddings=features.embeddings,
            ctime_ns=place.ctime_ns,
            incomplete=row.incomplete,
            headers=row.headers,
        )


@dataclass(frozen=True)
class NewPath:
    """Where a known photo is now, and what the file system says about it there."""

    root_id: int
    path: str
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int | None = None


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be described: remembered, so that it is not tried again until it changes."""

    root_id: int
    path: str
    size: int  # bytes; -1, which no file has: try again
    mtime_ns: int
    digest: str | None  # None: not even its bytes could be read
    reason: str
    ctime_ns: int | None = None


# -- conditions


@dataclass(frozen=True)
class AreaRange:
    """Shares of a photo that a region may cover, both ends included: 0 <= least <= most <= 1."""

    least: float = 0.0
    most: float = 1.0


@dataclass(frozen=True)
class Circle:
    """Places on Earth within a distance of one."""

    latitude: float  # degrees north
    longitude: float  # degrees east
    radius_km: float


Orientation = Literal["landscape", "portrait", "square"]


@dataclass(frozen=True)
class PhotoFilter:
    """What a photo must fulfil, all of it; None or empty: anything. A photo that does not say does not fulfil."""

    under: tuple[Path, ...] = ()  # absolute folders: it is in one of them, or below
    taken_from: str | None = None  # the camera's local time as in PhotoHeaders, itself included
    taken_until: str | None = None  # itself not included
    orientation: Orientation | None = None  # square: sides that differ by less than a percent
    cameras: tuple[str, ...] = ()  # all words of one of them are in the make and model, in whatever case
    suffixes: tuple[str, ...] = ()  # its name ends with one of them, in whatever case: ".jpg"
    near: Circle | None = None
    area: AreaRange | None = None  # it has such a region


@dataclass(frozen=True)
class Matching:
    """The photos that fulfil a PhotoFilter."""

    photo_ids: np.ndarray  # (P,) int64, ascending
    silent: dict[str, int]  # how many photos do not say what is asked: "date", "camera", "place"
    unread: int = 0  # how many of these were described before headers were kept: the next build reads them


# -- out


class PhotoStat(NamedTuple):
    """What is remembered of a file, to tell whether it changed."""

    photo_id: int
    path: str
    size: int  # bytes
    mtime_ns: int
    digest: str | None
    reason: str | None  # why it failed; None: it was described
    ctime_ns: int | None = None
    incomplete: str | None = None  # what is missing of a described picture
    headers_read: bool = False

    @property
    def failed(self) -> bool:
        """Whether it could not be described."""
        return self.reason is not None

    @property
    def unread(self) -> bool:
        """Whether not even its bytes could be read."""
        return self.failed and self.digest is None


@dataclass(frozen=True)
class PhotoRow:
    """A described photo."""

    photo_id: int
    path: Path  # absolute
    width: int  # pixels of the upright photo
    height: int
    digest: str  # sha256 of the file's content, hexadecimal: copies have the same
    incomplete: str | None = None  # what is missing of the picture
    headers: PhotoHeaders | None = None  # None: they were not read


class RegionRow(NamedTuple):
    """A region of a photo."""

    region_id: int
    photo_id: int
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photo
    score: float  # objectness in [0, 1]
    phrase: str


@dataclass(frozen=True)
class RegionIds:
    """N regions of P photos. The rows of a photo stand together, in the order of region ids."""

    region_ids: np.ndarray  # (N,) int64
    photo_ids: np.ndarray  # (N,) int64

    def starts(self) -> np.ndarray:
        """(P,) int64: the first row of each photo."""
        return self._starts

    @cached_property  # a question asks for them several times
    def _starts(self) -> np.ndarray:
        begins = np.ones(len(self.photo_ids), bool)
        np.not_equal(self.photo_ids[1:], self.photo_ids[:-1], out=begins[1:])  # a third of the time of np.diff
        return np.flatnonzero(begins)

    def sizes(self) -> np.ndarray:
        """(P,) int64: how many rows each photo has."""
        return np.append(self.starts()[1:], len(self.photo_ids)) - self.starts()  # a third of the time of np.diff

    def slices(self) -> list[slice]:
        """The rows of each photo."""
        return [slice(*ends) for ends in pairwise([*self.starts().tolist(), len(self.photo_ids)])]

    def places(self) -> np.ndarray:
        """(N,) int64: each row's index among its photo's, from 0."""
        return np.arange(len(self.photo_ids)) - np.repeat(self.starts(), self.sizes())


@dataclass(frozen=True)
class RegionScores(RegionIds):
    """Scores of N regions for Q phrases."""

    scores: np.ndarray  # (Q, N) float32, higher is better; -inf: not judged

    def take(self, rows: slice | np.ndarray) -> "RegionScores":
        """Some of the regions. rows: a slice, (N,) bool, or indices of rows."""
        return RegionScores(self.region_ids[rows], self.photo_ids[rows], self.scores[:, rows])

    def of(self, photo_id: int) -> "RegionScores":
        """The regions of one photo."""
        return self.take(np.flatnonzero(self.photo_ids == photo_id))


def joined(scores: Sequence[RegionScores]) -> RegionScores:
    """Scores of several photos, one after the other; at least one."""
    return RegionScores(
        np.concatenate([some.region_ids for some in scores]),
        np.concatenate([some.photo_ids for some in scores]),
        np.concatenate([some.scores for some in scores], axis=1),
    )


@dataclass(frozen=True)
class Features(RegionIds):
    """What the network computed for regions, which are ascending by region id."""

    codes: np.ndarray  # (N, code_size) float16
    embeddings: np.ndarray  # (N, embedding_size) float32, unit length up to float16's rounding

    def take(self, rows: slice | np.ndarray) -> "Features":
        """Some of the regions. rows: a slice, (N,) bool, or indices of rows."""
        return Features(self.region_ids[rows], self.photo_ids[rows], self.codes[rows], self.embeddings[rows])


@dataclass(frozen=True)
class BuildRecord:
    """A finished run of `indexer build`."""

    finished_at: datetime  # UTC
    seconds: float
    counts: dict[str, int]  # as the indexer names them


# -- from maintenance


@dataclass(frozen=True)
class Problem:
    """Something that does not hold."""

    kind: str  # "database", "rows", "segment", "index", "copy", "successor"; the indexer adds "photographs", "drift"
    what: str  # a full sentence
    repairable: bool = True


@dataclass(frozen=True)
class CompactionReport:
    """What compacting did."""

    segments_before: int | None  # files of features; None: a server has none
    segments_after: int | None
    bytes_before: int
    bytes_after: int
    rows_dropped: int  # of photos that are gone


@dataclass(frozen=True)
class IndexReport:
    """The index after a rebuild, and how well it finds."""

    regions: int
    files: int
    lists: int  # inverted lists in all files; 0: every vector is compared
    bytes: int
    queries: int  # embeddings drawn from the collection; exact search says what there is to find for them
    recall_at_10: float  # the share of the exact first 10 that the index finds
    recall_at_100: float
    kind: str = "FAISS file"  # what one of `files` is
