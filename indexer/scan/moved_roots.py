"""Roots that were renamed or moved: recognised in their new place by what is in them; nothing is described again."""

import os
from collections.abc import Collection as Items
from collections.abc import Mapping, Sequence
from pathlib import Path

from commands.text import printable
from db.collection import Collection
from db.records import PhotoStat
from indexer.progress import Progress
from indexer.scan.digest import content_digest

# Of a root's files so many are looked for by name and size, and of these so many are read.
_SAMPLE = 50
_READ = 3
# A folder with so many of the sample is the same one, though some photographs were added, edited or deleted since.
_SHARE = 0.8
# How far below a folder that is built a root of the same name is looked for.
_DEPTH = 3


def follow_moved_roots(collection: Collection, folders: Sequence[Path], progress: Progress) -> None:
    """Give the roots that are not there any more the places where they are now, if these are in some folders.

    Args:
        folders: that are going to be built, as the user gave them.
        progress: told of each root that was found again.
    """
    roots = collection.roots()
    missing = {root_id: root for root_id, root in roots.items() if not root.is_dir()}
    if not missing:
        return
    for folder in (Path(os.path.realpath(folder)) for folder in folders):
        for root_id, root in list(missing.items()):
            taken = [other for other_id, other in collection.roots().items() if other_id != root_id]
            known = collection.known(root_id)
            place = _place(folder, root, known, taken)
            if place is not None:
                collection.relocate_root(root_id, place)
                del missing[root_id]
                count = sum(not stat.failed for stat in known.values())
                progress.say(f"{printable(root)} is now {printable(place)}: its {count:,} photographs are known there")


def _place(folder: Path, root: Path, known: Mapping[str, PhotoStat], taken: Items[Path]) -> Path | None:
    """Where a root is now, at or below a folder; None: not there."""
    sample = _sample([stat for stat in known.values() if not stat.failed and stat.digest is not None])
    if not sample:
        return None
    for place in (folder, *_namesakes(folder, root.name)):
        overlaps = any(place.is_relative_to(other) or other.is_relative_to(place) for other in taken)
        if not overlaps and _holds(place, sample):
            return place
    return None


def _sample(stats: list[PhotoStat]) -> list[PhotoStat]:
    """Some of many, from all of them."""
    step = max(1, len(stats) // _SAMPLE)
    return sorted(stats, key=lambda stat: stat.path)[::step]


def _namesakes(folder: Path, name: str) -> list[Path]:
    """Folders of a name not far below another."""
    found = []
    for parent, folders, _ in os.walk(folder):
        depth = len(Path(parent).relative_to(folder).parts)
        folders[:] = sorted(each for each in folders if not each.startswith(".")) if depth < _DEPTH else []
        found += [Path(parent, each) for each in folders if each == name]
    return found


def _holds(place: Path, sample: list[PhotoStat]) -> bool:
    """Whether a folder has most of these files, and those that are read are the same."""
    there = []
    for stat in sample:
        try:
            if os.stat(place / stat.path).st_size == stat.size:
                there.append(stat)
        except (OSError, ValueError):
            continue
    if len(there) < _SHARE * len(sample):
        return False
    try:
        read = there[:: max(1, len(there) // _READ)][:_READ]
        return all(content_digest(place / stat.path) == stat.digest for stat in read)
    except OSError:
        return False


def forget_empty_roots(collection: Collection, progress: Progress) -> None:
    """Forget roots that are not there any more and of which nothing is described: all of it was found elsewhere."""
    for root_id, root in collection.roots().items():
        if not root.is_dir() and not any(not stat.failed for stat in collection.known(root_id).values()):
            collection.remove_root(root_id)
            progress.say(f"{printable(root)} is forgotten: all its photographs are elsewhere now")
