"""What is in a file, known by its digest."""

from dataclasses import dataclass
from pathlib import Path

from db.records import NewPath
from indexer.scan.digest import content_digest
from indexer.scan.plan import Task

# Of a file that someone is writing: what is remembered of its content must not belong to two states of it.
CHANGING = OSError("it is being changed")


@dataclass(frozen=True)
class Content:
    """A file that was read once, and what it was like then."""

    task: Task
    digest: str  # SHA-256, hex
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int

    @property
    def path(self) -> Path:
        return self.task.full_path

    @property
    def place(self) -> NewPath:
        """Where it is, as a commit is told."""
        return NewPath(self.task.root_id, self.task.file.path, self.size, self.mtime_ns, self.ctime_ns)


def read(task: Task) -> Content | OSError:
    """The content of a file, or why it cannot be read now."""
    try:
        before = task.full_path.stat()
        digest = content_digest(task.full_path)
        after = task.full_path.stat()
    except OSError as error:
        return error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return CHANGING
    return Content(task, digest, after.st_size, after.st_mtime_ns, after.st_ctime_ns)
