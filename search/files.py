"""Files that somebody named: opened, written as a whole, and others named after them."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

_NAME_BYTES = 255


def open_file(path: Path) -> BufferedReader:
    """A file to read. Raises OSError; also for a pipe and a device, which might never end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says that it is one
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    return open(path, "rb")


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Where to write what takes the place of `target` if all goes well, and leaves it as it was if not."""
    part = part_beside(target)
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def part_beside(target: Path) -> Path:
    """A file in the folder of `target`, for this process to begin it in; its name is short, however long the other."""
    return target.with_name(f".{os.getpid()}.part")


def fitting_name(stem: str, end: str) -> str:
    """A file's name, with a stem as long as file systems have room for."""
    while stem and len(os.fsencode(stem + end)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + end
