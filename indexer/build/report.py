"""What a build did, in counts."""

from dataclasses import dataclass


@dataclass
class BuildReport:
    """Every file that was found is in exactly one of the first six counts but `gone`."""

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
        """The counts that a collection remembers of its last build."""
        names = ("new", "changed", "moved", "gone", "unchanged", "failed", "failed_before")
        return {name: getattr(self, name) for name in names}
