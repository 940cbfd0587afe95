"""What waits for the next commit, and the commit."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from db.collection import Collection
from db.records import FailedFile, FileState, NewPath, NewPhoto, PhotoHeaders
from db.task_queue import TaskQueue
from indexer.build.content import Content
from indexer.build.report import BuildReport
from indexer.progress import Progress
from indexer.scan.plan import Task

# Bounds what waits for a commit where a GPU describes hundreds of photographs a second.
COMMIT_PHOTOS = 512

# Remembered of a file that could not be read: no file has it, so the next build tries again.
UNREAD_SIZE = -1


class Pending:
    """Where every file ends up: counted, told to the progress, and kept for the next commit."""

    def __init__(
        self,
        collection: Collection,
        report: BuildReport,
        progress: Progress,
        *,
        commit_seconds: float,
        queue: TaskQueue | None = None,
    ):
        """
        Args:
            collection: open for writing.
            report: where files are counted.
            commit_seconds: the time between two commits.
            queue: where the files were claimed that end up here; None: nobody else looks at them.
        """
        self._collection = collection
        self._queue = queue
        self._report = report
        self._progress = progress
        self._commit_seconds = commit_seconds
        self._committed = time.monotonic()
        self._clear()

    def _clear(self) -> None:
        self._new: dict[str, list[NewPhoto]] = {}  # by digest
        self._new_count = 0
        self._moved: dict[int, NewPath] = {}
        self._touched: dict[int, FileState] = {}
        self._headers: dict[int, PhotoHeaders] = {}
        self._failed: list[FailedFile] = []
        self._settled: list[tuple[int, str]] = []  # root id and path of every file that ended up here

    def find(self, digest: str) -> NewPhoto | None:
        """A photograph of this content that waits for the commit."""
        return self._new[digest][0] if digest in self._new else None

    def add(self, content: Content, photo: NewPhoto) -> None:
        """What was described in the file of `content`, which is new or changed."""
        task = content.task
        if task.known is None or task.known.failed:
            self._report.new += 1
        else:
            self._report.changed += 1
        self._report.regions += len(photo.phrases)
        self._settle(task)
        self._new.setdefault(photo.digest, []).append(photo)
        self._new_count += 1
        if photo.incomplete:
            self._report.incomplete += 1
            self._progress.incomplete(task.full_path, photo.incomplete)
        self._progress.advance(regions=len(photo.phrases))

    def add_copy(self, content: Content, photo: NewPhoto) -> None:
        """The file of `content` is new or changed and holds what `photo` has in another file."""
        self.add(content, replace(photo, **asdict(content.place)))

    def move(self, photo_id: int, content: Content) -> None:
        """What is remembered of a missing file is true of this one."""
        self._settle(content.task)
        self._moved[photo_id] = content.place
        self._progress.advance()

    def touch(self, photo_id: int, content: Content) -> None:
        """A file has another size or time, but what is remembered of it still holds."""
        self._settle(content.task)
        self._touched[photo_id] = FileState(content.size, content.mtime_ns, content.ctime_ns)
        self._progress.advance()

    def note(self, photo_id: int, state: FileState) -> None:
        """An unchanged file, of which not everything was noted so far."""
        self._touched[photo_id] = state

    def note_headers(self, photo_id: int, headers: PhotoHeaders) -> None:
        """What the headers of an unchanged file tell, which an older version did not ask."""
        self._headers[photo_id] = headers

    def fail(self, content: Content, reason: str) -> None:
        """The content of a file is of no use: remembered until it changes."""
        task = content.task
        self._settle(task)
        self._failed.append(
            FailedFile(
                root_id=task.root_id,
                path=task.file.path,
                size=content.size,
                mtime_ns=content.mtime_ns,
                digest=content.digest,
                reason=reason,
                ctime_ns=content.ctime_ns,
            )
        )
        self._report.failed += 1
        self._progress.failed(task.full_path, reason)
        self._progress.advance()

    def skip(self, task: Task, error: OSError) -> None:
        """A file could not be read, this time.

        The next build tries again: that someone permits reading it, or that the disk answers again, changes neither
        its size nor its time. If it was described, that stays.
        """
        self._settle(task)
        if not isinstance(error, FileNotFoundError):  # deleted since the walk: the next build sees that
            reason = f"cannot be read ({error.strerror or error})"
            if task.known is None or task.known.failed:
                file = task.file
                self._failed.append(FailedFile(task.root_id, file.path, UNREAD_SIZE, file.mtime_ns, None, reason))
            self._report.failed += 1
            self._progress.failed(task.full_path, reason)
        self._progress.advance()

    def leave(self, task: Task, reason: str) -> None:
        """A file is not described, for a reason that is not its own: what is known of it stays."""
        self._settle(task)
        self._report.failed += 1
        self._progress.failed(task.full_path, reason)
        self._progress.advance()

    def _settle(self, task: Task) -> None:
        self._settled.append((task.root_id, task.file.path))

    @property
    def settled(self) -> int:
        """Files that wait for the commit, whatever came of them."""
        return len(self._settled)

    def commit_if_due(self) -> None:
        """Commit if the last commit is a while ago, or much has come together."""
        due = time.monotonic() - self._committed >= self._commit_seconds
        if due or self._new_count >= COMMIT_PHOTOS:
            self.commit()

    def commit(self, gone: Sequence[int] = ()) -> None:
        """Everything that waits becomes part of the collection; the photographs `gone` (ids) are no part any more.

        Raises:
            CollectionError: the collection cannot be written.
        """
        new = [photo for photos in self._new.values() for photo in photos]
        changes: dict[str, Any] = {
            "new": new, "moved": self._moved, "touched": self._touched, "gone": gone, "failed": self._failed
        }  # fmt: skip
        if self._queue is None:
            self._collection.commit(**changes)
        elif lost := self._queue.commit(self._settled, self._report.counts, **changes):
            self._progress.warn(f"{lost:,} files were taken over by other builds: this one was silent for too long")
        self._collection.set_headers(self._headers)
        self._clear()
        self._committed = time.monotonic()
