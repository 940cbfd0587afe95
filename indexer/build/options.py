"""What a build may be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from db.task_queue import LEASE_SECONDS

if TYPE_CHECKING:
    from indexer.build.given_regions import GivenBefore, GivenRegions

BATCH_SIZE = 16  # photographs described in one call, where neither the options nor the network say otherwise


@dataclass(frozen=True)
class BuildOptions:
    """How a build works and what it looks at."""

    max_regions: int = 50  # kept of a photograph
    batch_size: int | None = None  # photographs described in one call; None: as the network has it, see Describer
    threads: int | None = None  # photographs read or decoded at one time; None: one a processor, at most 8
    exclude: Sequence[str] = ()  # files and folders to take for absent, see `indexer.scan.walk.Exclusion`
    retry: bool = False  # try again the files that failed before
    prune: bool = False  # remove what is not there even if its whole root is missing, unreadable or empty
    # A commit costs an fsync or three, and whatever is not committed is lost with the power.
    commit_seconds: float = 5.0
    # On a server: others take over what this build has claimed, once it has been silent for so long.
    lease_seconds: float = LEASE_SECONDS
    # Boxes to describe in the place of those that the network finds; photographs that it lacks stay as they are.
    regions: "GivenRegions | None" = None
    # Boxes that photographs keep, in the place of those that the network finds.
    given_before: "GivenBefore | None" = None
