"""Folders into a collection: only what is new or changed is decoded and described, in batches, and committed.

    walk ──> digest ──> triage: known content is moved, copied or only touched
             (threads)  └─> decode (processes) ──> describe a batch ──> commit every few seconds

Every stage pulls from the one before and keeps a bounded number of files in flight, so memory does not grow with the
folder. The digest comes before decoding: photographs that were only moved or copied cost a read, not a forward pass.
"""

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from commands.text import counted, printable
from db.collection import Collection
from db.records import NewPhoto, PhotoHeaders, PhotoStat
from db.task_queue import TaskQueue
from decoding.errors import PhotoError
from decoding.photos import Photograph
from fcln.agreement import agree
from fcln.errors import FclnError
from indexer.build.content import CHANGING, Content, read
from indexer.build.decoders import Decoders
from indexer.build.given_regions import GivenBoxes, GivenRegions, no_photograph_of
from indexer.build.options import BATCH_SIZE, BuildOptions
from indexer.build.pending import Pending
from indexer.build.report import BuildReport
from indexer.build.triage import Triage
from indexer.build.waiting import done, mapped
from indexer.errors import ClusterError, DescribeError, RegionsError
from indexer.progress import Progress
from indexer.scan.moved_roots import follow_moved_roots, tell_of_missing_roots
from indexer.scan.plan import Plan, Task, find_changes

if TYPE_CHECKING:
    from PIL import Image

    from fcln.predictor import Regions

# A batch is cut so that it takes about so long: what a power cut or Ctrl-C costs. Processors gain little from larger
# ones.
_BATCH_SECONDS = 1.0
_FIRST_BATCH = 4  # photographs, before that is known
# After Ctrl-C, each batch in the network may take so long. On a busy computer it is given up: it would take 10 s.
_LAST_BATCH_SECONDS = 0.5

Decoded = tuple[Content, Photograph]


