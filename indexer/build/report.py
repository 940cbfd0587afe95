"""What a build did, in counts."""

from collections import Counter
from dataclasses import dataclass, field, fields


@dataclass
class BuildReport:
    """Every file that was found is in exactly one of the first eight counts but `gone`."""

    new: int = 0
    changed: int = 0
    moved: int = 0
    gone: int = 0
    unchanged: int = 0
    failed: int = 0  # in this run
    failed_before: int = 0  # and not tried again
    without_regions: int = 0  # new or changed, and left as they are: the file of given regions lacks them
    given_lost: int = 0  # changed, had regions that were given, and have those that the network finds
    described: int = 0  # photographs that went through the network; copies of known content do not
    regions: int = 0  # found in them
    incomplete: int = 0  # described, though a part of the picture is missing
    left_out: dict[str, int] = field(default_factory=dict)  # files that cannot be described, by kind
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def nothing_but_failures(self) -> bool:
        """Whether every file that was found, and was to be described, failed, in this run or before."""
        failed = self.failed + self.failed_before
        return failed > 0 and not (self.new or self.changed or self.moved or self.unchanged)

    @property
    def counts(self) -> dict[str, int]:
        """The counts that a collection remembers of its last build."""
        names = ("new", "changed", "moved", "gone", "unchanged", "failed", "failed_before")
        return {name: getattr(self, name) for name in names}

    def include(self, other: "BuildReport") -> None:
        """Add what another run did."""
        for each in fields(self):
            if each.type is int:
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        self.left_out = dict(Counter(self.left_out) + Counter(other.left_out))
