"""Folders into a collection: only what is new or changed is decoded and described, in batches, and committed.

    walk ──> digest ──> triage: known content is moved, copied or only touched
             (threads)  └─> decode (processes) ──> describe a batch ──> commit every few seconds

Every stage pulls from the one before and keeps a bounded number of files in flight, so memory does not grow with the
folder. The digest comes before decoding: photographs that were only moved or copied cost a read, not a forward pass.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from commands.text import printable
from db.collection import Collection
from db.records import NewPhoto
from decoding.errors import PhotoError
from decoding.photos import Photograph
from fcln.errors import FclnError
from indexer.build.content import CHANGING, Content, read
from indexer.build.decoders import Decoders
from indexer.build.options import BuildOptions
from indexer.build.pending import Pending
from indexer.build.report import BuildReport
from indexer.build.triage import Triage
from indexer.errors import DescribeError
from indexer.progress import Progress
from indexer.scan.plan import Plan, Task, find_changes

if TYPE_CHECKING:
    from PIL import Image

    from fcln.predictor import Regions

# A file may take its time, a minute to decode or longer to read; what was described before does not wait for it.
_IDLE_SECONDS = 1.0

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
Decoded = tuple[Content, Photograph]


class Describer(Protocol):
    """What a build needs of `fcln.predictor.Predictor`."""

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int = 50) -> "list[Regions]":
        """The regions of upright RGB images, one entry each."""
        ...


def build(
    collection: Collection,
    folders: Sequence[Path],
    predictor: Describer,
    options: BuildOptions | None = None,
    *,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BuildReport:
    """Bring a collection up to date with some folders of photographs.

    Args:
        collection: open for writing.
        folders: walked with everything below them.
        predictor: describes photographs; must be of the collection's checkpoint.
        options: default: `BuildOptions()`.
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
    options = options or BuildOptions()
    progress = progress or Progress()
    plan = find_changes(
        collection,
        folders,
        exclude=options.exclude,
        retry=options.retry,
        prune=options.prune,
        progress=progress,
        stop=stop,
    )
    for scope in plan.new_scopes:
        scope.root_id = collection.add_root(scope.root)
    with (
        ThreadPoolExecutor(options.threads or min(8, os.cpu_count() or 1), "read") as pool,
        Decoders() as decoders,  # ended first: the threads wait for them
    ):
        run = _Build(collection, plan, predictor, decoders, options, progress, stop)
        try:
            run.run(pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after an interrupt: what is in flight is not needed
    run.report.seconds = time.monotonic() - started
    if not run.report.interrupted:
        collection.record_build(run.report.counts, seconds=run.report.seconds)
    return run.report


class _Build:
    """One run. All of it happens in one thread; only `read` and `_decode` are called from others."""

    def __init__(
        self,
        collection: Collection,
        plan: Plan,
        predictor: Describer,
        decoders: Decoders,
        options: BuildOptions,
        progress: Progress,
        stop: Callable[[], bool],
    ):
        self.report = BuildReport(unchanged=plan.unchanged, failed_before=plan.failed_before)
        self._tasks = plan.tasks
        self._predictor = predictor
        self._decoders = decoders
        self._options = options
        self._progress = progress
        self._stop = stop
        self._pending = Pending(collection, self.report, progress, commit_seconds=options.commit_seconds)
        self._triage = Triage(collection, plan, self._pending, self.report, retry=options.retry)

    def run(self, pool: ThreadPoolExecutor) -> None:
        self._progress.start(len(self._tasks))
        ahead = 2 * self._options.batch_size
        idle = self._pending.commit_if_due
        unknown = self._triage.unknown(_mapped(pool, read, self._until_stopped(), ahead, idle))
        window: list[Decoded] = []
        for content, outcome in _mapped(pool, self._decode, unknown, ahead, idle):
            decoded = self._accept(content, outcome)
            if decoded:
                window.append(decoded)
            if len(window) == ahead:
                self._describe(window)
                window = []
            if self._stop():
                break
        self._describe(window)
        if self._stop():
            self.report.interrupted = True
            self._pending.commit()
        else:
            gone = self._triage.missing
            self.report.gone = sum(not stat.failed for stat in gone)
            self._pending.commit(gone=[stat.photo_id for stat in gone])

    def _until_stopped(self) -> Iterator[Task]:
        for task in self._tasks:
            if self._stop():
                return
            yield task

    def _decode(self, content: Content) -> Photograph | PhotoError | OSError:
        try:
            photograph = self._decoders.decode(content.path)
            stat = content.path.stat()
        except (PhotoError, OSError) as error:
            return error
        if (stat.st_size, stat.st_mtime_ns) != (content.size, content.mtime_ns):
            return CHANGING
        return photograph

    def _accept(self, content: Content, outcome: Photograph | PhotoError | OSError) -> Decoded | None:
        """A photograph to describe; what could not be decoded is settled here."""
        while isinstance(outcome, OSError) and (duplicate := self._triage.next_duplicate(content)):
            self._pending.skip(content.task, outcome)
            content = duplicate  # the same content, and perhaps readable
            outcome = self._decode(content)
        if isinstance(outcome, Photograph):
            return content, outcome
        if isinstance(outcome, PhotoError):
            self._fail(content, str(outcome))
        else:
            self._triage.take_duplicates(content)
            self._pending.skip(content.task, outcome)
        return None

    def _fail(self, content: Content, reason: str) -> None:
        for each in (content, *self._triage.take_duplicates(content)):
            self._pending.fail(each, reason)

    def _describe(self, window: list[Decoded]) -> None:
        """Describe decoded photographs in batches, until asked to stop."""
        # The network takes photographs of one shape together: neighbours of a similar shape make fuller batches.
        window = sorted(window, key=lambda item: item[1].width / item[1].height)
        for start in range(0, len(window), self._options.batch_size):
            if self._stop():
                return
            batch = window[start : start + self._options.batch_size]
            for (content, photograph), outcome in zip(batch, self._outcomes(batch), strict=True):
                if isinstance(outcome, Exception):
                    self._fail(content, f"the network fails on it ({outcome})")
                else:
                    self._add(content, photograph, outcome)
            self._pending.commit_if_due()

    def _outcomes(self, batch: list[Decoded]) -> "Sequence[Regions | Exception]":
        """The regions of each photograph of a batch, or why the network fails on it.

        One photograph must not cost its neighbours, nor end a run of days: a batch that fails is tried again one by
        one. If every photograph of it fails, it is not the photographs' fault.
        """
        max_regions = self._options.max_regions
        try:
            return self._predictor.describe([photo.image for _, photo in batch], max_regions=max_regions)
        except FclnError:  # no weights, no GPU: has a sentence of its own
            raise
        except Exception as error:
            first = error
        outcomes: list[Regions | Exception] = []
        for _, photograph in batch:
            try:
                outcomes.extend(self._predictor.describe([photograph.image], max_regions=max_regions))
            except Exception as error:
                outcomes.append(error)
        all_failed = all(isinstance(outcome, Exception) for outcome in outcomes)
        if all_failed and (len(batch) > 1 or not self.report.described):
            self._pending.commit()
            path = printable(batch[0][0].path)
            raise DescribeError(f"the network fails on every photograph of a batch, the first is {path}: {first}")
        return outcomes

    def _add(self, content: Content, photograph: Photograph, regions: "Regions") -> None:
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
        self._pending.add(content, photo)
        for duplicate in self._triage.take_duplicates(content):
            self._pending.add_copy(duplicate, photo)


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
