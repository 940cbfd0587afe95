"""Collection: photographs, their regions and their vectors as one unit, with one commit point."""

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db import changes
from db.cache import SavedIndex, Snapshot, VectorCache
from db.errors import CheckpointMismatch, CollectionError, CollectionMissing
from db.features import Extents, SegmentFile, SegmentFolder
from db.files import sync_folder
from db.lock import ReaderLock, WriterLock, alone
from db.migrations import check_version, migrate, schema_version
from db.models import Build, Meta, Photo, Region, Root, Segment
from db.records import (
    BuildRecord,
    FailedFile,
    Features,
    ModelIdentity,
    NewPath,
    NewPhoto,
    PhotoRow,
    PhotoStat,
    RegionRow,
)
from db.store import Store, plain_errors

if TYPE_CHECKING:
    from db.vectors import VectorIndex

logger = logging.getLogger(__name__)

DATABASE = "photos.db"
SEGMENTS = "features"
LOCK = "lock"
READERS = "readers"

# A build that runs for days saves the FAISS file now and then, or every reader would have to bring days of regions
# up to date in memory: when this many regions are new, and a quarter of all.
SAVE_AFTER_REGIONS = 100_000


class Collection:
    """A folder with a database, feature segments and a FAISS file. Use it as a context manager.

    A reader sees the last commit at the time it was opened, whatever a writer does meanwhile, until `refresh`. One
    writer at a time, any number of readers, in as many processes as there are; one thread at a time in each Collection.

    Every method raises CollectionError (or a kind of it) when the disk refuses or a file turns out damaged.
    """

    path: Path
    model: ModelIdentity

    def __init__(self, path: Path, store: Store, lock: WriterLock | ReaderLock, model: ModelIdentity):
        """Use `open`."""
        self.path = path
        self.model = model
        self._store = store
        self._lock = lock
        self._writes = isinstance(lock, WriterLock)
        self._segments = SegmentFolder(path / SEGMENTS, code_size=model.code_size, embedding_size=model.embedding_size)
        self._cache = VectorCache(path, self._segments, model.embedding_size)
        self._unsaved_regions = 0  # added since the FAISS file was saved, or since opening
        self._closed = False
        self._loaded_snapshot: Snapshot | None = None
        self._index: VectorIndex | None = None

    @classmethod
    def open(
        cls, path: Path, *, write: bool = False, create: bool = False, model: ModelIdentity | None = None
    ) -> "Collection":
        """Open the collection in the folder `path`.

        Args:
            write: be its one writer. Cleans up after a writer that was killed, and replaces a FAISS file that is
                missing or damaged, with a warning.
            create: make the collection if there is none; needs `write` and `model`.
            model: the checkpoint that is going to be used with it; None: any.

        Raises:
            CollectionMissing, CollectionLocked, CheckpointMismatch, SchemaTooNew, CollectionDamaged
            CollectionError: the folder holds other things, or the disk refuses.
        """
        if create and (model is None or not write):
            raise ValueError("creating a collection needs write=True and model")
        path = Path(path).absolute()
        with plain_errors(path):
            if not (path / DATABASE).exists():
                if not create:
                    raise _missing(path)
                _make_folder(path)
            lock = WriterLock(path / LOCK) if write else ReaderLock(path / READERS)
            store = Store(path / DATABASE, write=write)
            try:
                with store.session() as session:
                    stored = _prepare(session, path, write=write, create=model if create else None)
                if model is not None and model != stored:
                    raise CheckpointMismatch(
                        f"the collection {path} was built with the checkpoint {stored.digest[:12]}, not with "
                        f"{model.digest[:12]}: use that one, or build a collection of its own for this one"
                    )
                collection = cls(path, store, lock, stored)
                if write:
                    sync_folder(path)  # photos.db may be new
                    collection._clean_up()
            except BaseException:
                store.close()
                lock.release()
                raise
        return collection

    def __enter__(self) -> "Collection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Save the FAISS file if it is behind, and let go of everything. Commits need no closing to be safe."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._writes and self._meta().index_revision != self.revision:
                self._try_to_save_index()
        finally:
            self._forget_loaded()
            self._store.close()
            self._lock.release()

    # -- writing: one transaction each, and its commit is the only commit point

    def add_root(self, folder: Path) -> int:
        """The id of this folder of photographs, remembered under its absolute path with links resolved."""
        self._require_writer()
        folder = Path(folder).resolve()
        with self._store.session() as session:
            known = session.scalar(select(Root.id).where(Root.path == str(folder)))
            if known is not None:
                return known
            root = Root(path=str(folder))
            session.add(root)
            session.flush()
            return root.id

    def commit(
        self,
        *,
        new: Sequence[NewPhoto] = (),
        moved: Mapping[int, NewPath] | None = None,
        touched: Mapping[int, tuple[int, int]] | None = None,
        gone: Sequence[int] = (),
        failed: Sequence[FailedFile] = (),
    ) -> None:
        """Make all of these changes, or none of them; when it returns they are on the disk.

        Args:
            new: photographs to add; one whose (root_id, path) is known takes its place, under a new id.
            moved: photo id -> where it is now; whatever was known under that path is forgotten.
            touched: photo id -> (size in bytes, mtime_ns), its content being unchanged.
            gone: ids of photographs (or failed files) to forget.
            failed: files to remember as failed; one whose (root_id, path) is known takes its place.

        Raises:
            ValueError: arrays that do not fit together or the model, two changes of one photograph or path.
            KeyError: a photo id that is not known.
        """
        self._require_writer()
        moved, touched = moved or {}, touched or {}
        if not (new or moved or touched or gone or failed):
            return
        for photo in new:
            changes.check(photo, self.model)
        changes.check_together(new, moved, touched, gone, failed)
        try:
            with self._store.session() as session:
                changes.require_known(session, [*moved, *touched, *gone])
                changes.remove(session, gone)
                changes.move(session, moved)
                changes.touch(session, touched)
                changes.clear(session, new)
                changes.clear(session, failed)
                # If this fails from here on, the segment stays as an orphan for the next opening to sweep. To
                # delete it here could be wrong: an interrupt may arrive when SQLite has just committed.
                changes.add(session, self._segments, new)
                changes.add_failed(session, failed)
                changes.finish(session)
        finally:
            self._forget_loaded()
        self._unsaved_regions += sum(len(photo.phrases) for photo in new)
        if self._unsaved_regions >= SAVE_AFTER_REGIONS and self._unsaved_regions >= self.region_count() / 4:
            self._try_to_save_index()

    def save_index(self) -> None:
        """Write the FAISS file as a new generation, unless the current one is up to date."""
        self._require_writer()
        with plain_errors(self.path):
            saved = self._cache.save(self._snapshot())
            with self._store.session() as session:
                session.connection().execute(
                    update(Meta).values(
                        index_generation=saved.generation,
                        index_revision=saved.revision,
                        index_lists=saved.lists,
                        index_size=saved.size,
                        index_sha256=saved.sha256,
                    )
                )
        self._unsaved_regions = 0
        self._forget_loaded()
        self._sweep()

    def record_build(self, counts: Mapping[str, int], *, seconds: float) -> None:
        """Remember a finished build: its counts under the indexer's names, and how long it took."""
        self._require_writer()
        finished_at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._store.session() as session:
            session.add(Build(finished_at=finished_at, seconds=seconds, counts=dict(counts)))

    # -- reading

    @property
    def revision(self) -> int:
        """The number of the commit that this Collection sees: how many there were before, and itself."""
        return self._meta().revision

    def refresh(self) -> None:
        """Move a reader to the last commit. A writer is always there."""
        if not self._writes:
            before = self.revision
            self._store.refresh()
            if self.revision != before:
                self._forget_loaded()

    def roots(self) -> dict[int, Path]:
        """Root id -> folder, in the order they were added."""
        with self._store.session() as session:
            rows = session.execute(select(Root.id, Root.path).order_by(Root.id))
            return {root_id: Path(path) for root_id, path in rows}

    def known(self, root_id: int) -> dict[str, PhotoStat]:
        """Every remembered file of a root by its relative path, failed ones too."""
        columns = (Photo.id, Photo.path, Photo.size, Photo.mtime_ns, Photo.digest, Photo.reason)
        with self._store.session() as session:
            rows = session.execute(select(*columns).where(Photo.root_id == root_id))
            return {row.path: PhotoStat(*row) for row in rows}

    def find_digest(self, digest: str) -> int | None:
        """The id of a described photograph with this content (the first one added), if there is one."""
        described = Photo.reason.is_(None)
        with self._store.session() as session:
            return session.scalar(select(func.min(Photo.id)).where(Photo.digest == digest, described))

    def last_build(self) -> BuildRecord | None:
        """The last build that finished."""
        with self._store.session() as session:
            row = session.scalar(select(Build).order_by(Build.id.desc()).limit(1))
            return BuildRecord(datetime.fromisoformat(row.finished_at), row.seconds, row.counts) if row else None

    def photo_count(self) -> int:
        """Described photographs."""
        with self._store.session() as session:
            return session.scalar(select(func.count()).where(Photo.reason.is_(None))) or 0

    def region_count(self) -> int:
        with self._store.session() as session:
            return session.scalar(select(func.sum(Photo.region_count))) or 0

    def photo_ids(self) -> np.ndarray:
        """(P,) int64: all described photographs, ascending."""
        return np.sort(self._snapshot().extents.photo_ids)

    def photo_ids_of(self, region_ids: np.ndarray) -> np.ndarray:
        """(N,) int64: the photograph of each of N regions.

        Raises:
            KeyError: an id that is not known.
        """
        extents = self._snapshot().extents
        return extents.photo_ids[extents.positions_of(np.asarray(region_ids, np.int64))]

    def photos(self, photo_ids: Sequence[int] | np.ndarray) -> list[PhotoRow]:
        """Described photographs, in the order asked.

        Raises:
            KeyError: an id that is not known.
        """
        columns = (Photo.id, Photo.root_id, Photo.path, Photo.width, Photo.height)
        roots = self.roots()
        with self._store.session() as session:
            rows = session.execute(
                select(*columns).where(Photo.id.in_(changes.among(photo_ids)), Photo.reason.is_(None))
            )
            found = {row.id: PhotoRow(row.id, roots[row.root_id] / row.path, row.width, row.height) for row in rows}
        return [found[int(photo_id)] for photo_id in photo_ids]

    def regions(self, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
        """Regions, in the order asked.

        Raises:
            KeyError: an id that is not known.
        """
        columns = (Region.id, Region.photo_id, Region.x1, Region.y1, Region.x2, Region.y2, Region.score, Region.phrase)
        with self._store.session() as session:
            rows = session.execute(select(*columns).where(Region.id.in_(changes.among(region_ids))))
            found = {
                region_id: RegionRow(region_id, photo_id, (x1, y1, x2, y2), score, phrase)
                for region_id, photo_id, x1, y1, x2, y2, score, phrase in rows
            }
        return [found[int(region_id)] for region_id in region_ids]

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        """Codes and embeddings of these photographs (each once), or of all.

        Raises:
            KeyError: an id that is not known or was not described.
            CollectionDamaged: a segment is missing or was cut off.
        """
        snapshot = self._snapshot()
        extents = snapshot.extents
        if photo_ids is not None:
            extents = extents.of_photos(np.asarray(photo_ids, np.int64))
        with plain_errors(self.path):
            codes = self._segments.read("codes", extents, snapshot.segments)
            embeddings = self._segments.read("embeddings", extents, snapshot.segments)
        return Features(
            region_ids=extents.region_ids(),
            photo_ids=np.repeat(extents.photo_ids, extents.counts),
            codes=codes,
            embeddings=embeddings.astype(np.float32),
        )

    def nearest(self, vectors: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k regions nearest to each vector.

        Args:
            vectors: (Q, embedding_size) float32, unit length.

        Returns:
            For each vector (region ids (K,) int64, inner products (K,) float32), best first, equal ones by id;
            K < k only if there are fewer regions, or if a large collection's inverted lists find fewer.
        """
        if self._index is None:
            with plain_errors(self.path):
                self._index = self._cache.open(self._snapshot())
        return self._index.search(vectors, k)

    # -- within

    def _require_writer(self) -> None:
        if not self._writes:
            raise CollectionError(f"the collection {self.path} was opened for reading")

    def _forget_loaded(self) -> None:
        """What was read of an earlier commit is of no use any more."""
        self._loaded_snapshot = None
        self._index = None

    def _meta(self) -> Any:
        """The row of `meta`."""
        with self._store.session() as session:
            return session.execute(select(Meta.__table__)).one()

    def _snapshot(self) -> Snapshot:
        if self._loaded_snapshot is None:
            with self._store.session() as session:
                self._loaded_snapshot = _read_snapshot(session)
        return self._loaded_snapshot

    def _clean_up(self) -> None:
        """After a writer that was killed: orphans away, a FAISS file that cannot be used made anew."""
        self._sweep()
        if self._cache.fault(self._snapshot().saved):
            self.save_index()

    def _try_to_save_index(self) -> None:
        """Save the FAISS file where failing to is no loss: what was committed is committed."""
        self._unsaved_regions = 0  # not again with every commit on a full disk
        try:
            self.save_index()
        except CollectionError as error:
            logger.warning("the FAISS file was not saved, the next `indexer build` does it: %s", error)

    def _sweep(self) -> None:
        """Delete the files that the last commit does not need, unless somebody may be reading an earlier one."""
        with plain_errors(self.path), alone(self.path / READERS) as nobody_reads:
            if nobody_reads:
                self._segments.sweep(self._snapshot().segments)
                self._cache.sweep(self._snapshot().saved)


def _missing(path: Path) -> CollectionMissing:
    return CollectionMissing(f"there is no collection in {path}: `indexer build FOLDER` makes one")


def _make_folder(path: Path) -> None:
    """Make the folder of a new collection, in a place of its own."""
    path.mkdir(parents=True, exist_ok=True)
    sync_folder(path.parent)
    if others := {entry.name for entry in path.iterdir()} - {LOCK, READERS}:
        raise CollectionError(
            f"{path} holds other files ({min(others)}) and no collection: name a folder that is empty or does not exist"
        )


def _prepare(session: Session, path: Path, *, write: bool, create: ModelIdentity | None) -> ModelIdentity:
    """Bring the schema up to date (writers) or check it (readers), and say whose collection it is."""
    version = schema_version(session.connection())
    if version == 0 and create is None:  # a writer was killed before its first commit
        raise _missing(path)
    if write:
        migrate(session.connection())
    else:
        check_version(version)
    if version == 0 and create is not None:
        session.add(
            Meta(
                id=1,
                model_digest=create.digest,
                embedding_size=create.embedding_size,
                code_size=create.code_size,
                revision=0,
                index_generation=0,
                index_revision=0,
                index_lists=0,
                index_size=0,
                index_sha256="",
            )
        )
        session.flush()
    row = session.execute(select(Meta.model_digest, Meta.embedding_size, Meta.code_size)).one()
    return ModelIdentity(*row)


def _read_snapshot(session: Session) -> Snapshot:
    meta = session.execute(select(Meta.__table__)).one()
    columns = (Photo.id, Photo.first_region_id, Photo.region_count, Photo.segment_id, Photo.first_row)
    rows = session.execute(select(*columns).where(Photo.reason.is_(None)).order_by(Photo.first_region_id)).all()
    table = np.array([tuple(row) for row in rows], np.int64).reshape(-1, len(columns))
    segments = session.execute(select(Segment.__table__))
    return Snapshot(
        revision=meta.revision,
        saved=SavedIndex(
            meta.index_generation, meta.index_revision, meta.index_lists, meta.index_size, meta.index_sha256
        ),
        extents=Extents(*np.ascontiguousarray(table.T)),
        segments={row.id: SegmentFile(**row._mapping) for row in segments},
    )
