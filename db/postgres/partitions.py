"""Partitions of TABLES: ranges of region ids, made when the first id of one is taken."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

# Any number that nothing else locks: held while a partition is made, together with the schema's own number.
_LOCK = 0x5EA7C4

# Rows of photos' summaries have the id of the photo's first region.
TABLES = ("region", "region_code", "photo_mean", "photo_group")


@dataclass(frozen=True)
class Partition:
    """A table of regions, of the ids first_id to last_id."""

    name: str
    first_id: int
    last_id: int

    def of(self, table: str) -> str:
        """The partition of another of TABLES with these ids."""
        return self.name.replace("region", table, 1)


def partition_of(region_id: int, size: int) -> Partition:
    """The partition of a region. size: ids in each."""
    number = (region_id - 1) // size
    return Partition(f"region_{number:06d}", number * size + 1, (number + 1) * size)


def ensure_partitions(session: Session, first_id: int, last_id: int) -> None:
    """Make the partitions of these ids that are not there.

    Attached, not created as partitions: that locks out neither readers nor other writers.
    """
    size = session.scalar(text("SELECT partition_regions FROM meta"))
    assert isinstance(size, int)
    for start in range(first_id - (first_id - 1) % size, last_id + 1, size):
        partition = partition_of(start, size)
        if _is_attached(session, partition.name):
            continue
        session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(current_schema()))"), {"lock": _LOCK})
        if _is_attached(session, partition.name):  # another writer was quicker
            continue
        attach(session, partition, TABLES)


def attach(session: Session, partition: Partition, tables: Iterable[str]) -> None:
    """Make a partition of these tables."""
    for table in tables:
        name = partition.of(table)
        # Groups of regions stay within the row, where eight kilobytes have room for two.
        inline = " WITH (toast_tuple_target = 8160)" if table == "photo_group" else ""
        session.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE){inline}"))
        session.execute(
            text(
                f"ALTER TABLE {table} ATTACH PARTITION {name} "
                f"FOR VALUES FROM ({partition.first_id}) TO ({partition.last_id + 1})"
            )
        )


def partitions(session: Session) -> list[Partition]:
    """All that there are, ascending."""
    size = session.scalar(text("SELECT partition_regions FROM meta"))
    assert isinstance(size, int)
    names = session.scalars(
        text("SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'region'::regclass")
    )
    return sorted((partition_of(int(name.rpartition("_")[2]) * size + 1, size) for name in names), key=_first_id)


def _first_id(partition: Partition) -> int:
    return partition.first_id


def _is_attached(session: Session, name: str) -> bool:
    return bool(
        session.scalar(text("SELECT count(*) FROM pg_inherits WHERE inhrelid = to_regclass(:name)"), {"name": name})
    )