class Describer(Protocol):
    """What a build needs of `fcln.predictor.Predictor`.

    It may also say its `batch_size` and how many `batches_at_once` it takes, else BATCH_SIZE and 1 are meant.
    """

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int = 50) -> "list[Regions]":
        """The regions of upright RGB images, one entry each."""
        ...

    def describe_boxes(self, image: "Image.Image", boxes: np.ndarray) -> "Regions":
        """The regions that given boxes (N, 4) of an upright RGB image make, in their order."""
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
        RegionsError: regions are given, but none of any photograph in these folders.
        FolderError: a folder cannot be used, or there are no photographs. The collection is as before.
        DescribeError: the network fails. What was described before is committed.
        FclnError: a predictor that loads itself when it is needed cannot.
        DecoderError: the processes that decode photographs do not start.
        CollectionError: the collection cannot be written.
    """
    started = time.monotonic()
    options = options or BuildOptions()
    given = options.regions
    progress = progress or Progress()
    if given is None and (queue := collection.queue(options.lease_seconds)) is not None:
        from indexer.build.together import build_together  # which imports this module

        return build_together(collection, queue, folders, predictor, options, progress=progress, stop=stop)
    follow_moved_roots(collection, folders, progress)
    plan = find_changes(
        collection,
        folders,
        exclude=options.exclude,
        retry=options.retry,
        prune=options.prune,
        progress=progress,
        stop=stop,
        again=None if given is None else lambda root, path: given.of(root, path) is not None,
    )
    without_regions = _only_given(plan, given, progress) if given is not None else 0
    if given is not None and not plan.tasks and not stop():
        raise no_photograph_of(given, folders)
    record_roots(collection, plan)
    with executors(options) as (pool, network, decoders):
        run = Run(collection, plan, predictor, network, decoders, options, progress, stop)
        run.report.without_regions = without_regions
        run.run(pool)
    if not run.report.interrupted:
        tell_of_missing_roots(collection, plan.described_in_missing_roots, progress, prune=options.prune)
    run.report.seconds = time.monotonic() - started
    if not run.report.interrupted:
        collection.record_build(run.report.counts, seconds=run.report.seconds)
    return run.report


@contextmanager
def executors(options: BuildOptions) -> Iterator[tuple[ThreadPoolExecutor, ThreadPoolExecutor, Decoders]]:
    """Threads that read, those that wait for the network, and processes that decode."""
    pool = ThreadPoolExecutor(options.threads or min(8, os.cpu_count() or 1), "read")
    network = ThreadPoolExecutor(2, "network")  # as many batches as a network takes at one time
    with Decoders() as decoders:
        try:
            yield pool, network, decoders
        finally:
            # Without waiting: after an interrupt, what is in flight is not needed.
            for threads in (pool, network):
                threads.shutdown(wait=False, cancel_futures=True)


class Run:
    """One run. All of it happens in one thread; only `read` and `_decode` are called from others."""

    def __init__(
        self,
        collection: Collection,
        plan: Plan,
        predictor: Describer,
        network: ThreadPoolExecutor,
        decoders: Decoders,
        options: BuildOptions,
        progress: Progress,
        stop: Callable[[], bool],
        queue: TaskQueue | None = None,
    ):
        """queue: where the files come from that other builds look at too; None: they are all in the plan."""
        left_out = dict(sum(plan.left_out.values(), Counter()))
        self.report = BuildReport(unchanged=plan.unchanged, failed_before=plan.failed_before, left_out=left_out)
        self._plan = plan
        self._collection = collection
        self._precision_noted = False
        self._photo_seconds: float | None = None  # that describing one took of late
        self._last_batch = (0.0, 0.0, 0)  # when the network began and ended, by time.monotonic; photographs
        self._timing = threading.Lock()
        self._at_network: deque[tuple[list[Decoded], Future[list[Regions]] | None]] = deque()  # the oldest first
        # What the last batch gave: put away while the network is at the next one.
        self._done: list[tuple[Decoded, Regions | Exception]] = []
        self._predictor = predictor
        self._network = network
        self._decoders = decoders
        self._options = options
        self._progress = progress
        self._stop = stop
        self._pending = Pending(collection, self.report, progress, commit_seconds=options.commit_seconds, queue=queue)
        self._triage = Triage(
            collection, plan, self._pending, self.report, retry=options.retry, regions=options.regions, queue=queue
        )

    def run(self, pool: ThreadPoolExecutor) -> None:
        self.note_unnoted()
        self._progress.start(len(self._plan.tasks))
        self.work(pool, self._plan.tasks)
        if self._stop():
            self.report.interrupted = True
            self._pending.commit()
        else:
            gone = self._triage.missing
            self._pending.commit(gone=[stat.photo_id for stat in gone])
            self.tell_gone(gone)
            self.read_headers(pool)

    def note_unnoted(self) -> None:
        """What an older version did not note of unchanged files."""
        for photo_id, state in self._plan.unnoted.items():
            self._pending.note(photo_id, state)

    def work(self, pool: ThreadPoolExecutor, tasks: Iterable[Task]) -> None:
        """Look at files; what came of the last of them waits for a commit, or is committed."""
        idle = self._catch_up
        unknown = self._triage.unknown(mapped(pool, read, self._until_stopped(tasks), self._ahead, idle, self._stop))
        window: list[Decoded] = []
        for content, outcome in mapped(pool, self._decode, unknown, self._window, idle, self._stop):
            decoded = self._accept(content, outcome)
            if decoded:
                window.append(decoded)
            if len(window) >= self._window():
                self._describe(window)
                window = []
            if self._stop():
                break
        self._describe(window)
        while self._at_network:
            self._await_batch()
        self._put_away()

    def commit(self) -> None:
        """Commit what waits for it."""
        self._pending.commit()

    def tell_gone(self, gone: list[PhotoStat]) -> None:
        """Count what is forgotten now, and say what is for an option's sake."""
        self.report.gone = sum(not stat.failed for stat in gone)
        self._say_what_was_excluded(gone)

    def _say_what_was_excluded(self, gone: list[PhotoStat]) -> None:
        for covered, because, remedy in (
            (self._plan.excluded, "--exclude covers {them}", "without it"),
            (self._plan.silenced, "a file beside or above asks galleries to leave it out (.nomedia)", "without that"),
        ):
            forgotten = [stat.path for stat in gone if stat.photo_id in covered]
            if forgotten:
                what = counted(len(forgotten), "photograph")
                was, them = ("was", "it") if len(forgotten) == 1 else ("were", "them")
                reason = because.format(them=them)
                self._progress.warn(
                    f"{what} that {was} described {'is' if was == 'was' else 'are'} forgotten because {reason}, "
                    f"the first is {printable(forgotten[0])}; a build {remedy} describes {them} again"
                )

    def read_headers(self, pool: ThreadPoolExecutor) -> None:
        """Read the headers of photographs that an older version described: last, for nothing else waits for it."""
        unread = self._plan.headers_unread
        if not unread:
            return
        self._progress.start(len(unread), "Reading headers")
        for (photo_id, _), headers in mapped(
            pool, self._headers_of, unread, self._ahead, self._pending.commit_if_due, self._stop
        ):
            if headers is not None:
                self._pending.note_headers(photo_id, headers)
            self._progress.advance()
            self._pending.commit_if_due()
            if self._stop():  # the next build goes on
                break
        self._pending.commit()

    def _headers_of(self, item: tuple[int, Path]) -> PhotoHeaders | None:
        """What the headers of a file tell; None: it cannot be read now."""
        try:
            return PhotoHeaders(**asdict(self._decoders.headers(item[1])))
        except PhotoError:
            return PhotoHeaders()
        except OSError:
            return None

    def _until_stopped(self, tasks: Iterable[Task]) -> Iterator[Task]:
        for task in tasks:
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
        while window and not self._stop():
            size = self._batch_size()
            batch, window = window[:size], window[size:]
            describing = None if self._options.regions else self._start([photo.image for _, photo in batch])
            self._at_network.append((batch, describing))
            while len(self._at_network) >= self._batches_at_once():
                self._await_batch()

    def _await_batch(self) -> None:
        """Have the oldest batch in the network put away next, unless the build is stopped and it takes too long."""
        self._put_away()
        batch, describing = self._at_network.popleft()
        outcomes = self._outcomes(batch, describing)
        if outcomes is None:  # what is behind it is not waited for either
            self._at_network = deque((b, d) for b, d in self._at_network if d is not None and d.done())
        else:
            self._done = list(zip(batch, outcomes, strict=True))

    def _catch_up(self) -> None:
        """What the network has done does not wait for files that take their time."""
        while self._at_network and (describing := self._at_network[0][1]) is not None and describing.done():
            self._await_batch()
        self._put_away()

    def _put_away(self) -> None:
        """What the network said of the last batch waits for the next commit, or is committed."""
        done, self._done = self._done, []
        for (content, photograph), outcome in done:
            if isinstance(outcome, RegionsError):
                self._pending.leave(content.task, f"{outcome}; left as it is")
            elif isinstance(outcome, Exception):
                self._fail(content, f"the network fails on it ({outcome})")
            else:
                self._note_precision()
                self._add(content, photograph, outcome)
        self._pending.commit_if_due()

    def _note_precision(self) -> None:
        """Before the first photograph is added: the collection remembers in which way it is described."""
        if self._precision_noted or not (precisions := getattr(self._predictor, "precisions", ())):
            return
        self._precision_noted = True
        for precision in precisions:
            remembered = self._collection.precisions()
            others = [each for each in remembered if not agree(each, precision)]
            if others and precision not in remembered:  # said once
                self._progress.warn(
                    f"photographs are described with {precision} here, others of this collection with {others[0]}: the "
                    "same thing may look a little different to both; `indexer build FOLDERS --collection NEW`, with "
                    "all folders, describes all of them alike"
                )
            self._collection.note_precision(precision)

    def _batch_size(self) -> int:
        """How many photographs to describe together."""
        affordable = _FIRST_BATCH if self._photo_seconds is None else int(_BATCH_SECONDS / self._photo_seconds)
        return max(1, min(self._most(), affordable))

    def _batches_at_once(self) -> int:
        """How many of them the network has at one time: while one ends, part of it would have nothing to do."""
        own: int = getattr(self._predictor, "batches_at_once", 1)
        return own if self._options.regions is None else 1

    def _most(self) -> int:
        """How many of them at most."""
        own: int = getattr(self._predictor, "batch_size", BATCH_SIZE)
        return self._options.batch_size or own

    def _ahead(self) -> int:
        """How many files are read before they are asked for."""
        return 2 * self._most()

    def _window(self) -> int:
        """How many photographs wait for the network at one time; at first few, so that it begins soon."""
        return 2 * (self._batch_size() if self._options.regions is None else self._most())

    def _outcomes(
        self, batch: list[Decoded], describing: "Future[list[Regions]] | None"
    ) -> "Sequence[Regions | Exception] | None":
        """The regions of each photograph of a batch, or why the network fails on it; None: the build was stopped.

        describing: the network at work on the batch, unless regions are given.

        One photograph must not cost its neighbours, nor end a run of days: a batch that fails is tried again one by
        one. If every photograph of it fails, it is not the photographs' fault.
        """
        if self._options.regions is not None:
            return self._given_outcomes(batch, self._options.regions)
        assert describing is not None
        found = self._found(batch, describing)
        if found is None or self._options.given_before is None:
            return found
        outcomes: list[Regions | Exception] = []
        for (content, photograph), outcome in zip(batch, found, strict=True):
            boxes = self._options.given_before.of(content.path, content.digest)
            kept = None if boxes is None else self._describe_given(photograph, boxes)
            if boxes is not None and kept is None:
                return None
            outcomes.append(outcome if kept is None or isinstance(kept, RegionsError) else kept)
        return outcomes

    def _found(
        self, batch: list[Decoded], describing: "Future[list[Regions]]"
    ) -> "Sequence[Regions | Exception] | None":
        """What the network finds in each photograph, or why it fails on it; None: the build was stopped."""
        try:
            described = self._described(describing)
            if described is None:
                return None
            return [_in_photograph(photo, regions) for (_, photo), regions in zip(batch, described, strict=True)]
        except (FclnError, ClusterError):  # no weights, no GPU: has a sentence of its own
            raise
        except Exception as error:
            first = error
        outcomes: list[Regions | Exception] = []
        for _, photo in batch:
            try:
                described = self._described(self._start([photo.image]))
            except Exception as error:
                outcomes.append(error)
            else:
                if described is None:
                    return None
                outcomes.append(_in_photograph(photo, described[0]))
        self._require_one(batch, outcomes, first)
        return outcomes

    def _require_one(self, batch: list[Decoded], outcomes: "Sequence[Regions | Exception]", first: Exception) -> None:
        """Raise DescribeError if all of a batch failed."""
        all_failed = all(isinstance(outcome, Exception) for outcome in outcomes)
        if all_failed and (len(batch) > 1 or not self.report.described):
            self._pending.commit()
            path = printable(batch[0][0].path)
            raise DescribeError(f"the network fails on every photograph of a batch, the first is {path}: {first}")

    def _given_outcomes(self, batch: list[Decoded], given: GivenRegions) -> "Sequence[Regions | Exception] | None":
        """What the network says of given boxes, with the phrases given; RegionsError where they do not fit."""
        outcomes: list[Regions | Exception] = []
        for content, photograph in batch:
            boxes = given.of(content.task.scope.root, content.task.file.path)
            assert boxes is not None, "a task without regions"
            outcome = self._describe_given(photograph, boxes)
            if outcome is None:
                return None
            outcomes.append(outcome)
        failures = [o for o in outcomes if isinstance(o, Exception) and not isinstance(o, RegionsError)]
        if failures:
            self._require_one(batch, outcomes, failures[0])
        return outcomes

    def _describe_given(self, photograph: Photograph, boxes: GivenBoxes) -> "Regions | Exception | None":
        """What the network says of given boxes, or why it does not; None: the build was stopped."""
        try:
            full, phrases = boxes.fitted(photograph.width, photograph.height)
            inside = photograph.image_boxes(full)
            describing = self._network.submit(self._predictor.describe_boxes, photograph.image, inside)
            if not done(describing, self._stop, grace=_LAST_BATCH_SECONDS):
                return None
            regions = describing.result()
            kept = [phrase or own for phrase, own in zip(phrases, regions.phrases, strict=True)]
            # Given boxes are of the photograph already, and stay as they were given.
            return replace(regions, boxes=full, phrases=kept)
        except (FclnError, ClusterError):  # no weights, no GPU: has a sentence of its own
            raise
        except Exception as error:
            return error

    def _start(self, images: "list[Image.Image]") -> "Future[list[Regions]]":
        """The network describes images, while this thread goes on."""

        def describe() -> "list[Regions]":
            started = time.monotonic()
            found = self._predictor.describe(images, max_regions=self._options.max_regions)
            self._note_time(started, time.monotonic(), len(images))
            return found

        return self._network.submit(describe)

    def _note_time(self, started: float, ended: float, count: int) -> None:
        """What a photograph took in the last batch, or in the last two where they were in the network together."""
        with self._timing:
            began, other_ended, others = self._last_batch
            self._last_batch = started, ended, count
            if other_ended > started:
                started, count = min(started, began), count + others
            # Clocks may stand still for 16 ms.
            self._photo_seconds = max(ended - started, 1e-6) / count

    def _described(self, describing: "Future[list[Regions]]") -> "list[Regions] | None":
        """The regions of each image; None: the build was stopped, and the network takes too long."""
        return describing.result() if done(describing, self._stop, grace=_LAST_BATCH_SECONDS) else None

    def _add(self, content: Content, photograph: Photograph, regions: "Regions") -> None:
        photo = NewPhoto(
            root_id=content.task.root_id,
            path=content.task.file.path,
            size=content.size,
            mtime_ns=content.mtime_ns,
            ctime_ns=content.ctime_ns,
            incomplete=photograph.incomplete,
            headers=PhotoHeaders(**asdict(photograph.headers)),
            digest=content.digest,
            width=photograph.width,
            height=photograph.height,
            boxes=regions.boxes,
            scores=regions.scores,
            phrases=regions.phrases,
            codes=regions.codes,
            embeddings=regions.embeddings,
        )
        self.report.described += 1
        self._pending.add(content, photo)
        for duplicate in self._triage.take_duplicates(content):
            self._pending.add_copy(duplicate, photo)


