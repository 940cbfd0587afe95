"""Folders into a collection: only what is new or changed is decoded and described, in batches, and committed.

    walk ──> digest ──> known content: moved, copied or only touched
             (threads)  └─> decode (processes) ──> describe a batch ──> commit every few seconds

Every stage pulls from the one before and keeps a bounded number of files in flight, so memory does not grow with the
folder. The digest comes before decoding: photographs that were only moved or copied cost a read, not a forward pass.
"""

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from commands.text import printable
from db.collection import Collection
from db.records import FailedFile, NewPath, NewPhoto, PhotoStat
from decoding.errors import PhotoError
from decoding.photos import Photograph
from fcln.errors import FclnError
from indexer.build.decoders import Decoders
from indexer.errors import DescribeError
from indexer.progress import Progress
from indexer.scan.plan import Changes, Task, find_changes

if TYPE_CHECKING:
    from PIL import Image

    from fcln.predictor import Regions

# A commit costs an fsync or three, and whatever is not committed is lost with the power.
_COMMIT_SECONDS = 5.0
# A file may take its time, a minute to decode or longer to read; what was described before does not wait for it.
_IDLE_SECONDS = 1.0
# Bounds what waits for a commit where a GPU describes hundreds of photographs a second.
COMMIT_PHOTOS = 512

# Remembered of a file that could not be read: no file has it, so the next build tries again.
UNREAD_SIZE = -1

# Of a file that someone is writing: what is remembered of its content must not belong to two states of it.
_CHANGING = OSError("it is being changed")

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Describer(Protocol):
    """What a build needs of `fcln.predictor.Predictor`."""

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int = 50) -> "list[Regions]":
        """The regions of upright RGB images, one entry each."""
        ...


