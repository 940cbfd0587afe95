"""Which files below a folder are photographs. Opens none of them."""

import fnmatch
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from decoding.formats import HEIC_SUFFIXES, SUFFIXES, heic_supported

# What photo servers, NAS boxes and systems put between the photographs: thumbnails, waste bins, indexes. Lower case.
SYSTEM_FOLDERS = frozenset(
    {
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "__macosx",
        "lost+found",
        "node_modules",
        "system volume information",
    }
)


class PhotoFile(NamedTuple):
    """A file that by its name holds a photograph."""

    path: str  # relative to the root, "/" between the parts, undecodable bytes as lone surrogates (os.fsdecode)
    size: int  # bytes
    mtime_ns: int


class Exclusion:
    """What a user wants left out, as patterns: `*` stands for anything, `?` for one character, `[a-z]` for one of some.

    A pattern without "/" is compared with the names of files and folders, one with "/" with the end of their paths, an
    absolute one with the whole path. What lies below an excluded folder is excluded. Upper and lower case are
    different, except on Windows.
    """

    def __init__(self, patterns: Sequence[str], root: Path):
        """root: the directory that the paths to ask about are relative to."""
        names, paths = [], []
        for pattern in (pattern.replace(os.sep, "/").rstrip("/") for pattern in patterns):
            if os.path.isabs(pattern):
                real = os.path.realpath(pattern).replace(os.sep, "/")  # roots are kept with their links resolved
                paths += [fnmatch.translate(pattern), fnmatch.translate(real)]
            elif "/" in pattern:
                paths.append("(?s:.*/)" + fnmatch.translate(pattern))
            elif pattern:
                names.append(fnmatch.translate(pattern))
        case = re.IGNORECASE if os.name == "nt" else 0
        self._names = re.compile("|".join(names), case) if names else None
        self._paths = re.compile("|".join(paths), case) if paths else None
        self._root = root.as_posix()

    def covers(self, relative: str, name: str) -> bool:
        """Whether a pattern names this file or folder; those above it were asked about before."""
        if self._names and self._names.match(name):
            return True
        return bool(self._paths and self._paths.match(f"{self._root}/{relative}"))


class Walk:
    """Iterating finds the photographs below a folder, in a stable order, each real directory once.

    Hidden files and folders, `SYSTEM_FOLDERS` and what is excluded are left out. Links to directories are followed
    unless they lead into a root (what lies there is indexed where it lies) or back up to a folder above, so loops end.

    Args:
        root: the directory that paths are relative to.
        below: walk only this folder of the root, relative with "/"; "" is the whole root.
        other_roots: directories with photographs of their own, left out wherever they are met.
        exclude: patterns, see `Exclusion`. The folder that the walk begins with is never left out.

    Attributes, complete once the iteration is:
        unreadable: (relative path, reason) of directories and links that could not be looked into; "" is the root.
        without_decoder: relative paths of HEIC files, when there is no decoder for them.
    """

    def __init__(self, root: Path, below: str = "", *, other_roots: Collection[Path] = (), exclude: Sequence[str] = ()):
        self.root = root
        self.below = below
        self.other_roots = other_roots
        self._exclusion = Exclusion(exclude, root) if exclude else None
        self.unreadable: list[tuple[str, str]] = []
        self.without_decoder: list[str] = []

    def __iter__(self) -> Iterator[PhotoFile]:
        seen = set()
        for outside in (*self.root.parents, *self.other_roots):
            with suppress(OSError):
                seen.add(_identity(outside))
        pending = [self.below]
        excluded = self._exclusion.covers if self._exclusion else None
        while pending:
            folder = pending.pop()
            path = os.path.join(self.root, folder)
            try:
                identity = _identity(path)
                if identity in seen:
                    continue
                seen.add(identity)
                with os.scandir(path) as entries:
                    listing = sorted(entries, key=attrgetter("name"))
            except OSError as error:
                self.unreadable.append((folder, error.strerror or str(error)))
                continue
            subfolders = []
            before = f"{folder}/" if folder else ""
            for entry in listing:
                name = entry.name
                if name.startswith("."):
                    continue
                relative = before + name
                if excluded and excluded(relative, name):
                    continue
                suffix = name[name.rfind(".") :].lower()  # no dot: the last letter, which is no suffix
                try:
                    if suffix in SUFFIXES and entry.is_file():  # first: most of all entries
                        stat = entry.stat()
                        yield PhotoFile(relative, stat.st_size, stat.st_mtime_ns)
                    elif entry.is_dir():
                        leads_back = entry.is_symlink() and self._leads_into_a_root(entry.path)
                        if not leads_back and name.lower() not in SYSTEM_FOLDERS:
                            subfolders.append(relative)
                    elif entry.is_file():
                        if suffix in HEIC_SUFFIXES and self._can_decode_heic(relative):
                            stat = entry.stat()
                            yield PhotoFile(relative, stat.st_size, stat.st_mtime_ns)
                    elif entry.is_symlink() and not os.path.exists(entry.path):
                        self.unreadable.append((relative, "broken link"))
                except OSError as error:
                    self.unreadable.append((relative, error.strerror or str(error)))
            pending.extend(reversed(subfolders))

    def _can_decode_heic(self, relative: str) -> bool:
        if not heic_supported():
            self.without_decoder.append(relative)
        return heic_supported()

    def _leads_into_a_root(self, link: str) -> bool:
        target = Path(os.path.realpath(link))
        return any(target.is_relative_to(root) for root in (self.root, *self.other_roots))


def _identity(path: str | Path) -> tuple[int, int]:
    """(device, inode) of a directory. Raises OSError where there is none."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
