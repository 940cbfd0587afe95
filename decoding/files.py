"""Photographs in files that somebody named."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from decoding.photos import DECODE_SIDE, OpenedPhoto, Photograph


def open_file(path: Path) -> BufferedReader:
    """A file to read. Raises OSError; also for a pipe and a device, which might never end."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder the system says that it is one
        raise OSError(errno.EINVAL, "it is a pipe or a device")
    return open(path, "rb")


def decode_file(path: Path, side: int = DECODE_SIDE) -> Photograph:
    """The photograph in a file, as a build decodes it; `side` as in `OpenedPhoto.decode`.

    Raises:
        PhotoError: with the reason, if it cannot be decoded.
        OSError: it cannot be read, or is a pipe or a device.
    """
    with open_file(path) as file:
        return OpenedPhoto(file).decode(side)
