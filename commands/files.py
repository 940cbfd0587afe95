"""Files that a command writes: as a whole or not at all, under names that file systems have room for."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME_BYTES = 255


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Where to write what takes the place of `target` if all goes well, and leaves it as it was if not.

    A link stays one: what it leads to is replaced. Who may read and write the file stays as it is, too.
    """
    target = Path(os.path.realpath(target))
    part = part_beside(target)
    try:
        yield part
        keep_mode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def keep_mode(target: Path, part: Path) -> None:
    """Let who may read and write what takes the place of a file be the same."""
    with suppress(FileNotFoundError):
        shutil.copymode(target, part)


def part_beside(target: Path) -> Path:
    """A file in the folder of `target`, for this process to begin it in."""
    return target.with_name(fitting_name(f".{target.name}", f".{os.getpid()}.part"))


def fitting_name(stem: str, end: str) -> str:
    """A file's name, with a stem as long as file systems have room for."""
    while stem and len(os.fsencode(stem + end)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + end
