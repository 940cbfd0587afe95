"""Photographs out of a collection: those below some paths, whether these exist or not. The disk stays as it is."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from commands.text import printable
from db.collection import Collection
from indexer.errors import FolderError
from indexer.scan.plan import Scope


@dataclass(frozen=True)
class Removal:
    """What was removed."""

    photographs: int
    failed: int  # files that were remembered as failed


def remove(collection: Collection, paths: Sequence[Path]) -> Removal:
    """Forget photographs, whole folders or whole roots. All photographs go in one commit, and then their roots.

    Args:
        collection: open for writing.
        paths: as the user gave them; a folder stands for everything below it.

    Raises:
        FolderError: the collection knows nothing there. It is as before.
        CollectionError: the collection cannot be written.
    """
    found: dict[int, bool] = {}
    roots: set[int] = set()
    for path in paths:
        # A link inside a root is known under its own name; one that leads to a root, under the root's.
        named = Path(os.path.realpath(path.parent), path.name) if path.name else path
        files, whole_roots = _known_below(collection, named)
        if not files and not whole_roots:
            files, whole_roots = _known_below(collection, Path(os.path.realpath(path)))
        if not files and not whole_roots:
            raise FolderError(
                f"the collection knows no photograph in {printable(path)}: `indexer status` lists its folders"
            )
        found.update(files)
        roots.update(whole_roots)
    collection.commit(gone=list(found))
    for root_id in roots:
        collection.remove_root(root_id)
    failed = sum(found.values())
    return Removal(photographs=len(found) - failed, failed=failed)


def _known_below(collection: Collection, path: Path) -> tuple[dict[int, bool], list[int]]:
    """What lies at or below an absolute path: photo id -> whether it failed, and the ids of whole roots."""
    found: dict[int, bool] = {}
    roots = []
    for root_id, root in collection.roots().items():
        if root.is_relative_to(path):
            scope = Scope(root)
            roots.append(root_id)
        elif path.is_relative_to(root):
            scope = Scope(root, path.relative_to(root).as_posix())
        else:
            continue
        stats = collection.known(root_id).values()
        found.update({stat.photo_id: stat.failed for stat in stats if scope.contains(stat.path)})
    return found, roots
