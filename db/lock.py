"""One writer at a time: a lock that the system releases when its process ends, however it ends."""

import os
import sys
from datetime import datetime
from pathlib import Path

from db.errors import CollectionLocked

if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 1 << 30  # far behind the text: Windows forbids others to read a locked byte

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _release(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class WriterLock:
    """Holds `path` locked from construction to `release`.

    The file stays when the lock goes: its presence means nothing, so a process that was killed leaves no stale
    lock behind. Its text (process id and start time) serves only the message of the one who is refused.

    Raises:
        CollectionLocked: another process (or another Collection of this one) holds it.
    """

    def __init__(self, path: Path):
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(self._descriptor)
        except (BlockingIOError, PermissionError):  # the second is what Windows says
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            who = os.read(self._descriptor, 200).decode("utf-8", "replace").strip() or "another process"
            os.close(self._descriptor)
            raise CollectionLocked(
                f"the collection {path.parent} is being written by {who}: wait for it to end, or stop it"
            ) from None
        now = datetime.now().astimezone().isoformat(" ", "seconds")
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, f"process {os.getpid()}, started {now}\n".encode())

    def release(self) -> None:
        """Let the next writer in."""
        # Unlocked by name, not only closed: worker processes forked meanwhile hold copies of the descriptor.
        _release(self._descriptor)
        os.close(self._descriptor)
