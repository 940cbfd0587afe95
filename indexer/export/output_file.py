"""A file that appears under its name once it is whole."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from commands.files import keep_mode, part_beside
from commands.text import printable
from indexer.errors import ExportError


class OutputFile:
    """Write bytes into a file beside the target, which takes its place at the end; on any error, nothing is there.

    A target that exists is replaced. Raises ExportError if the folder is missing or the disk refuses.
    """

    def __init__(self, target: Path):
        self._target = Path(os.path.realpath(target))  # a link stays one: what it leads to is replaced
        self._part = part_beside(self._target)
        try:
            self.file = open(self._part, "xb")  # noqa: SIM115  # closed by __exit__
            keep_mode(self._target, self._part)
        except OSError as error:
            raise _cannot(target, error) from error

    @property
    def is_empty(self) -> bool:
        return self.file.tell() == 0

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            raise _cannot(self._target, error) from error

    def sync(self) -> None:
        """Have all that was written on the disk. Raises ExportError if it has no room."""
        try:
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise _cannot(self._target, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.sync()
            self.file.close()
            if kind is None:
                self._part.replace(self._target)
            elif isinstance(error, OSError):
                raise error
        except OSError as failed:
            raise _cannot(self._target, failed) from failed
        finally:
            self._part.unlink(missing_ok=True)


def _cannot(target: Path, error: OSError) -> ExportError:
    if not target.parent.is_dir():
        return ExportError(f"The export cannot be written: there is no folder {printable(target.parent)}.")
    return ExportError(f"The export cannot be written to {printable(target)}: {error.strerror or error}.")
