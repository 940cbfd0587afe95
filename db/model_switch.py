"""A collection moves to another checkpoint while the old descriptions stay in use, whatever holds it.

A successor, a collection beside it, is filled by ordinary commits, and takes its place in one commit once it has every
photo. Each back end has its own: a folder in the folder, a schema on the server.
"""

from collections.abc import Collection as Ids
from collections.abc import Mapping
from pathlib import Path

from db.collection import Collection
from db.location import is_server
from db.records import ModelIdentity, PhotoStat


def open_successor(collection: Collection, model: ModelIdentity) -> Collection:
    """The collection that is going to replace this one, described by another checkpoint; open for writing.

    It knows the same roots and is filled like any other, in as many runs as it takes; this one stays as it is
    meanwhile, and may even change. One for a third checkpoint is deleted, with a warning. `pending_photos` says what it
    lacks, `switch` puts it in this one's place.

    Raises:
        ValueError: this collection is of that checkpoint.
        CollectionError: other builds are moving it to a third one; the disk or the server refuses.
    """
    if is_server(collection.location):
        from db.postgres import model_switch as on_server

        return on_server.open_successor(collection, model)
    from db.local.collection import LocalCollection
    from db.local.maintenance import model_switch as in_folder

    assert isinstance(collection, LocalCollection)
    return in_folder.open_successor(collection, model)


def pending_photos(collection: Collection, successor: Collection) -> dict[int, Path]:
    """The described photos (id -> path) that a successor knows neither by path nor by content.

    A file that the successor could not read is not known to it.
    """
    theirs = _known(successor)
    paths = {root: {path for path, stat in known.items() if not stat.unread} for root, known in theirs.items()}
    contents = {stat.digest for known in theirs.values() for stat in known.values()}
    return {
        stat.photo_id: root / path
        for root, known in _known(collection).items()
        for path, stat in known.items()
        if not stat.failed and path not in paths.get(root, ()) and stat.digest not in contents
    }


def switch(collection: Collection, successor: Collection, *, gone: Ids[int] = ()) -> None:
    """Put a successor in the collection's place, in one transaction; the successor is deleted.

    Killed at any moment, this is the old collection and the successor is whole, or this is the new one. Readers of
    the old one keep it until they `refresh`. Nothing happens if another process has done it.

    Args:
        gone: ids of photos that need not be in the successor, because their files are gone.

    Raises:
        CollectionError: a photo would be lost; nothing has changed.
    """
    if is_server(collection.location):
        from db.postgres import model_switch as on_server

        on_server.switch(collection, successor, gone=gone)
    else:
        from db.local.collection import LocalCollection
        from db.local.maintenance import model_switch as in_folder

        assert isinstance(collection, LocalCollection) and isinstance(successor, LocalCollection)
        in_folder.switch(collection, successor, gone=gone)


def moved_by_another(collection: Collection, model: ModelIdentity) -> bool:
    """Whether another process has moved a writer's collection to this checkpoint meanwhile. Then it is of that now."""
    if not is_server(collection.location):  # it has one writer at a time
        return False
    from db.postgres import model_switch as on_server

    return on_server.moved_by_another(collection, model)


def _known(collection: Collection) -> dict[Path, Mapping[str, PhotoStat]]:
    """Root -> relative path -> file."""
    return {root: collection.known(root_id) for root_id, root in collection.roots().items()}
