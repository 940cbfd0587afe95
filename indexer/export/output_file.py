"""A file that appears under its name once it is whole."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from commands.files import part_beside
from commands.text import printable
from indexer.errors import ExportError


class OutputFile:
    """Write bytes into a file beside the target, which takes its place at the end; on any error, nothing is there.

    A target that exists is replaced. Raises ExportError if the folder is missing or the disk refuses.
    """

    def __init__(self, target: Path):
        self._target = target
        self._part = part_beside(target)
        try:
            self.file = open(self._part, "xb")  # noqa: SIM115  # closed by __exit__
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.file.flush()
                os.fsync(self.file.fileno())
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
    return ExportError(f"The export cannot be written to {printable(target)}: {error.strerror or error}.")
