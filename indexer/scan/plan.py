"""What differs between folders on the disk and what a collection remembers of them. Opens no file."""

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from commands.text import counted, printable
from db.collection import Collection
from db.records import FileState, PhotoStat
from decoding.formats import FORMAT_NAMES, can_be_decoded_now
from indexer.errors import FolderError
from indexer.progress import Progress
from indexer.scan.walk import Exclusion, PhotoFile, Walk

_LOOKING_STEP = 1000


@dataclass
class Scope:
    """The part of a root that a build looks at."""

    root: Path
    below: str = ""  # relative to the root with "/"; "" is the whole root
    root_id: int | None = None  # None until the collection has the root

    @property
    def folder(self) -> Path:
        return self.root / self.below

    def contains(self, path: str) -> bool:
        """Whether a path relative to the root lies in this part."""
        return not self.below or path == self.below or path.startswith(self.below + "/")


class Task(NamedTuple):
    """A file that must be looked at more closely."""

    scope: Scope
    file: PhotoFile
    known: PhotoStat | None  # what is remembered under its path

    @property
    def full_path(self) -> Path:
        return self.scope.root / self.file.path

    @property
    def root_id(self) -> int:
        """Only once the roots of `new_scopes` are added to the collection: finding changes adds none."""
        assert self.scope.root_id is not None
        return self.scope.root_id


@dataclass
class Plan:
    """What a build has to do: the outcome of comparing the disk with a collection."""

    tasks: list[Task] = field(default_factory=list)  # new files, changed ones, failed ones to try again
    missing: list[PhotoStat] = field(default_factory=list)  # remembered, but not there any more
    unchanged: int = 0
    failed_before: int = 0  # remembered as failed, and not changed since
    # Unchanged, but remembered by a version that did not note all that is noted now: times, and what headers tell.
    unnoted: dict[int, FileState] = field(default_factory=dict)  # photo id -> what the file system says
    headers_unread: list[tuple[int, Path]] = field(default_factory=list)  # photo id, file
    # Described, in roots that are not there: what is found of them elsewhere has moved, the rest is not taken for gone.
    out_of_reach: list[PhotoStat] = field(default_factory=list)
    described_in_missing_roots: dict[int, int] = field(default_factory=dict)  # root id -> how many photographs
    excluded: set[int] = field(default_factory=set)  # of `missing`, the photographs that an exclusion covers
    silenced: set[int] = field(default_factory=set)  # and those in folders that ask to be left out
    left_out: dict[Path, Counter[str]] = field(default_factory=dict)  # root walked -> what cannot be described, by kind
    walked_roots: list[Scope] = field(default_factory=list)  # those that were walked as a whole
    # Whether a file, given its root and its path in it, is a task even if it did not change; None: no file is.
    again: Callable[[Path, str], bool] | None = None

    @property
    def new_scopes(self) -> list[Scope]:
        """Those with files to look at whose roots are not in the collection yet."""
        return list({task.scope.root: task.scope for task in self.tasks if task.scope.root_id is None}.values())

    def add(self, scope: Scope, file: PhotoFile, known: PhotoStat | None, retry: bool) -> None:
        """Note a file that was found, and what is remembered under its path."""
        # For most files of most builds this is all that happens: attributes once, no calls.
        _, size, mtime_ns, ctime_ns = file
        if known is None:
            self.tasks.append(Task(scope, file, known))
            return
        if self.again is not None and self.again(scope.root, file.path):
            self.tasks.append(Task(scope, file, known))
            return
        changed = known.size != size or known.mtime_ns != mtime_ns
        # There are tools that give a file back the modification time that it had.
        if changed or (known.ctime_ns != ctime_ns and known.ctime_ns is not None):
            self.tasks.append(Task(scope, file, known))
        elif known.reason is None:
            self.unchanged += 1
            if known.ctime_ns is None:
                self.unnoted[known.photo_id] = FileState(size, mtime_ns, ctime_ns)
            if not known.headers_read:
                self.headers_unread.append((known.photo_id, scope.root / file.path))
        elif retry or can_be_decoded_now(known.reason):
            self.tasks.append(Task(scope, file, known))
        else:
            self.failed_before += 1


