"""Many builds of one collection, on any number of machines: one lists the folders, all work through the list.

A build that comes later joins in; one that dies leaves its claims to the others. Whoever settles the last file forgets
what is gone and records the build of all.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from commands.text import printable
from db.collection import Collection
from db.errors import CollectionError
from db.location import roots_here
from db.task_queue import TaskQueue
from indexer.build.build import Describer, Run, executors, record_roots
from indexer.build.options import BATCH_SIZE, BuildOptions
from indexer.build.report import BuildReport
from indexer.build.triage import listed
from indexer.progress import Progress
from indexer.scan.plan import Plan, Scope, Task, find_changes, find_scopes
from indexer.scan.walk import PhotoFile

_WAIT_SECONDS = 0.3  # between two looks at what others are doing
_COUNT_SECONDS = 2.0  # between two looks at how many files are left


def build_together(
    collection: Collection,
    queue: TaskQueue,
    folders: Sequence[Path],
    predictor: Describer,
    options: BuildOptions,
    *,
    progress: Progress,
    stop: Callable[[], bool],
) -> BuildReport:
    """`indexer.build.build.build` of a collection that has many writers. The report is of this build's own share."""
    started = time.monotonic()
    for root in collection.roots().values():
        if not root.is_dir():
            progress.warn(
                f"{printable(root)} is not there: --root-as {printable(root.name)}=FOLDER says where it is on this "
                "computer, `indexer relocate` where it is now for all"
            )
    shared = _SharedProgress(progress)
    report = BuildReport()
    try:
        with executors(options) as (pool, network, decoders):
            while True:
                key = _key(collection, folders, options)
                listing = queue.join(key)
                plan = Plan()
                if listing.to_be_made:
                    plan = _make_listing(collection, queue, folders, options, shared, stop)
                elif not queue.is_open() and not stop():  # another build is listing
                    time.sleep(_WAIT_SECONDS)
                    continue
                run = Run(collection, plan, predictor, network, decoders, options, shared, stop, queue)
                _work(run, collection, queue, pool, options, shared, stop)
                report.include(run.report)
                if stop() or listing.key == key:
                    break
    finally:
        with suppress(CollectionError):  # there is another one already, and claims run out
            queue.leave()
    report.interrupted = stop()
    report.seconds = time.monotonic() - started
    return report


def _make_listing(
    collection: Collection,
    queue: TaskQueue,
    folders: Sequence[Path],
    options: BuildOptions,
    progress: Progress,
    stop: Callable[[], bool],
) -> Plan:
    """Walk the folders, for all builds. What is left in the plan is for this one."""
    plan = find_changes(
        collection,
        folders,
        exclude=options.exclude,
        retry=options.retry,
        prune=options.prune,
        progress=progress,
        stop=stop,
    )
    if stop():
        return Plan()
    record_roots(collection, plan)
    queue.offer([listed(task) for task in plan.tasks], [stat.photo_id for stat in plan.missing])
    plan.tasks, plan.missing, plan.out_of_reach = [], [], []
    return plan


def _work(
    run: Run,
    collection: Collection,
    queue: TaskQueue,
    pool: ThreadPoolExecutor,
    options: BuildOptions,
    progress: "_SharedProgress",
    stop: Callable[[], bool],
) -> None:
    """Work through the listing, until it is done with or asked to stop."""
    scopes = {root_id: Scope(root, "", root_id) for root_id, root in collection.roots().items() if root.is_dir()}
    run.note_unnoted()
    progress.begin(queue.remaining())
    while not stop():
        run.work(pool, _claimed(queue, scopes, options, progress))
        run.commit()
        left_here = queue.remaining(list(scopes))
        progress.left(queue.remaining())  # afterwards: others may have committed the last one between the two
        if not left_here:
            break
        time.sleep(_WAIT_SECONDS)  # what others have claimed they settle, or leave to us
    run.commit()
    if stop():
        return
    finished = queue.finish()
    if finished is None and (elsewhere := queue.remaining()):
        progress.warn(f"{elsewhere:,} files are in folders that are not on this computer: a build there describes them")
    if finished is not None:
        run.tell_gone(finished.gone)
        collection.record_build(finished.counts, seconds=finished.seconds)
        if finished.builds > 1:
            told = ", ".join(f"{count:,} {name}" for name, count in finished.counts.items() if count)
            progress.say(f"{finished.builds} builds together: {told}")
    run.read_headers(pool)


def _claimed(
    queue: TaskQueue, scopes: dict[int, Scope], options: BuildOptions, progress: "_SharedProgress"
) -> Iterator[Task]:
    """Files to look at, claimed as they are asked for, until there is none that nobody has claimed."""
    counted = time.monotonic()
    while claimed := queue.claim(options.batch_size or BATCH_SIZE, list(scopes)):
        for (root_id, path, size, mtime_ns, ctime_ns), known in claimed:
            yield Task(scopes[root_id], PhotoFile(path, size, mtime_ns, ctime_ns or 0), known)
        if time.monotonic() - counted > _COUNT_SECONDS:
            progress.left(queue.remaining())
            counted = time.monotonic()


def _key(collection: Collection, folders: Sequence[Path], options: BuildOptions) -> str:
    """What builds have to have in common to share a listing: the folders, and what is looked at."""
    names = {place: name for name, place in roots_here().items()}
    scopes = find_scopes(folders, collection.roots())
    places = sorted([names.get(scope.root, str(scope.root)), scope.below] for scope in scopes)
    return json.dumps([places, sorted(options.exclude), options.retry, options.prune])


class _SharedProgress(Progress):
    """How far all builds are, in the line of this one."""

    def __init__(self, inner: Progress):
        self._inner = inner
        self._total = 0
        self._shown = 0

    def begin(self, total: int) -> None:
        """So many files are to be looked at, by all."""
        self._total, self._shown = total, 0
        self._inner.start(total)

    def left(self, files: int) -> None:
        """So many files are not committed yet, by anybody."""
        done = self._total - files
        if done > self._shown:
            self._inner.advance(done - self._shown)
            self._shown = done

    def looking(self, found: int) -> None:
        self._inner.looking(found)

    def start(self, total: int, doing: str = "Describing") -> None:
        self._inner.start(total, doing)

    def advance(self, files: int = 1, regions: int = 0) -> None:
        self._shown += files
        self._inner.advance(files, regions)

    def failed(self, path: Path, reason: str) -> None:
        self._inner.failed(path, reason)

    def incomplete(self, path: Path, reason: str) -> None:
        self._inner.incomplete(path, reason)

    def warn(self, message: str) -> None:
        self._inner.warn(message)

    def say(self, line: str) -> None:
        self._inner.say(line)