@dataclass
class BuildReport:
    """What a build did. Every file that was found is in exactly one of the first six counts but `gone`."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unchanged: int = 0
    failed: int = 0  # in this run
    failed_before: int = 0  # and not tried again
    described: int = 0  # photographs that went through the network; copies of known content do not
    regions: int = 0  # found in them
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """The numbers that a collection remembers of its last build."""
        names = ("new", "changed", "moved", "gone", "unchanged", "failed", "failed_before")
        return {name: getattr(self, name) for name in names}


def build(
    collection: Collection,
    folders: Sequence[Path],
    predictor: Describer,
    *,
    max_regions: int = 50,
    batch_size: int = 16,
    threads: int | None = None,
    exclude: Sequence[str] = (),
    retry: bool = False,
    prune: bool = False,
    commit_seconds: float = _COMMIT_SECONDS,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BuildReport:
    """Bring a collection up to date with some folders of photographs.

    Args:
        collection: open for writing.
        folders: walked with everything below them.
        predictor: describes photographs; must be of the collection's checkpoint.
        max_regions: regions kept of a photograph.
        batch_size: photographs described in one call.
        threads: photographs read or decoded at one time; default one a processor, at most 8.
        exclude: patterns of files and folders to take for absent, see `indexer.scan.walk.Exclusion`.
        retry: try again the files that failed before.
        prune: remove what is not there even if its whole root is missing, unreadable or empty.
        commit_seconds: between commits.
        progress: told what happens; by default failed files and warnings go to stderr.
        stop: asked after every batch; once true, what is done is committed and the build ends.

    Raises:
        FolderError: a folder cannot be used, or there are no photographs. The collection is as before.
        DescribeError: the network fails. What was described before is committed.
        FclnError: a predictor that loads itself when it is needed cannot.
        DecoderError: the processes that decode photographs do not start.
        CollectionError: the collection cannot be written.
    """
    started = time.monotonic()
    progress = progress or Progress()
    changes = find_changes(collection, folders, exclude=exclude, retry=retry, prune=prune, progress=progress, stop=stop)
    with (
        ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), "read") as pool,
        Decoders() as decoders,  # ended first: the threads wait for them
    ):
        run = _Build(
            collection, predictor, decoders, changes, progress, stop, max_regions, batch_size, commit_seconds, retry
        )
        try:
            run.run(pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an interrupt nobody wants what is in flight
    run.report.seconds = time.monotonic() - started
    if not run.report.interrupted:
        collection.record_build(run.report.counts, seconds=run.report.seconds)
    return run.report


@dataclass(frozen=True)
class _Content:
    """A file whose content was read once."""

    task: Task
    digest: str
    size: int
    mtime_ns: int


class _Build:
    """One run: the decisions about each file, and what waits for the next commit.

    All of it happens in one thread; only `_read` and `_decode` are called from others.
    """

    def __init__(
        self,
        collection: Collection,
        predictor: Describer,
        decoders: Decoders,
        changes: Changes,
        progress: Progress,
        stop: Callable[[], bool],
        max_regions: int,
        batch_size: int,
        commit_seconds: float,
        retry: bool,
    ):
        self.report = BuildReport(unchanged=changes.unchanged, failed_before=changes.failed_before)
        self._collection = collection
        self._predictor = predictor
        self._decoders = decoders
        self._tasks = changes.tasks
        self._progress = progress
        self._stop = stop
        self._max_regions = max_regions
        self._batch_size = batch_size
        self._commit_seconds = commit_seconds
        self._retry = retry

        self._missing = {stat.photo_id: stat for stat in changes.missing}
        self._missing_contents: dict[str, list[int]] = {}  # digest -> photo ids
        self._missing_failures: dict[str, list[int]] = {}  # the same of files that failed
        for stat in changes.missing:
            if stat.digest is not None and not stat.failed:
                self._missing_contents.setdefault(stat.digest, []).append(stat.photo_id)
            elif stat.digest is not None and stat.size >= 0 and not retry:
                self._missing_failures.setdefault(stat.digest, []).append(stat.photo_id)
        self._twins: dict[str, list[_Content]] = {}  # digest on its way to the network -> other files of that content

        # What waits for the next commit.
        self._new: list[NewPhoto] = []
        self._new_contents: dict[str, NewPhoto] = {}  # the same by digest
        self._moved: dict[int, NewPath] = {}
        self._touched: dict[int, tuple[int, int]] = {}
        self._failed: list[FailedFile] = []
        self._committed = time.monotonic()

    def run(self, pool: ThreadPoolExecutor) -> None:
        self._progress.start(len(self._tasks))
        ahead = 2 * self._batch_size
        unknown = self._unknown(_mapped(pool, _read, self._until_stopped(), ahead, self._commit_if_due))
        window: list[tuple[_Content, Photograph]] = []
        for content, outcome in _mapped(pool, self._decode, unknown, ahead, self._commit_if_due):
            while isinstance(outcome, OSError) and self._twins[content.digest]:
                self._skip(content.task, outcome)
                content = self._twins[content.digest].pop()  # the same content, and perhaps readable
                outcome = self._decode(content)
            if isinstance(outcome, Photograph):
                window.append((content, outcome))
            elif isinstance(outcome, PhotoError):
                self._fail(content, str(outcome))
            else:
                del self._twins[content.digest]
                self._skip(content.task, outcome)
            if len(window) == ahead:
                self._describe(window)
                window = []
            if self._stop():
                break
        self._describe(window)
        if self._stop():
            self.report.interrupted = True
            self._commit()
        else:
            # Only now: until the last file is read, any missing photograph may turn out to have been moved.
            self.report.gone = sum(not stat.failed for stat in self._missing.values())
            self._commit(gone=list(self._missing))

    def _until_stopped(self) -> Iterator[Task]:
        for task in self._tasks:
            if self._stop():
                return
            yield task

    # -- by content: what need not be described

    def _unknown(self, outcomes: "Iterable[tuple[Task, _Content | OSError]]") -> Iterator[_Content]:
        """Settles the files whose content is known already and lets the others through."""
        for task, content in outcomes:
            if isinstance(content, OSError):
                self._skip(task, content)
            elif task.known and not task.known.failed and task.known.digest == content.digest:
                self.report.unchanged += 1
                self._touched[task.known.photo_id] = (content.size, content.mtime_ns)
                self._progress.advance()
            elif self._missing_contents.get(content.digest):
                self._move(self._missing_contents[content.digest].pop(), content)
                self.report.moved += 1
            elif content.digest in self._twins:
                self._twins[content.digest].append(content)
            elif content.digest in self._new_contents:
                self._add_copy(content, self._new_contents[content.digest])
            elif (known_id := self._collection.find_digest(content.digest)) is not None:
                self._add_copy(content, self._load(known_id, content))
            elif task.known and self._failed_before(task.known, content):
                self.report.failed_before += 1
                self._touched[task.known.photo_id] = (content.size, content.mtime_ns)
                self._progress.advance()
            elif self._missing_failures.get(content.digest):
                self._move(self._missing_failures[content.digest].pop(), content)
                self.report.failed_before += 1
            else:
                self._twins[content.digest] = []
                yield content
            self._commit_if_due()

    def _failed_before(self, known: PhotoStat, content: _Content) -> bool:
        """Whether a file is touched, but holds what failed: to try again takes another content, or `retry`."""
        same = known.failed and known.digest == content.digest and known.size == content.size
        return same and not self._retry

    def _move(self, photo_id: int, content: _Content) -> None:
        """Note that what is remembered of a missing file is true of this one."""
        task = content.task
        del self._missing[photo_id]
        self._moved[photo_id] = NewPath(task.root_id, task.file.path, content.size, content.mtime_ns)
        self._progress.advance()

    def _load(self, photo_id: int, content: _Content) -> NewPhoto:
        """What the collection knows of a photograph, as the photograph in a file of the same content."""
        (photo,) = self._collection.photos([photo_id])
        features = self._collection.features([photo_id])
        regions = self._collection.regions(features.region_ids.tolist())
        return NewPhoto(
            root_id=content.task.root_id,
            path=content.task.file.path,
            size=content.size,
            mtime_ns=content.mtime_ns,
            digest=content.digest,
            width=photo.width,
            height=photo.height,
            boxes=np.array([region.box for region in regions], np.float32),
            scores=np.array([region.score for region in regions], np.float32),
            phrases=[region.phrase for region in regions],
            codes=features.codes,
            embeddings=features.embeddings,
        )

    # -- through the network

    def _decode(self, content: _Content) -> Photograph | PhotoError | OSError:
        try:
            photograph = self._decoders.decode(content.task.full_path)
            stat = content.task.full_path.stat()
        except (PhotoError, OSError) as error:
            return error
        if (stat.st_size, stat.st_mtime_ns) != (content.size, content.mtime_ns):
            return _CHANGING
        return photograph

    def _describe(self, window: list[tuple[_Content, Photograph]]) -> None:
        """Describe decoded photographs in batches, until asked to stop."""
        # The network takes photographs of one shape together: neighbours of a similar shape make fuller batches.
        window = sorted(window, key=lambda item: item[1].width / item[1].height)
        for start in range(0, len(window), self._batch_size):
            if self._stop():
                return
            batch = window[start : start + self._batch_size]
            for (content, photograph), outcome in zip(batch, self._outcomes(batch), strict=True):
                if isinstance(outcome, Exception):
                    self._fail(content, f"the network fails on it ({outcome})")
                else:
                    self._add_described(content, photograph, outcome)
            self._commit_if_due()

    def _outcomes(self, batch: list[tuple[_Content, Photograph]]) -> "Sequence[Regions | Exception]":
        """The regions of each photograph of a batch, or why the network fails on it.

        One photograph must not cost its neighbours, nor end a run of days: a batch that fails is tried again one by
        one. If every photograph of it fails, it is not the photographs' fault.
        """
        try:
            return self._predictor.describe([photo.image for _, photo in batch], max_regions=self._max_regions)
        except FclnError:  # no weights, no GPU: has a sentence of its own
            raise
        except Exception as error:
            first = error
        outcomes: list[Regions | Exception] = []
        for _, photograph in batch:
            try:
                outcomes.extend(self._predictor.describe([photograph.image], max_regions=self._max_regions))
            except Exception as error:
                outcomes.append(error)
        all_failed = all(isinstance(outcome, Exception) for outcome in outcomes)
        if all_failed and (len(batch) > 1 or not self.report.described):
            self._commit()
            path = printable(batch[0][0].task.full_path)
            raise DescribeError(f"the network fails on every photograph of a batch, the first is {path}: {first}")
        return outcomes

    def _add_described(self, content: _Content, photograph: Photograph, regions: "Regions") -> None:
        photo = NewPhoto(
            root_id=content.task.root_id,
            path=content.task.file.path,
            size=content.size,
            mtime_ns=content.mtime_ns,
            digest=content.digest,
            width=photograph.width,
            height=photograph.height,
            boxes=photograph.full_boxes(regions.boxes),
            scores=regions.scores,
            phrases=regions.phrases,
            codes=regions.codes,
            embeddings=regions.embeddings,
        )
        self.report.described += 1
        self._add(content, photo)
        for twin in self._twins.pop(content.digest):
            self._add_copy(twin, photo)

    # -- what waits for the next commit

    def _add_copy(self, content: _Content, photo: NewPhoto) -> None:
        task = content.task
        path, size, mtime_ns = task.file.path, content.size, content.mtime_ns
        self._add(content, replace(photo, root_id=task.root_id, path=path, size=size, mtime_ns=mtime_ns))

    def _add(self, content: _Content, photo: NewPhoto) -> None:
        if content.task.known is None or content.task.known.failed:
            self.report.new += 1
        else:
            self.report.changed += 1
        self.report.regions += len(photo.phrases)
        self._new.append(photo)
        self._new_contents[photo.digest] = photo
        self._progress.advance(regions=len(photo.phrases))

    def _fail(self, content: _Content, reason: str) -> None:
        """Remember that the content of a file, and of those that have the same, is of no use."""
        for each in (content, *self._twins.pop(content.digest)):
            task = each.task
            self._failed.append(FailedFile(task.root_id, task.file.path, each.size, each.mtime_ns, each.digest, reason))
            self.report.failed += 1
            self._progress.failed(task.full_path, reason)
            self._progress.advance()

    def _skip(self, task: Task, error: OSError) -> None:
        """Leave out a file that could not be read, this time.

        The next build tries again: that someone permits reading it, or that the disk answers again, changes neither
        its size nor its time. If it was described, that stays.
        """
        if not isinstance(error, FileNotFoundError):  # deleted since the walk: the next build sees that
            reason = f"cannot be read ({error.strerror or error})"
            if task.known is None or task.known.failed:
                file = task.file
                self._failed.append(FailedFile(task.root_id, file.path, UNREAD_SIZE, file.mtime_ns, None, reason))
            self.report.failed += 1
            self._progress.failed(task.full_path, reason)
        self._progress.advance()

    def _commit_if_due(self) -> None:
        due = time.monotonic() - self._committed >= self._commit_seconds
        if due or len(self._new) >= COMMIT_PHOTOS:
            self._commit()

    def _commit(self, gone: Sequence[int] = ()) -> None:
        self._collection.commit(new=self._new, moved=self._moved, touched=self._touched, gone=gone, failed=self._failed)
        self._new, self._new_contents, self._moved, self._touched, self._failed = [], {}, {}, {}, []
        self._committed = time.monotonic()


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(task: Task) -> _Content | OSError:
    try:
        before = task.full_path.stat()
        digest = content_digest(task.full_path)
        after = task.full_path.stat()
    except OSError as error:
        return error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return _CHANGING
    return _Content(task, digest, after.st_size, after.st_mtime_ns)


def _mapped(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    ahead: int,
    idle: Callable[[], None],
) -> Iterator[tuple[Item, Outcome]]:
    """(item, function(item)) in order, computed by the pool at most `ahead` items before they are asked for.

    idle: called now and then while there is nothing to do but to wait.
    """
    waiting: deque[tuple[Item, Future[Outcome]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, _awaited(future, idle)
    while waiting:
        first, future = waiting.popleft()
        yield first, _awaited(future, idle)


def _awaited(future: Future[Outcome], idle: Callable[[], None]) -> Outcome:
    while not future.done():
        wait([future], timeout=_IDLE_SECONDS)
        idle()
    return future.result()
