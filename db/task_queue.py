"""Files to look at, shared by all builds of one collection: one listing of the folders, and claims to its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from db.records import PhotoStat

LEASE_SECONDS = 60.0  # a claim of a build that has not been heard of for so long is taken over


class ListedFile(NamedTuple):
    """A file that a walk found new, changed or to be tried again."""

    root_id: int
    path: str  # relative to the root, '/' between folders
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int | None


class ClaimedFile(NamedTuple):
    """A listed file that this build is to look at."""

    file: ListedFile
    known: PhotoStat | None  # what the collection remembers under its path now


@dataclass(frozen=True)
class Listing:
    """One listing of some folders, which several builds work through."""

    id: int
    key: str  # the folders and options that it is for
    to_be_made: bool  # by this build


@dataclass(frozen=True)
class Finished:
    """A listing that is worked through."""

    gone: list[PhotoStat]  # photos and failed files that were missing in it, and are forgotten now
    counts: dict[str, int]  # of all its builds together
    builds: int
    seconds: float


class TaskQueue(Protocol):
    """One build's part in it."""

    def join(self, key: str) -> Listing:
        """Take part in the listing that builds are at work on, or else make one for these folders and options.

        One whose builds are all dead or gone is dropped, and this build makes another.
        """
        ...

    def offer(self, files: Sequence[ListedFile], missing: Sequence[int]) -> None:
        """The listing is made. missing: ids of what is remembered of files that were not met."""
        ...

    def is_open(self) -> bool:
        """Whether the listing is made, and not worked through yet."""
        ...

    def claim(self, count: int, root_ids: Sequence[int]) -> list[ClaimedFile]:
        """Up to so many files of these roots that nobody has claimed, or whose claims have run out."""
        ...

    def claim_content(self, digest: str) -> bool:
        """Whether this build is to describe a content: no other one is at it."""
        ...

    def postpone(self, file: ListedFile, seconds: float) -> None:
        """Give a claim back; nobody gets the file before so many seconds."""
        ...

    def take_missing(self, digest: str, *, failed: bool) -> int | None:
        """The id of what is remembered of a missing file of this content: described, or failed."""
        ...

    def commit(self, settled: Sequence[tuple[int, str]], counts: Mapping[str, int], **changes: Any) -> int:
        """`Collection.commit` of these changes, and the claims to these files (root id, path) are done with.

        counts: of this build so far. Returns how many of the files were taken over by others meanwhile: what was to be
        committed of them is left to those.
        """
        ...

    def remaining(self, root_ids: Sequence[int] | None = None) -> int:
        """Files that are not done with yet, of these roots or of all."""
        ...

    def builds(self) -> int:
        """How many builds share the work, this one among them until it leaves."""
        ...

    def finish(self) -> Finished | None:
        """Forget what is missing and end the listing, if all its files are done with; None: they are not, or another
        build has ended it.
        """
        ...

    def leave(self) -> None:
        """Give all claims back."""
        ...
