"""`LocalCollection`: the folder as a Collection, with one commit point, the transaction on photos.db."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from sqlalchemy.orm import Session

from db import queries, writes
from db.checkpoints import require_checkpoint, require_unmoved
from db.checks import check_changes, check_photo
from db.errors import CollectionDamaged, CollectionError
from db.local import successor
from db.local.files import sync_folder
from db.local.layout import Layout
from db.local.lock import ReaderLock, WriterLock, without_readers
from db.local.opening import make_folder, missing, prepare
from db.local.reader import CommitReader
from db.local.segments import SegmentFolder
from db.local.sqlite import backup
from db.local.sqlite.connection import Database, plain_errors
from db.local.sqlite.migrations import columns_of, schema_version
from db.local.sqlite.snapshot import Snapshot, read_segments
from db.local.sqlite.writes import add, finish, next_id, replace_indexes
from db.local.vectors.index_files import IndexFiles
from db.location import Location, collection_folder
from db.matching import matching
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

logger = logging.getLogger(__name__)

# A build that runs for days saves the FAISS files now and then, or every reader would have to bring days of regions
# up to date in memory.
SAVE_AFTER_REGIONS = 100_000


class LocalCollection:
    """A folder with a database, feature segments and FAISS files. Use it as a context manager.

    One writer at a time, any number of readers, in as many processes as there are. What indexer and search use of it
    is described in `db.collection.Collection`; the rest is for `db.local.maintenance` and tests.
    """

    def __init__(self, layout: Layout, database: Database, lock: WriterLock | ReaderLock, model: ModelIdentity):
        """Use `open`."""
        self.layout = layout
        self.database = database
        self._lock = lock
        self._writes = isinstance(lock, WriterLock)
        self._unsaved_regions = 0  # added since FAISS files were saved, or since opening
        self._closed = False
        self._reader: CommitReader | None = None
        self.use(model)

    @classmethod
    def open(
        cls,
        location: Location,
        *,
        write: bool = False,
        create: bool = False,
        model: ModelIdentity | None = None,
        clean_up: bool = True,
    ) -> Self:
        """Open the collection in a folder; see `db.collection.open_collection`.

        clean_up: as a writer, delete what a killed one left behind and, with a warning, rebuild FAISS files that are
        missing or damaged. Without, a collection opens whose segments are damaged too.
        """
        if create and (model is None or not write):
            raise ValueError("creating a collection needs write=True and model")
        layout = Layout(collection_folder(location))
        with plain_errors(layout.folder):
            if not layout.database.exists():
                if not create:
                    raise missing(layout)
                make_folder(layout)
            lock = WriterLock(layout.lock) if write else ReaderLock(layout.readers)
            database = Database(layout.database, write=write)
            try:
                stored = prepare(database, layout, write=write, create=model if create else None)
                require_checkpoint(stored, model, layout.folder)
                collection = cls(layout, database, lock, stored)
                if write:
                    sync_folder(layout.folder)  # photos.db may be new
                    if clean_up:
                        collection._clean_up()
            except BaseException:
                database.close()
                lock.release()
                raise
        return collection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Save the FAISS files if they are behind, and let go of everything."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._writes and not self.snapshot.saved:
                self._try_to_save_index()
        finally:
            self.forget_loaded()
            self.database.close()
            self._lock.release()

    def refresh(self) -> None:
        if self._writes:
            return
        before = self.revision
        self.database.refresh()
        if self.revision == before:
            return
        self.forget_loaded()
        with self.database.session() as session:
            model = queries.model(session)
        require_unmoved(model, self.model, self.path)

    @property
    def path(self) -> Path:
        return self.layout.folder

    @property
    def location(self) -> Path:
        return self.layout.folder

    @property
    def model(self) -> ModelIdentity:
        return self._model

    def use(self, model: ModelIdentity) -> None:
        """Take the collection for one of this checkpoint from now on."""
        self._model = model
        sizes = {"code_size": model.code_size, "embedding_size": model.embedding_size}
        self.segments = SegmentFolder(self.layout.features, **sizes)
        self.index_files = IndexFiles(self.layout.folder, self.segments, model.embedding_size)
        self.forget_loaded()

    @property
    def revision(self) -> int:
        with self.database.session() as session:
            return queries.revision(session)

    # -- searching

    def photo_count(self) -> int:
        with self.database.session() as session:
            return queries.photo_count(session)

    def region_count(self) -> int:
        return self.snapshot.region_count

    def photo_ids(self) -> np.ndarray:
        return np.sort(self.snapshot.extents.photo_ids)

    def matching(self, wanted: PhotoFilter) -> Matching:
        with self.database.session() as session:
            return matching(session, wanted, queries.roots(session))

    def regions_of_area(self, area: AreaRange, photo_ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        return self.reader.regions_of_area(area, photo_ids)

    def candidates(
        self, vectors: np.ndarray, count: int, allowed: np.ndarray | None = None, area: AreaRange | None = None
    ) -> np.ndarray:
        return self.reader.candidates(vectors, count, allowed, area)

    def cosines(self, vectors: np.ndarray, photo_ids: Sequence[int] | np.ndarray | None = None) -> RegionScores:
        return self.reader.cosines(vectors, photo_ids)

    def codes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.reader.codes(region_ids)

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        return self.reader.features(photo_ids)

    def nearest(self, vectors: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k regions nearest to each vector, by FAISS; see `CommitReader.nearest`."""
        return self.reader.nearest(vectors, k)

    def photos(self, photo_ids: Sequence[int] | np.ndarray) -> list[PhotoRow]:
        with self.database.session() as session:
            return queries.photos(session, photo_ids, self._folders)

    @property
    def _folders(self) -> dict[int, Path] | None:
        """Root id -> folder; None: to be asked, for a writer may have moved one."""
        return None if self._writes else self.reader.folders

    def copies(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
        with self.database.session() as session:
            return queries.copies(session, photo_ids)

    def contents(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[PhotoRow]]:
        with self.database.session() as session:
            return queries.contents(session, photo_ids, self._folders)

    def photos_with_given_regions(self, photo_ids: Sequence[int] | None = None) -> list[int]:
        with self.database.session() as session:
            return queries.photos_with_given_regions(session, photo_ids)

    def repeated(self) -> list[list[int]]:
        with self.database.session() as session:
            return queries.repeated(session)

    def regions(self, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
        with self.database.session() as session:
            return queries.regions(session, region_ids)

    def regions_of(self, photo_ids: Sequence[int] | np.ndarray) -> list[list[RegionRow]]:
        with self.database.session() as session:
            return queries.regions_of(session, photo_ids)

    def boxes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        with self.database.session() as session:
            return queries.boxes(session, region_ids)

    def phrase_counts(self, limit: int) -> dict[str, int]:
        with self.database.session() as session:
            return queries.phrase_counts(session, limit)

    def phrases_with(self, words: Sequence[str]) -> dict[str, int]:
        with self.database.session() as session:
            return queries.phrases_with(session, words)

    # -- building

    def roots(self) -> dict[int, Path]:
        with self.database.session() as session:
            return queries.roots(session)

    def add_root(self, folder: Path) -> int:
        self.require_writer()
        with self.database.session() as session:
            return writes.add_root(session, Path(folder).resolve())

    def remove_root(self, root_id: int) -> None:
        self.require_writer()
        # Out of a successor that was begun first: or it would bring the folder back.
        if (folder := self.roots().get(root_id)) is not None:
            with self._open_successor() as other:
                if other is not None:
                    for their_id in [their_id for their_id, root in other.roots().items() if root == folder]:
                        other.remove_root(their_id)
        with self.transaction() as session:
            writes.remove_root(session, root_id)

    def relocate_root(self, root_id: int, folder: Path) -> None:
        self.require_writer()
        folder, roots = Path(folder).resolve(), self.roots()
        if folder in roots.values():
            raise ValueError(f"{folder} is a root already")
        before = roots[root_id]
        with self._open_successor() as other:
            if other is not None and folder not in (theirs := other.roots()).values():
                for their_id in [their_id for their_id, root in theirs.items() if root == before]:
                    other.relocate_root(their_id, folder)
        with self.transaction() as session:
            writes.relocate_root(session, root_id, folder)

    def left_out(self) -> dict[int, dict[str, int]]:
        with self.database.session() as session:
            return queries.left_out(session)

    def set_left_out(self, root_id: int, counts: Mapping[str, int]) -> None:
        self.require_writer()
        with self.database.session() as session:
            writes.set_left_out(session, root_id, counts)

    def set_headers(self, headers: Mapping[int, PhotoHeaders]) -> None:
        self.require_writer()
        if headers:
            with self.transaction() as session:
                writes.set_headers(session, headers)

    def known(self, root_id: int) -> dict[str, PhotoStat]:
        with self.database.session() as session:
            return queries.known(session, root_id)

    def find_digest(self, digest: str) -> int | None:
        with self.database.session() as session:
            return queries.find_digest(session, digest)

    def commit(
        self,
        *,
        new: Sequence[NewPhoto] = (),
        moved: Mapping[int, NewPath] | None = None,
        touched: Mapping[int, FileState | tuple[int, int]] | None = None,
        gone: Sequence[int] = (),
        failed: Sequence[FailedFile] = (),
    ) -> None:
        self.require_writer()
        moved, touched = moved or {}, touched or {}
        if not (new or moved or touched or gone or failed):
            return
        for photo in new:
            check_photo(photo, self.model)
        check_changes(new, moved, touched, gone, failed)
        with self.transaction() as session:
            writes.require_known(session, [*moved, *touched, *gone])
            writes.remove(session, gone)
            writes.move(session, moved)
            writes.touch(session, touched)
            writes.clear(session, new)
            writes.clear(session, failed)
            # If this fails from here on, the segment stays as an orphan for the next opening to sweep. To
            # delete it here could be wrong: an interrupt may arrive when SQLite has just committed.
            add(session, self.segments, new)
            writes.add_failed(session, failed)
        self._unsaved_regions += sum(len(photo.phrases) for photo in new)
        if self._unsaved_regions >= SAVE_AFTER_REGIONS:
            self._try_to_save_index()

    def precisions(self) -> list[str]:
        with self.database.session() as session:
            old = not columns_of("meta", ["precisions"], schema_version(session.connection()))
            return [] if old else queries.precisions(session)

    def note_precision(self, precision: str) -> None:
        self.require_writer()
        with self.database.session() as session:
            writes.note_precision(session, precision)

    def record_build(self, counts: Mapping[str, int], *, seconds: float) -> None:
        """If the build changed anything, a copy of photos.db is kept beside it, for `verify` to restore."""
        self.require_writer()
        with self.database.session() as session:
            writes.add_build(session, counts, seconds)
        self.keep_copy()

    def last_build(self) -> BuildRecord | None:
        with self.database.session() as session:
            return queries.last_build(session)

    def queue(self, lease_seconds: float = LEASE_SECONDS) -> TaskQueue | None:
        return None

    # -- the FAISS files

    def save_index(self) -> None:
        """Write the FAISS files that lack regions or hold regions that are gone; few or none."""
        self.require_writer()
        snapshot = self.snapshot
        quantizer = self.index_files.quantizer(snapshot)
        for plan in list(self.index_files.plan(snapshot, quantizer)):
            replaced = [plan.replaced.id] if plan.replaced else []
            with self.database.session() as session:
                index_id, quantizer_id = next_id(session, "index_file"), next_id(session, "quantizer")
            files, new = [], None
            if plan.extents.region_count:
                with plain_errors(self.path):
                    written = self.index_files.write(index_id, plan, snapshot, quantizer, quantizer_id)
                files = [written.file]
                if quantizer is None:
                    quantizer = new = written.quantizer
            with self.database.session() as session:
                replace_indexes(session, replaced, files, new)
        self.index_saved()

    def _try_to_save_index(self) -> None:
        """Save the FAISS files where failing to is no loss: what was committed is committed."""
        self._unsaved_regions = 0  # not again with every commit on a full disk
        try:
            self.save_index()
        except CollectionError as error:
            logger.warning("FAISS files were not saved, the next `indexer build` does it. %s", error)

    # -- for maintenance

    def require_writer(self) -> None:
        if not self._writes:
            raise CollectionError(f"The collection {self.path} was opened for reading.")

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One commit of the writer: whatever is done to the rows in this block, or nothing."""
        try:
            with self.database.session() as session:
                yield session
                finish(session)
        finally:
            self.forget_loaded()

    @property
    def reader(self) -> CommitReader:
        """The vectors of the commit that this Collection sees."""
        if self._reader is None:
            self._reader = CommitReader(self.database, self.segments, self.index_files)
        return self._reader

    @property
    def snapshot(self) -> Snapshot:
        """Where they are."""
        return self.reader.snapshot

    def forget_loaded(self) -> None:
        """Drop what was read of an earlier commit."""
        self._reader = None

    def index_saved(self) -> None:
        """What follows once FAISS files were written."""
        self._unsaved_regions = 0
        self.forget_loaded()
        self.sweep()

    def keep_copy(self, *, always: bool = False) -> None:
        """Keep a copy of photos.db as it is now, unless there is one."""
        copy = self.layout.database_copy
        if always or backup.copied_revision(copy) != self.revision:
            try:
                backup.copy_database(self.layout.database, copy)
            except CollectionDamaged:
                raise
            except CollectionError as error:  # what was committed is committed
                logger.warning("No copy of the database was kept. %s", error)

    def sweep(self) -> None:
        """Delete the files that the last commit does not need, unless an earlier one may be being read."""
        with plain_errors(self.path), without_readers(self.layout.readers) as free:
            if free:
                with self.database.session() as session:
                    segments = read_segments(session)
                self.segments.sweep(segments)
                self.index_files.sweep(self.snapshot)

    # -- within

    def _clean_up(self) -> None:
        """After a writer that was killed: delete orphaned files, rebuild FAISS files that cannot be used."""
        with suppress(CollectionDamaged):  # of the successor; `open_successor` says so
            if successor.model_of(self.layout.successor) == self.model:  # it has replaced this one
                successor.discard(self.layout)
        successor.sweep(self.layout)
        backup.sweep(self.path)
        self.sweep()
        with self.database.session() as session:
            absent = self.segments.absent(read_segments(session))
        if absent:  # what is there can be used, but not without saying so
            logger.warning(
                "%s and %d other segments are missing: run `indexer verify --repair`.",
                self.segments.path / absent[0].name,
                len(absent) - 1,
            )
        if any(self.index_files.fault(file, self.snapshot) for file in self.snapshot.files):
            self.save_index()

    @contextmanager
    def _open_successor(self) -> Iterator["LocalCollection | None"]:
        """The successor that was begun, open for writing; None: there is none that can be used."""
        try:
            begun = successor.model_of(self.layout.successor) is not None
            other = LocalCollection.open(self.layout.successor.folder, write=True) if begun else None
        except CollectionDamaged:  # `open_successor` begins it again
            other = None
        try:
            yield other
        finally:
            if other is not None:
                other.close()
