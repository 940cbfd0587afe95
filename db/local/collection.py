"""Collection: photographs, their regions and their vectors as one unit, with one commit point."""

import logging
from collections.abc import Collection as Ids
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from sqlalchemy import select

from db.errors import CheckpointMismatch, CollectionDamaged, CollectionError
from db.local.files import sync_folder
from db.local.lock import ReaderLock, WriterLock, alone
from db.local.maintenance import compaction, model_switch
from db.local.maintenance.inspection import Findings, inspect
from db.local.opening import DATABASE, LOCK, READERS, make_folder, missing, prepare, read_model
from db.local.sqlite import backup, writes
from db.local.sqlite.connection import Store, plain_errors
from db.local.sqlite.queries import SEGMENTS, Contents
from db.local.sqlite.snapshot import SavedIndex, Snapshot, read_segments
from db.local.vectors.index_files import Target
from db.records import CompactionReport, FailedFile, IndexReport, ModelIdentity, NewPath, NewPhoto
from db.tables import Build, Root

logger = logging.getLogger(__name__)

# A build that runs for days saves the FAISS file now and then, or every reader would have to bring days of regions
# up to date in memory.
SAVE_AFTER_REGIONS = 100_000


class Collection(Contents):
    """A folder with a database, feature segments and a FAISS file. Use it as a context manager.

    A reader sees the last commit at the time it was opened, whatever a writer does meanwhile, until `refresh`. One
    writer at a time, any number of readers, in as many processes as there are; one thread at a time in each Collection.

    Every method raises CollectionError (or a kind of it) when the disk refuses or a file turns out damaged.
    """

    def __init__(self, path: Path, store: Store, lock: WriterLock | ReaderLock, model: ModelIdentity):
        """Use `open`."""
        super().__init__(path, store, model)
        self._lock = lock
        self._writes = isinstance(lock, WriterLock)
        self._unsaved_regions = 0  # added since FAISS files were saved, or since opening
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        write: bool = False,
        create: bool = False,
        model: ModelIdentity | None = None,
        clean_up: bool = True,
    ) -> "Collection":
        """Open the collection in the folder `path`.

        Args:
            write: be its one writer.
            create: make the collection if there is none; needs `write` and `model`.
            model: the checkpoint that is going to be used with it; None: any.
            clean_up: as a writer, delete what a killed one left behind, and make FAISS files that are missing or
                damaged anew, with a warning. Without, a collection opens whose segments are damaged too.

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
                    raise missing(path)
                make_folder(path)
            lock = WriterLock(path / LOCK) if write else ReaderLock(path / READERS)
            store = Store(path / DATABASE, write=write)
            try:
                stored = prepare(store, write=write, create=model if create else None)
                if model is not None and model != stored:
                    raise CheckpointMismatch(
                        f"The collection {path} was described by the checkpoint {stored.digest[:12]}, not by "
                        f"{model.digest[:12]}: use that one, or move the collection over with "
                        "`indexer build --redescribe`."
                    )
                collection = cls(path, store, lock, stored)
                if write:
                    sync_folder(path)  # photos.db may be new
                    if clean_up:
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
            if self._writes and not self._snapshot().saved:
                self._try_to_save_index()
        finally:
            self._forget_loaded()
            self._store.close()
            self._lock.release()

    def refresh(self) -> None:
        """Move a reader to the last commit. A writer is always there.

        Raises:
            CheckpointMismatch: the collection is of another checkpoint now.
        """
        if not self._writes:
            before = self.revision
            self._store.refresh()
            if self.revision != before:
                self._forget_loaded()
                with self._store.session() as session:
                    model = read_model(session)
                if model != self.model:
                    raise CheckpointMismatch(
                        f"The collection {self.path} has moved from the checkpoint {self.model.digest[:12]} to "
                        f"{model.digest[:12]}: open it again with that one."
                    )

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

    def remove_root(self, root_id: int) -> None:
        """Forget a folder of photographs and every file that is remembered in it; a successor that was begun, too."""
        self._require_writer()
        self._remove_successors_root(self.roots().get(root_id))  # first: or it would bring the folder back
        try:
            with self._store.session() as session:
                writes.remove_root(session, root_id)
                writes.finish(session)
        finally:
            self._forget_loaded()

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
            UnknownId: a photo id that is not known.
        """
        self._require_writer()
        moved, touched = moved or {}, touched or {}
        if not (new or moved or touched or gone or failed):
            return
        for photo in new:
            writes.check(photo, self.model)
        writes.check_together(new, moved, touched, gone, failed)
        try:
            with self._store.session() as session:
                writes.require_known(session, [*moved, *touched, *gone])
                writes.remove(session, gone)
                writes.move(session, moved)
                writes.touch(session, touched)
                writes.clear(session, new)
                writes.clear(session, failed)
                # If this fails from here on, the segment stays as an orphan for the next opening to sweep. To
                # delete it here could be wrong: an interrupt may arrive when SQLite has just committed.
                writes.add(session, self._segments, new)
                writes.add_failed(session, failed)
                writes.finish(session)
        finally:
            self._forget_loaded()
        self._unsaved_regions += sum(len(photo.phrases) for photo in new)
        if self._unsaved_regions >= SAVE_AFTER_REGIONS:
            self._try_to_save_index()

    def save_index(self) -> None:
        """Write the FAISS files that lack regions or hold regions that are gone; few or none."""
        self._require_writer()
        snapshot = self._snapshot()
        for target in self._cache.targets(snapshot):
            files = [self._write_index(target, snapshot)] if target.extents.region_count else []
            with self._store.session() as session:
                writes.replace_indexes(session, [target.replaced.id] if target.replaced else [], files)
        self._unsaved_regions = 0
        self._forget_loaded()
        self._sweep()

    def record_build(self, counts: Mapping[str, int], *, seconds: float) -> None:
        """Remember a finished build: its counts under the indexer's names, and how long it took.

        If the build changed anything, a copy of photos.db is kept beside it, for `verify` to restore.
        """
        self._require_writer()
        finished_at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._store.session() as session:
            session.add(Build(finished_at=finished_at, seconds=seconds, counts=dict(counts)))
        self._keep_copy()

    # -- maintenance

    def compact(self) -> CompactionReport:
        """Merge small segments into large ones and drop the rows of photographs that are gone. Ids stay.

        One commit for each new segment. Killed at any moment, what was committed is done, and compacting again ends
        where it would have ended. Old segments are deleted at the end, or once nobody reads any more: until then the
        features take up to twice their place.

        Raises:
            CollectionDamaged: a segment is missing or altered; what was merged before stays merged.
        """
        self._require_writer()
        snapshot = self._snapshot()
        before = list(snapshot.segments.values())
        row_size = 2 * (self.model.code_size + self.model.embedding_size)
        for extents in compaction.plan(snapshot.extents, snapshot.segments, row_size):
            try:
                with self._store.session() as session:
                    compaction.merge(session, self._segments, extents, snapshot.segments)
                    writes.finish(session)
            finally:
                self._forget_loaded()
        self._keep_copy()
        self._sweep()
        after = list(self._snapshot().segments.values())
        return CompactionReport(
            segments_before=len(before),
            segments_after=len(after),
            bytes_before=sum(segment.size for segment in before),
            bytes_after=sum(segment.size for segment in after),
            rows_dropped=sum(segment.rows for segment in before) - sum(segment.rows for segment in after),
        )

    def rebuild_index(self) -> IndexReport:
        """Make all FAISS files anew from the segments, and measure how well they find.

        Files are of the kind that suits the number of regions. The same collection gives the same files.

        Raises:
            CollectionDamaged: a segment is missing or altered.
        """
        self._require_writer()
        snapshot = self._snapshot()
        # All at once: ranges of old and new files need not agree.
        files: list[SavedIndex] = []
        for target in self._cache.targets(snapshot, anew=True):
            files.append(self._write_index(target, snapshot, after=len(files)))
        with self._store.session() as session:
            writes.replace_indexes(session, [file.id for file in snapshot.files], files)
        self._unsaved_regions = 0
        self._forget_loaded()
        self._sweep()
        from db.local.vectors.recall import judge  # which needs faiss

        return judge(self._snapshot(), self._cache, self._segments)

    def successor(self, model: ModelIdentity) -> "Collection":
        """The collection that is going to take this one's place, described by another checkpoint; open for writing.

        It is in the folder `next` of this one, knows the same roots and is filled like any other, in as many runs as it
        takes; this one stays as it is meanwhile, and may even change. One for a third checkpoint is deleted, with a
        warning. `pending` says what it lacks, `adopt` puts it in this one's place.

        Raises:
            ValueError: this collection is of that checkpoint.
        """
        self._require_writer()
        if model == self.model:
            raise ValueError("a collection cannot succeed itself")
        path = self.path / model_switch.FOLDER
        try:
            begun = model_switch.model_of(path)
        except CollectionDamaged as damage:
            logger.warning("%s: what was described there is described again.", damage.fault)
            model_switch.discard(path)
            begun = None
        if begun is not None and begun != model:
            logger.warning("What was described by the checkpoint %s is deleted.", begun.digest[:12])
            model_switch.discard(path)
        successor = Collection.open(path, write=True, create=True, model=model)
        with self._store.session() as ours, successor._store.session() as theirs:
            model_switch.inherit(ours, theirs)
        return successor

    def pending(self, successor: "Collection") -> dict[int, Path]:
        """The described photographs (id -> path) that a successor knows neither by path nor by content.

        A file that it could not read is not known to it.
        """
        return model_switch.pending(
            {root: self.known(root_id) for root_id, root in self.roots().items()},
            {root: successor.known(root_id) for root_id, root in successor.roots().items()},
        )

    def adopt(self, successor: "Collection", *, gone: Ids[int] = ()) -> None:
        """Put a successor in this collection's place, in one transaction; its folder is deleted.

        Killed at any moment, this is the old collection and the successor is whole, or this is the new one. Readers of
        the old one keep it until they `refresh`.

        Args:
            gone: ids of photographs that need not be in the successor, because they are there no more.

        Raises:
            CollectionError: a photograph would be lost; nothing has changed.
        """
        self._require_writer()
        if lost := self.pending(successor).keys() - set(gone):
            raise CollectionError(
                f"The checkpoint {successor.model.digest[:12]} has not described {len(lost):,} of its "
                f"photographs yet: the collection {self.path} stays with {self.model.digest[:12]}."
            )
        model = successor.model
        successor.close()
        theirs = self._store.attached(successor.path / DATABASE, model_switch.SCHEMA)
        with theirs, self._store.session() as session:
            shift = model_switch.bring_files(session, successor.path, self.path, SEGMENTS)
            model_switch.take_over(session, shift)
            writes.finish(session)
        self._use(model)
        self._forget_loaded()
        with plain_errors(self.path):
            model_switch.discard(successor.path)
        self._keep_copy()
        self._sweep()

    def inspect(self) -> Findings:
        """Everything that is wrong with the collection, but for what `verification.verify` has to do from outside."""
        return inspect(self._store, self._segments, self._cache)

    def repair(self, findings: Findings) -> None:
        """Make it right: what cannot be trusted any more is described again by the next build, FAISS is made anew."""
        self._require_writer()
        try:
            with self._store.session() as session:
                writes.remove(session, findings.lost)
                writes.remove_regions(session, findings.strays)
                for reason in sorted(set(findings.damaged.values())):
                    photo_ids = [photo_id for photo_id, why in findings.damaged.items() if why == reason]
                    writes.describe_again(session, photo_ids, reason)
                writes.finish(session)
        finally:
            self._forget_loaded()
        if findings.index_unusable:
            self.rebuild_index()
        else:
            self.save_index()
        self._keep_copy(always=True)

    # -- within

    def _require_writer(self) -> None:
        if not self._writes:
            raise CollectionError(f"The collection {self.path} was opened for reading.")

    def _remove_successors_root(self, folder: Path | None) -> None:
        path = self.path / model_switch.FOLDER
        with suppress(CollectionDamaged):  # `successor` makes it anew
            if model_switch.model_of(path) is not None:
                with Collection.open(path, write=True) as successor:
                    for root_id in (root_id for root_id, root in successor.roots().items() if root == folder):
                        successor.remove_root(root_id)

    def _clean_up(self) -> None:
        """After a writer that was killed: orphans away, FAISS files that cannot be used made anew."""
        with suppress(CollectionDamaged):  # the successor's; who goes on with it is told
            if model_switch.model_of(self.path / model_switch.FOLDER) == self.model:  # adopted
                model_switch.discard(self.path / model_switch.FOLDER)
        model_switch.sweep(self.path)
        backup.sweep(self.path)
        self._sweep()
        with self._store.session() as session:
            absent = self._segments.absent(read_segments(session))
        if absent:  # whoever goes on should know; what is there can be used
            logger.warning(
                "%s and %d other segments are missing: run `indexer verify --repair`.",
                self._segments.path / absent[0].name,
                len(absent) - 1,
            )
        if any(self._cache.fault(file) for file in self._snapshot().files):
            self.save_index()

    def _write_index(self, target: Target, snapshot: Snapshot, *, after: int = 0) -> SavedIndex:
        """Write a FAISS file under the next id that is free, but for so many that were just taken."""
        with self._store.session() as session:
            index_id = writes.next_id(session, "index_file") + after
        with plain_errors(self.path):
            return self._cache.write(index_id, target, snapshot)

    def _try_to_save_index(self) -> None:
        """Save the FAISS files where failing to is no loss: what was committed is committed."""
        self._unsaved_regions = 0  # not again with every commit on a full disk
        try:
            self.save_index()
        except CollectionError as error:
            logger.warning("FAISS files were not saved, the next `indexer build` does it. %s", error)

    def _keep_copy(self, *, always: bool = False) -> None:
        """Keep a copy of photos.db as it is now, unless there is one."""
        copy = self.path / backup.COPY
        if always or backup.copied_revision(copy) != self.revision:
            try:
                backup.copy_database(self.path / DATABASE, copy)
            except CollectionDamaged:
                raise
            except CollectionError as error:  # what was committed is committed
                logger.warning("No copy of the database was kept. %s", error)

    def _sweep(self) -> None:
        """Delete the files that the last commit does not need, unless somebody may be reading an earlier one."""
        with plain_errors(self.path), alone(self.path / READERS) as nobody_reads:
            if nobody_reads:
                with self._store.session() as session:
                    segments = read_segments(session)
                self._segments.sweep(segments)
                self._cache.sweep(self._snapshot().files)