def _in_photograph(photograph: Photograph, regions: "Regions") -> "Regions":
    """Regions of an image, as those of the whole photograph."""
    return replace(regions, boxes=photograph.full_boxes(regions.boxes))


def record_roots(collection: Collection, plan: Plan) -> None:
    """Add the folders that a plan has found, and remember what was left out below each."""
    for scope in plan.new_scopes:
        scope.root_id = collection.add_root(scope.root)
    for scope in plan.walked_roots:
        if scope.root_id is not None:
            collection.set_left_out(scope.root_id, plan.left_out[scope.root])


def _only_given(plan: Plan, given: GivenRegions, progress: Progress) -> int:
    """Leave only the files that have given regions to be looked at; how many others there were, which are told."""
    tasks = plan.tasks
    plan.tasks = [task for task in tasks if given.of(task.scope.root, task.file.path) is not None]
    without = len(tasks) - len(plan.tasks)
    name = printable(given.file)
    if ambiguous := given.ambiguous:
        raise RegionsError(
            f"{name} has regions of {printable(ambiguous[0])}, which several photographs may be: give their absolute "
            "names in it, or build one of the folders only."
        )
    if without:
        progress.warn(f"{without:,} photographs are not in {name} and stay as they are")
    if unused := given.unused:
        others = f" and {len(unused) - 1:,} others" if len(unused) > 1 else ""
        progress.warn(f"{name} has regions of photographs that are not there: {printable(unused[0])}{others}")
    if given.without_box:
        progress.warn(f"{given.without_box:,} annotations of {name} have no box and are left out")
    return without
