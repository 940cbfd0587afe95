"""Opening a file that somebody named."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_file(path: Path) -> BinaryIO:
    """A file to read. Raises OSError; also for a pipe and a device, which might never end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says that it is one
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    return open(path, "rb")
