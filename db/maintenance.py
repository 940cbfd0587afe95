"""What is not everyday, whatever holds the collection: verify, repair, compact, rebuild. Each back end does its own."""

from collections.abc import Mapping
from typing import Any, Protocol

from db.location import Location, is_server
from db.records import CompactionReport, IndexReport, Problem


class Verified(Protocol):
    """What there is, what does not hold, and what was done about it."""

    to_describe: int  # photos that were damaged, and are described again by the next build
    problems: list[Problem]  # as they were found

    @property
    def holds(self) -> bool:
        """Whether all is as it should be now."""
        ...

    def summary(self) -> dict[str, str]:
        """What there is, for people: a word and a text."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        ...


def verify(location: Location, *, repair: bool = False) -> Verified:
    """Check that a collection holds together; the photos' own files are not looked at.

    Args:
        repair: repair what can be. Photos whose features or rows are damaged are described again by the next build.

    Raises:
        CollectionMissing, CollectionLocked, CollectionUnreachable, SchemaTooNew
        CollectionError: the disk or the server refuses.
    """
    if is_server(location):
        from db.postgres.verification import verify as verify_server

        return verify_server(str(location), repair=repair)
    from db.local.maintenance.verification import verify as verify_folder

    return verify_folder(location, repair=repair)


def describe_again(location: Location, reasons: Mapping[int, str]) -> None:
    """Have the next build describe some photos again. reasons: photo id -> why."""
    if is_server(location):
        from db.postgres.collection import PostgresCollection
        from db.postgres.verification import discard

        with PostgresCollection.open(str(location), write=True) as server:
            discard(server, reasons)
        return
    from db.local.collection import LocalCollection
    from db.local.maintenance.verification import repair
    from db.local.records import Findings

    with LocalCollection.open(location, write=True) as folder:
        repair(folder, Findings(damaged=dict(reasons)))


def compact(location: Location) -> CompactionReport:
    """Give back the room of photos that are gone. Raises as `verify`."""
    if is_server(location):
        from db.postgres.collection import PostgresCollection
        from db.postgres.vacuum import vacuum

        with PostgresCollection.open(str(location), write=True) as server:
            return vacuum(server.server)
    from db.local.collection import LocalCollection
    from db.local.maintenance.compaction import compact as compact_folder

    with LocalCollection.open(location, write=True) as folder:
        return compact_folder(folder)


def rebuild(location: Location) -> IndexReport:
    """Rebuild the search index from the features, and measure how well it finds. Raises as `verify`."""
    if is_server(location):
        from db.postgres.collection import PostgresCollection
        from db.postgres.indexes import rebuild as rebuild_server

        with PostgresCollection.open(str(location), write=True) as server:
            return rebuild_server(server.server)
    from db.local.collection import LocalCollection
    from db.local.maintenance.reindexing import rebuild_index

    with LocalCollection.open(location, write=True) as folder:
        return rebuild_index(folder)
