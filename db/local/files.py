"""Files that appear whole or not at all."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from db.local.layout import temporary


class HashedStream:
    """A binary file being written; knows the number and the sha256 of the bytes so far."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._stream.write(data)
        self._hash.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[HashedStream]:
    """Write a file under a temporary name; give it its name only once every byte of it is on the disk.

    After a crash at any moment `path` is absent, or what it was before, or complete. Readers that still have an
    older file of this name open or mapped keep it: writing it in place would kill them with SIGBUS.
    """
    unfinished = temporary(path)
    try:
        with open(unfinished, "wb") as stream:
            hashed = HashedStream(stream)
            yield hashed
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a failed write does not say of what
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut."""
    if os.name == "nt":  # Windows cannot open folders, and NTFS journals its names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_fault(path: Path, size: int, sha256: str | None) -> str | None:
    """How a file differs from what was written, to follow its name in a sentence; None: not at all.

    sha256: None to look at its size only.
    """
    if not path.exists():
        return "is missing"
    if (found := path.stat().st_size) != size:
        return f"is damaged ({found} bytes instead of {size})"
    if sha256 is not None and file_sha256(path) != sha256:
        return "is damaged (its content does not match its checksum)"
    return None