def find_scopes(folders: Sequence[Path], roots: Mapping[int, Path]) -> list[Scope]:
    """What to look at when a build is asked for some folders, no photograph twice.

    A folder inside another that was asked for adds nothing. One inside a root that the collection knows is that part
    of the root. One with known roots inside is a root that leaves them out, and they are looked at as themselves.

    Args:
        folders: as the user gave them.
        roots: id -> absolute, resolved folder of all roots of the collection.

    Raises:
        FolderError: a folder does not exist and is no part of a known root, or is not a directory.
    """
    asked = []
    for folder in folders:
        resolved = Path(os.path.realpath(folder))
        if os.path.exists(resolved) and not os.path.isdir(resolved):
            raise FolderError(f"{printable(folder)} is not a directory: give the folder that the photographs are in")
        trouble = _trouble(resolved)
        if trouble and not any(resolved.is_relative_to(root) for root in roots.values()):
            raise FolderError(f"{printable(folder)} {trouble}")
        if resolved not in asked:
            asked.append(resolved)

    scopes = []
    for folder in asked:
        if any(folder != other and folder.is_relative_to(other) for other in asked):
            continue
        around = [(root_id, root) for root_id, root in roots.items() if folder.is_relative_to(root)]
        if around:
            root_id, root = max(around, key=lambda known: len(known[1].parts))
            below = folder.relative_to(root).as_posix()
            scopes.append(Scope(root, "" if below == "." else below, root_id))
        else:
            scopes.append(Scope(folder))
        scopes.extend(
            Scope(root, "", root_id)
            for root_id, root in roots.items()
            if root != folder and root.is_relative_to(folder)
        )
    return scopes


def find_changes(
    collection: Collection,
    folders: Sequence[Path],
    *,
    exclude: Sequence[str] = (),
    retry: bool = False,
    prune: bool = False,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    again: Callable[[Path, str], bool] | None = None,
) -> Plan:
    """Walk some folders and compare sizes and times with what the collection remembers. Writes nothing.

    What cannot be seen is not taken for gone: a root that is missing, unreadable or suddenly empty, directories that
    cannot be read, photographs whose decoder is not installed. The progress is warned of each.

    Args:
        exclude: patterns of what to take for absent, see `indexer.scan.walk.Exclusion`.
        retry: files that failed before are tasks again.
        prune: what cannot be seen is gone after all.
        stop: asked now and then; once true, the walk ends and the outcome is incomplete.
        again: whether a file, given its root and its path in it, is a task even if it did not change.

    Raises:
        FolderError: a folder cannot be used, or there is no photograph in any of them.
    """
    with _without_cycles():
        return _find_changes(collection, folders, exclude, retry, prune, progress or Progress(), stop, again)


