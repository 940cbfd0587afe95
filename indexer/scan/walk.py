"""Which files below a folder are photographs, by their names. Opens none of those that can be decoded."""

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from decoding.formats import EXTRAS, Extra, left_out_kind, photo_suffixes
from decoding.ifd import read_header
from decoding.signatures import HEAD, TIFF, photo_format
from decoding.tiff_pages import is_raw
from indexer.scan.foreign_folders import (
    OF_THE_KERNEL,
    is_foreign,
    is_library,
    is_made_by_immich,
    is_of_owner,
    is_wish,
    may_be_wish,
)

# Folders with a file that says so, among the kinds of what is left out.
NO_MEDIA = "folders that ask to be left out (.nomedia)"


class PhotoFile(NamedTuple):
    """A file that by its name holds a photograph."""

    path: str  # relative to the root, "/" between the parts, undecodable bytes as lone surrogates (os.fsdecode)
    size: int  # bytes
    mtime_ns: int
    ctime_ns: int  # changes with the content too where someone sets the modification time back


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

    def covers_path(self, relative: str) -> bool:
        """Whether a pattern names this file or a folder that it is in."""
        parts = relative.split("/")
        return any(self.covers("/".join(parts[:depth]), parts[depth - 1]) for depth in range(1, len(parts) + 1))


class Walk:
    """Iterating finds the photographs below a folder, in a stable order, each real directory once.

    Hidden files and folders, those of systems (`foreign_folders`) and what is excluded are left out. Links to
    directories are followed unless they lead into a root (what lies there is indexed where it lies) or back up to a
    folder above, so loops end.

    Args:
        root: the directory that paths are relative to.
        below: walk only this folder of the root, relative with "/"; "" is the whole root.
        other_roots: directories with photographs of their own, left out wherever they are met.
        exclude: patterns, see `Exclusion`. The folder that the walk begins with is never left out.

    Attributes, complete once the iteration is:
        unreadable: (relative path, reason) of what could not be looked into: directories, links, pipes; "" is the root.
        without_decoder: relative paths of photographs whose decoder is not installed, by the extra that has it.
        left_out: how many files there are of each kind that people look at but that cannot be described: those
            photographs, videos and others; and folders that ask to be left out.
        excluded: how many photographs and folders `exclude` covers; what lies in these folders is not counted.
        silent: relative paths of the folders that ask to be left out.
    """

    def __init__(self, root: Path, below: str = "", *, other_roots: Collection[Path] = (), exclude: Sequence[str] = ()):
        self.root = root
        self.below = below
        self.other_roots = other_roots
        self._exclusion = Exclusion(exclude, root) if exclude else None
        self.unreadable: list[tuple[str, str]] = []
        self.without_decoder: dict[Extra, list[str]] = {}
        self.left_out: Counter[str] = Counter()
        self.excluded = 0
        self.silent: list[str] = []

    def __iter__(self) -> Iterator[PhotoFile]:
        seen = set()
        of_the_kernel = OF_THE_KERNEL - {self.root / self.below}
        for outside in (*self.root.parents, *self.other_roots, *of_the_kernel):
            with suppress(OSError):
                seen.add(_identity(outside))
        pending = [self.below]
        excluded = self._exclusion.covers if self._exclusion else None
        suffixes = photo_suffixes()
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
            if folder != self.below and _asks_to_be_left_out(listing):
                self.left_out[NO_MEDIA] += 1
                self.silent.append(folder)
                continue
            folder_name = os.path.basename(path.rstrip(os.sep))
            if folder != self.below and is_made_by_immich(folder_name, (entry.name for entry in listing)):
                continue
            in_library = is_library(folder_name)
            subfolders = []
            before = f"{folder}/" if folder else ""
            for entry in listing:
                name = entry.name
                if name.startswith("."):
                    continue
                relative = before + name
                if excluded and excluded(relative, name):
                    self.excluded += name[name.rfind(".") :].lower() in suffixes or entry.is_dir()
                    continue
                suffix = name[name.rfind(".") :].lower()  # no dot: the last letter, which is no suffix
                try:
                    if suffix in suffixes and not in_library and entry.is_file():  # first: most of all entries
                        stat = entry.stat()
                        yield PhotoFile(relative, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                    elif entry.is_dir():
                        leads_back = entry.is_symlink() and self._leads_into_a_root(entry.path)
                        if not leads_back and (is_of_owner(folder_name, name) if in_library else not is_foreign(name)):
                            subfolders.append(relative)
                    elif entry.is_file():
                        if not in_library and self._is_photo_after_all(entry.path, relative, suffix):
                            stat = entry.stat()
                            yield PhotoFile(relative, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
                    elif entry.is_symlink() and not os.path.exists(entry.path):
                        self.unreadable.append((relative, "broken link"))
                    elif suffix in suffixes and not in_library:
                        self.unreadable.append((relative, "it is a pipe or a device"))
                except OSError as error:
                    self.unreadable.append((relative, error.strerror or str(error)))
            pending.extend(reversed(subfolders))

    def _is_photo_after_all(self, path: str, relative: str, suffix: str) -> bool:
        """Whether a file that cannot be decoded, by its name, can; if not, it is counted. Raises OSError.

        Telephones and messengers call JPEGs .heic, and programs call them .cr2.
        """
        kind = left_out_kind(suffix)
        if kind is None:
            return False
        extra = next((extra for extra in EXTRAS if suffix in extra.suffixes), None)
        if extra is not None and _can_be_decoded(path):
            return True
        if extra is not None:
            self.without_decoder.setdefault(extra, []).append(relative)
        self.left_out[kind] += 1
        return False

    def _leads_into_a_root(self, link: str) -> bool:
        target = Path(os.path.realpath(link))
        return any(target.is_relative_to(root) for root in (self.root, *self.other_roots))


def _can_be_decoded(path: str) -> bool:
    """Whether a file is, by its first bytes, a photograph that can be decoded here. Raises OSError."""
    with open(path, "rb") as file:
        found = photo_format(file.read(HEAD))
        if found == TIFF:  # as most camera raw is
            header = read_header(file)
            return header is not None and not is_raw(file, header)
    return found.installed() if isinstance(found, Extra) else found is not None


def _asks_to_be_left_out(listing: list[os.DirEntry[str]]) -> bool:
    """Whether a file in a folder is its owner's wish that galleries leave the folder out."""
    for entry in listing:
        if not entry.name.startswith("."):  # they are sorted, and only these can be
            if entry.name > ".":
                return False
        elif may_be_wish(entry.name):
            with suppress(OSError):
                if is_wish(entry.name, entry.stat().st_size):
                    return True
    return False


def _identity(path: str | Path) -> tuple[int, int]:
    """(device, inode) of a directory. Raises OSError where there is none."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino
