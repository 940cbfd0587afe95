"""What a build tells the person who waits for it, on stderr."""

import sys
import time
from pathlib import Path

from tqdm import tqdm

from commands.text import counted, printable

_LINE_SECONDS = 30.0


class Progress:
    """Warnings and failed files only: what `--quiet` leaves. The two below also show how far the build is."""

    def looking(self, found: int) -> None:
        """The walk has found this many photographs so far."""

    def start(self, total: int, doing: str = "Describing") -> None:
        """The walk is over: `total` files are to be looked at more closely."""

    def advance(self, files: int = 1, regions: int = 0) -> None:
        """So many more files are done, with so many regions found in them."""

    def failed(self, path: Path, reason: str) -> None:
        """A file is left out."""
        self.say(f"{printable(path)}: {reason}")

    def incomplete(self, path: Path, reason: str) -> None:
        """A file is described as far as it is there."""
        self.say(f"{printable(path)}: {reason}; described as it is")

    def warn(self, message: str) -> None:
        """Something the person should know, which stops nothing."""
        self.say(f"Warning: {message}")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr)

    def close(self) -> None:
        """The build is over, however it ended."""


class Silence(Progress):
    """Nothing at all: for what was said before."""

    def say(self, line: str) -> None:
        pass


class LineProgress(Progress):
    """A line now and then: for log files and pipes."""

    def __init__(self, seconds: float = _LINE_SECONDS):
        """seconds: the time between two lines."""
        self._seconds = seconds
        self._total = self._files = self._regions = self._failed = 0
        self._started = self._said = 0.0

    def start(self, total: int, doing: str = "Describing") -> None:
        self._total = total
        self._started = self._said = time.monotonic()
        if total:
            self.say(f"{counted(total, 'file')} to look at")

    def advance(self, files: int = 1, regions: int = 0) -> None:
        self._files += files
        self._regions += regions
        now = time.monotonic()
        if now - self._said < self._seconds:
            return
        self._said = now
        rate = self._files / (now - self._started)
        left = tqdm.format_interval((self._total - self._files) / rate)
        done = f"{self._files:,} of {self._total:,} photographs, {rate:.1f}/s, "
        self.say(f"{done}{_counts(self._regions, self._failed)}{left} left")

    def failed(self, path: Path, reason: str) -> None:
        self._failed += 1
        super().failed(path, reason)


class BarProgress(Progress):
    """A bar that moves: for terminals."""

    def __init__(self) -> None:
        self._bar = tqdm(unit=" photographs", desc="Looking", file=sys.stderr, dynamic_ncols=True, leave=False)
        self._regions = self._failed = 0

    def looking(self, found: int) -> None:
        self._bar.update(found - self._bar.n)

    def start(self, total: int, doing: str = "Describing") -> None:
        self._bar.close()
        self._bar = tqdm(total=total, unit=" photographs", desc=doing, file=sys.stderr, dynamic_ncols=True)

    def advance(self, files: int = 1, regions: int = 0) -> None:
        self._regions += regions
        self._show_counts()
        self._bar.update(files)

    def failed(self, path: Path, reason: str) -> None:
        self._failed += 1
        self._show_counts()
        super().failed(path, reason)

    def say(self, line: str) -> None:
        self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()

    def _show_counts(self) -> None:
        self._bar.set_postfix_str(_counts(self._regions, self._failed).rstrip(", "), refresh=False)


def _counts(regions: int, errors: int) -> str:
    return (f"{counted(regions, 'region')}, " if regions else "") + (f"{counted(errors, 'error')}, " if errors else "")
