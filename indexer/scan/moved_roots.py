"""Roots that were renamed or moved: recognised in their new place by what is in them; nothing is described again."""

import os
import shlex
from collections.abc import Collection as Items
from collections.abc import Mapping, Sequence
from pathlib import Path

from commands.text import printable
from db.collection import Collection
from db.location import option
from db.records import PhotoStat
from indexer.progress import Progress
from indexer.scan.digest import content_digest

# Of a root's files so many are looked for by name and size, and of these so many are read.
_SAMPLE = 50
_READ = 3
# A folder with files in so many places of the sample is the same one, though photographs were edited or deleted since.
_SHARE = 0.5
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
    """Whether a folder has files in most of these places, and most of those that are read are the same."""
    there, of_a_size = 0, []
    for stat in sample:
        try:
            size = os.stat(place / stat.path).st_size
        except (OSError, ValueError):
            continue
        there += 1
        if size == stat.size:
            of_a_size.append(stat)
    if there < _SHARE * len(sample) or not of_a_size:
        return False
    read = of_a_size[:: max(1, len(of_a_size) // _READ)][:_READ]
    try:
        same = sum(content_digest(place / stat.path) == stat.digest for stat in read)
    except OSError:
        return False
    return 2 * same > len(read)


def tell_of_missing_roots(
    collection: Collection, before: Mapping[int, int], progress: Progress, *, prune: bool
) -> None:
    """Forget roots that are not there and that lost all that was described of them; tell of those that lost a part.

    Args:
        before: root id -> how many photographs of a missing root were described before the build.
    """
    for root_id, root in collection.roots().items():
        if root.is_dir():
            continue
        left = sum(not stat.failed for stat in collection.known(root_id).values())
        lost = before.get(root_id, 0) - left
        if not left and lost > 0:
            collection.remove_root(root_id)
            why = "it is not there any more" if prune else "all its photographs are elsewhere now"
            progress.say(f"{printable(root)} is forgotten: {why}")
        elif lost > 0:
            command = f"indexer remove {shlex.quote(printable(root))}{option(collection.location)}"
            progress.warn(
                f"{printable(root)} is not there: {lost:,} of its photographs {'is' if lost == 1 else 'are'} elsewhere "
                f"now, {left:,} {'was' if left == 1 else 'were'} not found; `{command}` forgets the rest"
            )
