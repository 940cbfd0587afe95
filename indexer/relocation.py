"""What is remembered of a folder is true of another one: `indexer relocate`."""

import os
from dataclasses import dataclass
from pathlib import Path

from commands.text import printable
from db.collection import Collection
from db.location import option
from db.records import FileState, NewPath
from indexer.errors import FolderError


@dataclass(frozen=True)
class Relocation:
    """What `relocate` did."""

    photographs: int  # known under their new paths
    replaced: int  # that were known there already


def relocate(collection: Collection, old: Path, new: Path) -> Relocation:
    """Let what is remembered of a folder be true of another one: by hand, no content is compared.

    Args:
        collection: open for writing.
        old: a root or a folder in one; need not exist any more.
        new: where it is now; what is remembered there already stays.

    Raises:
        FolderError: nothing is remembered of the old folder, or the new one is not there or has none of the
            photographs. The collection is as before.
    """
    new = Path(os.path.realpath(new))
    if not new.is_dir():
        raise FolderError(f"{printable(new)} is no folder: give the folder where the photographs are now")
    old = Path(os.path.realpath(old))
    roots = collection.roots()
    stats = {
        (root_id, stat.path): stat
        for root_id, root in roots.items()
        if root.is_relative_to(old) or old.is_relative_to(root)
        for stat in collection.known(root_id).values()
        if (root / stat.path).is_relative_to(old)
    }
    whole = [root_id for root_id, root in roots.items() if root.is_relative_to(old)]
    if not stats and not whole:
        command = f"indexer status{option(collection.location)}"
        raise FolderError(f"the collection knows nothing in {printable(old)}: `{command}` lists its folders")
    there = [(roots[root_id] / path).relative_to(old) for (root_id, path), stat in stats.items() if not stat.failed]
    if there and not any(os.path.lexists(new / path) for path in there):
        raise FolderError(
            f"{printable(new)} has none of the photographs of {printable(old)}, such as {printable(there[0])}: "
            "give the folder where they are now"
        )
    around = [root_id for root_id, root in roots.items() if new.is_relative_to(root)]
    inside = [root for root_id, root in roots.items() if root.is_relative_to(new) and root_id not in whole]
    count = sum(not stat.failed for stat in stats.values())
    if not around and not inside and whole:
        for root_id in whole:
            collection.relocate_root(root_id, new / roots[root_id].relative_to(old))
        return Relocation(count, 0)
    target_id = max(around, key=lambda root_id: len(roots[root_id].parts)) if around else collection.add_root(new)
    target = collection.roots()[target_id]
    known = collection.known(target_id)
    moved: dict[int, NewPath] = {}
    gone = []
    for (root_id, path), stat in stats.items():
        place = (new / (roots[root_id] / path).relative_to(old)).relative_to(target).as_posix()
        if place in known and known[place].photo_id != stat.photo_id and not known[place].failed:
            gone.append(stat.photo_id)
        else:
            state = FileState(stat.size, stat.mtime_ns, stat.ctime_ns)
            moved[stat.photo_id] = NewPath(target_id, place, *state)
    collection.commit(moved=moved, gone=gone)
    for root_id in whole:
        if root_id != target_id:
            collection.remove_root(root_id)
    return Relocation(count, len(gone))
