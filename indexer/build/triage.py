"""Files by their content: what need not be described, because it is known, was moved, is a duplicate or failed."""

import posixpath
from collections.abc import Iterable, Iterator

import numpy as np

from db.collection import Collection
from db.records import NewPhoto, PhotoStat
from db.task_queue import ListedFile, TaskQueue
from decoding.formats import can_be_decoded_now
from indexer.build.content import Content
from indexer.build.given_regions import GivenRegions
from indexer.build.pending import Pending
from indexer.build.report import BuildReport
from indexer.errors import RegionsError
from indexer.scan.plan import Plan, Task

# Boxes that differ by less are the same, pixels: they were rounded on their way.
_SAME_BOX = 0.02
# How long a file waits whose content another build is describing.
_POSTPONED_SECONDS = 2.0


class Triage:
    """Settles the files whose content is known already, and lets through one file of each content that is not."""

    def __init__(
        self,
        collection: Collection,
        plan: Plan,
        pending: Pending,
        report: BuildReport,
        *,
        retry: bool,
        regions: GivenRegions | None = None,
        queue: TaskQueue | None = None,
    ):
        """retry: content that failed before is to be tried again. regions: what each file is to be described by, then
        it is not enough that another file's content is known. queue: knows what else is missing, and which contents
        other builds are at."""
        self._queue = queue
        self._regions = regions
        self._collection = collection
        self._pending = pending
        self._report = report
        self._retry = retry
        self._missing = {stat.photo_id: stat for stat in plan.missing}
        self._missing_photos: dict[str, list[PhotoStat]] = {}  # by digest
        self._missing_failures: dict[str, list[PhotoStat]] = {}  # the same of files that failed
        for stat in (*plan.missing, *plan.out_of_reach):
            if stat.digest is not None and not stat.failed:
                self._missing_photos.setdefault(stat.digest, []).append(stat)
            elif stat.digest is not None and stat.size >= 0 and not retry:
                self._missing_failures.setdefault(stat.digest, []).append(stat)
        # Digest of a content that was let through -> other files with it, which get what comes of the first.
        self._duplicates: dict[str, list[Content]] = {}

    @property
    def missing(self) -> list[PhotoStat]:
        """What is remembered of files that are gone. Until the last file is read, any may turn out to have moved."""
        return list(self._missing.values())

    def unknown(self, outcomes: Iterable[tuple[Task, Content | OSError]]) -> Iterator[Content]:
        """The files whose content nothing is known of, each content once. `take_duplicates` follows for each."""
        for task, content in outcomes:
            if isinstance(content, OSError):
                self._pending.skip(task, content)
            elif not self._settle(content):
                self._duplicates[content.digest] = []
                self._count_given(content.task.known)
                yield content
            self._pending.commit_if_due()

    def _count_given(self, known: PhotoStat | None) -> None:
        """Note that a photograph loses regions that were given."""
        if self._regions is None and known is not None and not known.failed:
            self._report.given_lost += len(self._collection.photos_with_given_regions([known.photo_id]))

    def next_duplicate(self, content: Content) -> Content | None:
        """Another file of the same content, in the place of one that cannot be read any more."""
        others = self._duplicates.get(content.digest)
        return others.pop() if others else None

    def take_duplicates(self, content: Content) -> list[Content]:
        """The other files of a content whose fate is known now."""
        return self._duplicates.pop(content.digest, [])

    def _settle(self, content: Content) -> bool:
        """Whether what is to be done with a file follows from its content alone; if so, it is done."""
        known, digest = content.task.known, content.digest
        if self._regions is not None:
            return self._settle_given(content, self._regions)
        if known and not known.failed and known.digest == digest:
            self._report.unchanged += 1
            self._pending.touch(known.photo_id, content)
        elif (photo_id := self._take_missing(content, self._missing_photos, failed=False)) is not None:
            self._report.moved += 1
            self._move(photo_id, content)
        elif digest in self._duplicates:
            self._duplicates[digest].append(content)
        elif photo := self._pending.find(digest):
            self._pending.add_copy(content, photo)
        elif (photo_id := self._collection.find_digest(digest)) is not None:
            self._pending.add(content, self._load(photo_id, content))
        elif known and self._failed_before(known, content):
            self._report.failed_before += 1
            self._pending.touch(known.photo_id, content)
        elif (photo_id := self._take_missing(content, self._missing_failures, failed=True)) is not None:
            self._report.failed_before += 1
            self._move(photo_id, content)
        else:
            return self._queue is not None and self._settle_shared(content, self._queue)
        return True

    def _settle_shared(self, content: Content, queue: TaskQueue) -> bool:
        """Whether another build describes a content, or has just done so."""
        if not queue.claim_content(content.digest):
            # By then it is known, or its build is dead.
            queue.postpone(listed(content.task), _POSTPONED_SECONDS)
        elif (photo_id := self._collection.find_digest(content.digest)) is not None:
            self._pending.add(content, self._load(photo_id, content))
        else:
            return False
        return True

    def _take_missing(self, content: Content, missing: dict[str, list[PhotoStat]], *, failed: bool) -> int | None:
        """The id of what is remembered of a missing file of this content, best of its name; nobody gets it again."""
        digest = content.digest
        if stats := missing.get(digest):
            name = posixpath.basename(content.task.file.path)
            stat = next((stat for stat in stats if posixpath.basename(stat.path) == name), stats[0])
            stats.remove(stat)
            return stat.photo_id
        if self._queue is None or (failed and self._retry):
            return None
        return self._queue.take_missing(digest, failed=failed)

    def _settle_given(self, content: Content, given: GivenRegions) -> bool:
        """Whether a file is described by its given regions already."""
        known, task = content.task.known, content.task
        boxes = given.of(task.scope.root, task.file.path)
        if known is None or known.failed or known.digest != content.digest or boxes is None:
            return False
        (photo,) = self._collection.photos([known.photo_id])
        (rows,) = self._collection.regions_of([known.photo_id])
        try:
            wanted, phrases = boxes.fitted(photo.width, photo.height)
        except RegionsError:  # told when it is to be described
            return False
        same = len(rows) == len(wanted) and all(
            np.allclose(row.box, box, atol=_SAME_BOX) and phrase in ("", row.phrase)
            for row, box, phrase in zip(rows, wanted, phrases, strict=True)
        )
        if same:
            self._report.unchanged += 1
            self._pending.touch(known.photo_id, content)
        return same

    def _failed_before(self, known: PhotoStat, content: Content) -> bool:
        """Whether a file is touched, but holds what failed: to try again takes another content, or `retry`."""
        same = known.failed and known.digest == content.digest and known.size == content.size
        return same and not self._retry and not can_be_decoded_now(known.reason or "")

    def _move(self, photo_id: int, content: Content) -> None:
        self._missing.pop(photo_id, None)  # it is not among them if its whole root is out of reach
        self._pending.move(photo_id, content)

    def _load(self, photo_id: int, content: Content) -> NewPhoto:
        """What the collection knows of a photograph, as the photograph in a file of the same content."""
        (photo,) = self._collection.photos([photo_id])
        features = self._collection.features([photo_id])
        regions = self._collection.regions(features.region_ids.tolist())
        return NewPhoto.of_known(content.place, photo, regions, features)


def listed(task: Task) -> ListedFile:
    """A file to look at, as builds that share it know it."""
    _, size, mtime_ns, ctime_ns = task.file
    return ListedFile(task.root_id, task.file.path, size, mtime_ns, ctime_ns)