@contextmanager
def _without_cycles() -> Iterator[None]:
    """Python does not look for cycles of objects meanwhile: there are none, and it would take a tenth of the time."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


def _find_changes(
    collection: Collection,
    folders: Sequence[Path],
    exclude: Sequence[str],
    retry: bool,
    prune: bool,
    progress: Progress,
    stop: Callable[[], bool],
    again: Callable[[Path, str], bool] | None,
) -> Plan:
    roots = collection.roots()
    scopes = find_scopes(folders, roots)
    all_roots = {*roots.values(), *(scope.root for scope in scopes)}
    plan = Plan(again=again)
    pruned = {scope.root_id for scope in scopes} if prune else set()
    for root_id in [root_id for root_id, root in roots.items() if not root.is_dir()]:
        described = [stat for stat in collection.known(root_id).values() if not stat.failed]
        plan.described_in_missing_roots[root_id] = len(described)
        if root_id not in pruned:
            plan.out_of_reach += described
    problems = []
    found = 0
    for scope in scopes:
        walk = Walk(scope.root, scope.below, other_roots=all_roots - {scope.root}, exclude=exclude)
        known = collection.known(scope.root_id) if scope.root_id is not None else {}
        if scope.below:
            known = {path: stat for path, stat in known.items() if scope.contains(path)}
        found_before = found
        for file in walk:
            if stop():
                return plan
            plan.add(scope, file, known.pop(file.path, None), retry)
            found += 1
            if found % _LOOKING_STEP == 0:
                progress.looking(found)
        plan.left_out.setdefault(scope.root, Counter()).update(walk.left_out)
        if not scope.below:
            plan.walked_roots.append(scope)
        if found == found_before:
            if prune:
                plan.missing.extend(known.values())
            if not (known and prune):
                problems.append(_nothing_found(scope, walk, len(known)))
            continue
        _warn_of_unseen(scope, walk, progress)
        unseen = set() if prune else _unseen(walk, known)
        missing = [stat for path, stat in known.items() if path not in unseen]
        plan.missing.extend(missing)
        if exclude:
            covers = Exclusion(exclude, scope.root).covers_path
            plan.excluded |= {stat.photo_id for stat in missing if not stat.failed and covers(stat.path)}
        silent = tuple(f"{folder}/" for folder in walk.silent)
        plan.silenced |= {stat.photo_id for stat in missing if not stat.failed and stat.path.startswith(silent)}
    if not found and not plan.missing:
        raise FolderError("; ".join(problems))
    for problem in problems:
        progress.warn(problem)
    return plan


def require_photographs(
    folders: Sequence[Path], *, exclude: Sequence[str] = (), wanted: Callable[[Path, str], bool] = lambda *_: True
) -> bool:
    """Raises FolderError unless every folder can be walked and at least one of them holds a photograph.

    Returns whether one of them, given its root and its path in it, is wanted.
    """
    problems, found = [], False
    for scope in find_scopes(folders, {}):
        walk = Walk(scope.root, exclude=exclude)
        empty = True
        for file in walk:
            empty = False
            if wanted(scope.root, file.path):
                return True
        if empty:
            problems.append(_nothing_found(scope, walk, 0))
        found = found or not empty
    if not found:
        raise FolderError("; ".join(problems))
    return False


def _unseen(walk: Walk, known: Mapping[str, PhotoStat]) -> set[str]:
    """The paths that the walk did not meet but that may well be there."""
    unreadable = [path for path, _ in walk.unreadable]
    below = tuple(f"{path}/" for path in unreadable)
    undecodable = chain.from_iterable(walk.without_decoder.values())
    return {*undecodable, *unreadable, *(path for path in known if path.startswith(below))}


def _trouble(folder: Path) -> str | None:
    """Why a folder cannot be looked into, as the end of a sentence; None if it can."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _nothing_found(scope: Scope, walk: Walk, known: int) -> str:
    """Why a scope has no photographs, as a sentence."""
    trouble = _trouble(scope.folder)
    if trouble is None and walk.without_decoder:
        trouble = "holds only " + " and ".join(
            f"{extra.kind}, which need the package {extra.package} (pip install {extra.package})"
            for extra in walk.without_decoder
        )
    problem = f"{printable(scope.folder)} {trouble or f'holds no photographs {_but(walk)}'}"
    if known:
        problem += f"; its files in the collection stay there (--prune removes them): {known:,}"
    return problem


def _but(walk: Walk) -> str:
    """Which there might have been, as the end of a sentence."""
    if walk.excluded:
        return "but what --exclude covers"
    if walk.silent:
        return f"but in folders that ask to be left out, the first is {printable(walk.silent[0])} (.nomedia)"
    return f"({FORMAT_NAMES})"


def _warn_of_unseen(scope: Scope, walk: Walk, progress: Progress) -> None:
    for path, reason in walk.unreadable:
        progress.warn(f"{printable(scope.root / path)} is left out ({reason})")
    for extra, paths in walk.without_decoder.items():
        one = len(paths) == 1
        are, need = ("is", "it needs") if one else ("are", "they need")
        what = counted(len(paths), extra.kind.removesuffix("s"))
        progress.warn(
            f"{what} in {printable(scope.folder)} {are} left out: {need} the package {extra.package} "
            f"(pip install {extra.package})"
        )
