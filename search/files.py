"""Opening a file that somebody named, and naming one after it."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_NAME_BYTES = 255


def open_file(path: Path) -> BufferedReader:
    """A file to read. Raises OSError; also for a pipe and a device, which might never end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says that it is one
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    return open(path, "rb")


def fitting_name(stem: str, end: str) -> str:
    """A file's name, with a stem as long as file systems have room for."""
    while stem and len(os.fsencode(stem + end)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + end
