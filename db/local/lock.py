"""Locks between processes. The system releases them when their holder ends, however it ends: no lock is ever stale.

Not portalocker: its import takes 50 ms of every query; on Windows it needs pywin32 for shared locks and locks the whole
file, so that the one who is refused could not read who holds it.
"""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from db.errors import CollectionLocked

REFUSED = (BlockingIOError, PermissionError)  # the second is what Windows says
WRITE_PROTECTED = (errno.EROFS, errno.EACCES, errno.EPERM)
_TRIES, _BETWEEN_TRIES = 100, 0.01  # seconds

if sys.platform == "win32":
    import msvcrt
    import random

    # Windows locks bytes, for one holder each, and forbids others to read them: bytes far behind any text.
    _FIRST, _COUNT = 1 << 29, 1 << 20

    def _lock(descriptor: int, mode: int, first: int, count: int) -> None:
        os.lseek(descriptor, first, os.SEEK_SET)
        msvcrt.locking(descriptor, mode, count)

    def _take(descriptor: int) -> None:
        _lock(descriptor, msvcrt.LK_NBLCK, _FIRST, _COUNT)

    def _share(descriptor: int) -> None:
        # One byte of many stands for a share of all; LK_LOCK waits while someone has them all.
        _lock(descriptor, msvcrt.LK_LOCK, _FIRST + random.randrange(_COUNT), 1)

    def _release(descriptor: int) -> None:
        _lock(descriptor, msvcrt.LK_UNLCK, _FIRST, _COUNT)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _share(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_SH)

    def _release(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class WriterLock:
    """One writer at a time: `path` is locked from construction to `release`.

    The file stays when the lock goes; its presence means nothing. Its text (process id and start time) serves only the
    message for the one who is refused.

    Raises:
        CollectionLocked: another process (or another Collection of this one) holds it.
    """

    def __init__(self, path: Path):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(path)
        except BaseException:
            os.close(self._descriptor)
            raise
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        # Without a place for it on a full disk the lock holds all the same.
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            os.write(self._descriptor, f"process {os.getpid()}, started {now}\n".encode())

    def _acquire(self, path: Path) -> None:
        holder = ""
        for _ in range(_TRIES):
            try:
                return _take(self._descriptor)
            except REFUSED:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                if holder := os.read(self._descriptor, 200).decode("utf-8", "replace").strip():
                    break
                time.sleep(_BETWEEN_TRIES)  # the holder has only just taken it, or is just letting go of it
        raise CollectionLocked(
            f"The collection {path.parent} is being written by {holder or 'another process'}: "
            "wait for it to end, or stop it."
        )

    def release(self) -> None:
        """Let the next writer in."""
        os.ftruncate(self._descriptor, 0)
        # Unlocked by name, not only closed: worker processes forked meanwhile hold copies of the descriptor.
        _release(self._descriptor)
        os.close(self._descriptor)


class ReaderLock:
    """A share of `path`, from construction to `release`: no writer gets `without_readers`, so no file is deleted.

    Where the file can be neither read nor made, the folder is write-protected: no file is deleted there.
    """

    def __init__(self, path: Path):
        self._descriptor: int | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | (0 if path.exists() else os.O_CREAT), 0o644)
        except OSError as error:
            if error.errno not in WRITE_PROTECTED:
                raise
            return
        _share(self._descriptor)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


@contextmanager
def without_readers(path: Path) -> Iterator[bool]:
    """Whether there is no ReaderLock of `path`; if so, there will be none before the end of the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(descriptor)
    except REFUSED:
        yield False
    else:
        yield True
        _release(descriptor)
    finally:
        os.close(descriptor)
