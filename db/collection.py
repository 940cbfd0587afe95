"""`Collection`: what `indexer` and `search` use, whatever holds it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from db.errors import CollectionError
from db.location import Location, collection_folder, is_server, roots_here
from db.records import (
    AreaRange,
    BuildRecord,
    FailedFile,
    Features,
    FileState,
    Matching,
    ModelIdentity,
    NewPath,
    NewPhoto,
    PhotoFilter,
    PhotoHeaders,
    PhotoRow,
    PhotoStat,
    RegionRow,
    RegionScores,
)
from db.task_queue import LEASE_SECONDS, TaskQueue


class Collection(Protocol):
    """Photos, their regions and their vectors, with one commit point. Use it as a context manager.

    A reader sees the last commit at the time it was opened, whatever a writer does meanwhile, until `refresh`. One
    thread at a time in each Collection. Every method raises CollectionError (or a kind of it) when the disk or the
    server refuses, or what is stored turns out damaged. Verifying, compacting and the like are not for every
    collection: see the back end's package.
    """

    @property
    def location(self) -> Location:
        """Where it is, for people."""
        ...

    @property
    def model(self) -> ModelIdentity:
        """The checkpoint that described it."""
        ...

    @property
    def revision(self) -> int:
        """The number of the commit that this Collection sees: how many there were before, and itself."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Let go of everything. What was committed is safe without."""
        ...

    def refresh(self) -> None:
        """Move a reader to the last commit. A writer is always there.

        Raises:
            CheckpointMismatch: the collection is of another checkpoint now.
        """
        ...

    # -- searching

    def photo_count(self) -> int:
        """Described photos."""
        ...

    def region_count(self) -> int: ...

    def photo_ids(self) -> np.ndarray:
        """(P,) int64: all described photos, ascending."""
        ...

    def matching(self, wanted: PhotoFilter) -> Matching:
        """The described photos that fulfil conditions, and how many do not say."""
        ...

    def regions_of_area(self, area: AreaRange, photo_ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """(N,) int64, ascending: the regions that cover such a share of their photo, of these photos or of all."""
        ...

    def candidates(
        self, vectors: np.ndarray, count: int, allowed: np.ndarray | None = None, area: AreaRange | None = None
    ) -> np.ndarray:
        """The photos most promising for some phrases: those with the best mean over phrases of their best region.

        Args:
            vectors: (Q, embedding_size) float32, unit length, one a phrase.
            count: how many photos.
            allowed: (A,) int64, ids of the only photos that may be among them; None: all may.
            area: of the only regions that count; None: all do.

        Returns:
            (P,) int64, ascending; P < count only if there are fewer photos. Approximate in a large collection, exact
            if the regions that may answer are few.

        Raises:
            UnknownId: an allowed id that is not known or was not described.
        """
        ...

    def cosines(self, vectors: np.ndarray, photo_ids: Sequence[int] | np.ndarray | None = None) -> RegionScores:
        """The cosine of each phrase and each region of these photos (each id once), or of all photos.

        vectors: (Q, embedding_size) float32, unit length. The result's regions are ascending by region id.

        Raises:
            UnknownId: an id that is not known or was not described.
        """
        ...

    def codes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The region codes that the language model reads, in the order asked: (N, code_size) float16.

        Raises:
            UnknownId: an id that is not known.
        """
        ...

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        """Codes and embeddings of these photos (each id once), or of all: to copy a photo, or to measure.

        Raises:
            UnknownId: an id that is not known or was not described.
        """
        ...

    def photos(self, photo_ids: Sequence[int] | np.ndarray) -> list[PhotoRow]:
        """Described photos, in the order asked.

        Raises:
            UnknownId: an id that is not known.
        """
        ...

    def copies(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
        """Described photos -> all described photos of the same content, themselves too, ascending."""
        ...

    def contents(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[PhotoRow]]:
        """`copies` as rows: described photos -> all of the same content, themselves too, by ascending id."""
        ...

    def photos_with_given_regions(self, photo_ids: Sequence[int] | None = None) -> list[int]:
        """The described photos whose regions somebody gave, of these or of all, ascending: the network finds others.

        As far as their boxes tell: one that the network found is all of the photo.
        """
        ...

    def repeated(self) -> list[list[int]]:
        """The described photos (ids, ascending) of each content that several have."""
        ...

    def regions(self, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
        """Regions, in the order asked.

        Raises:
            UnknownId: an id that is not known.
        """
        ...

    def regions_of(self, photo_ids: Sequence[int] | np.ndarray) -> list[list[RegionRow]]:
        """The regions of each of these photos, ascending by id, in the order asked. Reads no features.

        Raises:
            UnknownId: an id that is not known or was not described.
        """
        ...

    def boxes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """The boxes of N regions, in the order asked, for who needs no phrases: (N, 5) float64, x1 y1 x2 y2 score.

        Raises:
            UnknownId: an id that is not known.
        """
        ...

    def phrase_counts(self, limit: int) -> dict[str, int]:
        """The most frequent phrases of regions, at most `limit` of them: phrase -> in how many photos it is.

        Most frequent first, equally frequent ones in alphabetical order. Reads every region: seconds for millions.
        """
        ...

    def phrases_with(self, words: Sequence[str]) -> dict[str, int]:
        """The phrases of regions that have all of these words, in any order: phrase -> in how many photos it is.

        Most frequent first, equally frequent ones in alphabetical order. A server has an index of words; a folder
        reads every phrase.
        """
        ...

    # -- building

    def roots(self) -> dict[int, Path]:
        """Root id -> folder of photos, in the order they were added."""
        ...

    def add_root(self, folder: Path) -> int:
        """The id of this folder of photos, remembered under its absolute path with links resolved."""
        ...

    def remove_root(self, root_id: int) -> None:
        """Forget a folder of photos and every file that is remembered in it."""
        ...

    def relocate_root(self, root_id: int, folder: Path) -> None:
        """Let a folder of photos be another one: it was renamed or moved, with all that is in it.

        Raises:
            ValueError: the other one is a root already.
        """
        ...

    def left_out(self) -> dict[int, dict[str, int]]:
        """Root id -> how many files the last walk of all of it met that cannot be described, by kind."""
        ...

    def set_left_out(self, root_id: int, counts: Mapping[str, int]) -> None:
        """Remember that."""
        ...

    def known(self, root_id: int) -> dict[str, PhotoStat]:
        """Every remembered file of a root by its relative path, failed ones too."""
        ...

    def find_digest(self, digest: str) -> int | None:
        """The id of a described photo with this content (the first one added), if there is one."""
        ...

    def set_headers(self, headers: Mapping[int, PhotoHeaders]) -> None:
        """Note what the headers of described photos (by id) tell; their descriptions stay as they are."""
        ...

    def commit(
        self,
        *,
        new: Sequence[NewPhoto] = (),
        moved: Mapping[int, NewPath] | None = None,
        touched: Mapping[int, FileState | tuple[int, int]] | None = None,
        gone: Sequence[int] = (),
        failed: Sequence[FailedFile] = (),
    ) -> None:
        """Make all of these changes, or none of them; when it returns they are stored.

        Args:
            new: photos to add; one whose (root_id, path) is known takes its place, under a new id.
            moved: photo id -> where it is now; whatever was known under that path is forgotten.
            touched: photo id -> what the file system says of it now, its content being unchanged.
            gone: ids of photos (or failed files) to forget.
            failed: files to remember as failed; one whose (root_id, path) is known takes its place.

        Raises:
            ValueError: arrays that do not fit together or the model, two changes of one photo or path.
            UnknownId: a photo id that is not known.
        """
        ...

    def precisions(self) -> list[str]:
        """In which ways photographs were described, besides by which checkpoint; the first one first."""
        ...

    def note_precision(self, precision: str) -> None:
        """Remember a way in which photographs are described from now on, if it is a new one."""
        ...

    def record_build(self, counts: Mapping[str, int], *, seconds: float) -> None:
        """Remember a finished build: its counts under the indexer's names, and how long it took."""
        ...

    def last_build(self) -> BuildRecord | None:
        """The last build that finished."""
        ...

    def queue(self, lease_seconds: float = LEASE_SECONDS) -> TaskQueue | None:
        """The files to look at, shared with other builds; None: this collection has one writer at a time.

        lease_seconds: others take over what this build has claimed, once it has been silent for so long.
        """
        ...


def open_collection(
    location: Location, *, write: bool = False, create: bool = False, model: ModelIdentity | None = None
) -> Collection:
    """Open the collection in a folder, or on a server (`postgresql://user@host/database?schema=name`).

    Args:
        write: to change it. A folder has one writer at a time, a server as many as there are; readers any number.
        create: make the collection if there is none; needs `write` and `model`.
        model: the checkpoint that is going to be used with it; None: any.

    Raises:
        CollectionMissing, CollectionUnreachable, CollectionLocked, CheckpointMismatch, SchemaTooNew, CollectionDamaged
        CollectionError: the folder holds other things; the disk or the server refuses.
    """
    if is_server(location):
        return _on_server(str(location), write=write, create=create, model=model)
    folder = collection_folder(location)
    if roots_here():
        raise CollectionError(
            f"--root-as is for a collection on a server, not in {folder}: `indexer relocate OLD NEW` says where its "
            "photographs are now."
        )
    from db.local.collection import LocalCollection  # imports SQLAlchemy: 0.25 s that `--help` need not wait for

    return LocalCollection.open(folder, write=write, create=create, model=model)


def _on_server(url: str, *, write: bool, create: bool, model: ModelIdentity | None) -> Collection:
    try:
        from db.postgres.collection import PostgresCollection
    except ModuleNotFoundError as error:
        if error.name not in ("psycopg", "pgvector"):
            raise
        raise CollectionError(
            f"A collection on a server needs the package {error.name}: run `pip install 'psycopg[binary]' pgvector`."
        ) from error
    return PostgresCollection.open(url, write=write, create=create, model=model)
