"""IVFFlat indexes of the partitions: which need one, made while questions and commits go on.

IVFFlat and not HNSW: over a million vectors of 256 it found more (0.987 of the first 200, 0.888), was built in a third
of the time, and takes a new region in 0.1 ms where HNSW takes 3: 150 ms a photograph, more than the network.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from db.errors import CollectionLocked
from db.postgres.partitions import Partition, partitions
from db.postgres.recall import Recall, measure
from db.postgres.server import Server
from db.records import IndexReport

# So few regions are compared one by one: 20 ms, and exact.
SCANNED_REGIONS = 20_000
# With 500, of the ten best photographs for a phrase 0.98 came however many lists were looked into, and as many regions.
REGIONS_PER_LIST = 250
# An index whose lists were made for this share of the regions or less is made again: its lists are too long by then.
GROWN = 0.5
AT_ONCE = 2  # indexes made at the same time, each by several processes of the server
_LOCK = 0x5EA7C8  # held while indexes are made


@dataclass(frozen=True)
class Need:
    """A partition that is to get an index."""

    partition: Partition
    regions: int
    lists: int


@dataclass(frozen=True)
class Ivf:
    """An index that there is."""

    name: str
    partition: str
    valid: bool
    bytes: int


def rebuild(server: Server, *, all_of_them: bool = True) -> IndexReport:
    """Make the indexes of all partitions again, or of those that need it; measure what they find.

    Raises:
        CollectionLocked: another process is at it.
        CollectionError: the server refuses.
    """
    with _alone(server):
        with server.session() as session:
            needs = needed(session, all_of_them=all_of_them)
            empty = {partition.name for partition in partitions(session) if not count_regions(session, partition)}
            unused = [index.name for index in indexes(session) if not index.valid or index.partition in empty]
        with _autocommit(server.engine) as connection:
            for name in unused:
                connection.execute(text(f"DROP INDEX CONCURRENTLY IF EXISTS {name}"))
        server.write(_forget, empty)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(lambda need: _make(server, need), needs):
                pass
    return server.write(report)


def needed(session: Session, *, all_of_them: bool = False) -> list[Need]:
    """The partitions that want an index, or another one."""
    rows = session.execute(text("SELECT partition, regions FROM vector_index"))
    made_for: dict[str, int] = {row.partition: row.regions for row in rows}
    usable = {index.partition for index in indexes(session) if index.valid}
    needs = []
    for partition in partitions(session):
        regions = count_regions(session, partition)
        if regions < SCANNED_REGIONS:
            continue
        fits = partition.name in usable and made_for.get(partition.name, 0) > GROWN * regions
        if all_of_them or not fits:
            needs.append(Need(partition, regions, max(1, round(regions / REGIONS_PER_LIST))))
    return needs


def count_regions(session: Session, partition: Partition) -> int:
    """Regions in a partition, by the photos that begin in it."""
    found = session.scalar(
        text("SELECT coalesce(sum(region_count), 0)::bigint FROM photo WHERE first_region_id BETWEEN :first AND :last"),
        {"first": partition.first_id, "last": partition.last_id},
    )
    assert isinstance(found, int)
    return found


def indexes(session: Session) -> list[Ivf]:
    """Every IVFFlat index of a partition; one that is not valid was left by somebody who was cut off."""
    rows: Iterable[Any] = session.execute(
        text(
            "SELECT i.relname, t.relname, indisvalid, pg_relation_size(i.oid) FROM pg_index "
            "JOIN pg_class i ON i.oid = indexrelid JOIN pg_class t ON t.oid = indrelid JOIN pg_am a ON a.oid = i.relam "
            "WHERE a.amname = 'ivfflat' AND t.relnamespace = quote_ident(current_schema())::regnamespace "
            "ORDER BY i.relname"
        )
    )
    return [Ivf(*row) for row in rows]


def report(session: Session) -> IndexReport:
    """What there is, and how well it finds."""
    rows = session.execute(text("SELECT lists, regions, queries, recall_at_10, recall_at_100 FROM vector_index")).all()
    queries = sum(row.queries for row in rows)
    return IndexReport(
        regions=session.scalar(text("SELECT coalesce(sum(region_count), 0)::bigint FROM photo")) or 0,
        files=len(rows),
        lists=sum(row.lists for row in rows),
        bytes=sum(index.bytes for index in indexes(session)),
        queries=queries,
        recall_at_10=sum(row.recall_at_10 * row.queries for row in rows) / queries if queries else 1.0,
        recall_at_100=sum(row.recall_at_100 * row.queries for row in rows) / queries if queries else 1.0,
        kind="indexed partition",
    )


def _make(server: Server, need: Need) -> None:
    with _autocommit(server.engine) as connection:
        taken = {index.name for index in indexes(Session(connection)) if index.partition == need.partition.name}
        name = next(
            name for name in (f"{need.partition.name}_ivf_{number}" for number in range(9)) if name not in taken
        )
        dimensions = connection.scalar(text("SELECT embedding_size FROM meta"))
        connection.execute(text(f"SET maintenance_work_mem = '{_megabytes(need.lists, dimensions or 0)}MB'"))
        connection.execute(
            text(
                f"CREATE INDEX CONCURRENTLY {name} ON {need.partition.name} "
                f"USING ivfflat (embedding halfvec_ip_ops) WITH (lists = {need.lists})"
            )
        )
        for old in taken:
            connection.execute(text(f"DROP INDEX CONCURRENTLY {old}"))
        connection.execute(text(f"ANALYZE {need.partition.name}"))
    found = server.write(measure, need.partition, need.lists)
    server.write(_remember, need, found)


def _remember(session: Session, need: Need, found: Recall) -> None:
    session.execute(text("DELETE FROM vector_index WHERE partition = :name"), {"name": need.partition.name})
    session.execute(
        text(
            "INSERT INTO vector_index (partition, lists, regions, probes, recall_at_10, recall_at_100, queries) "
            "VALUES (:name, :lists, :regions, :probes, :at_10, :at_100, :queries)"
        ),
        {
            "name": need.partition.name,
            "lists": need.lists,
            "regions": need.regions,
            "probes": found.probes,
            "at_10": found.at_10,
            "at_100": found.at_100,
            "queries": found.queries,
        },
    )


def _forget(session: Session, partition_names: Iterable[str]) -> None:
    session.execute(text("DELETE FROM vector_index WHERE partition = ANY(:names)"), {"names": list(partition_names)})


def _megabytes(lists: int, dimensions: int) -> int:
    """The memory that k-means over 50 vectors a list takes: bounds of the distance of each to each centre, mostly."""
    samples = max(10_000, 50 * lists)
    return 64 + (4 * samples * (lists + 4) + 2 * dimensions * (samples + 3 * lists)) * 5 // 4 // 2**20


@contextmanager
def _alone(server: Server) -> Iterator[None]:
    """While no other process makes indexes of this collection."""
    with _autocommit(server.engine) as connection:
        got = connection.scalar(text("SELECT pg_try_advisory_lock(:lock, hashtext(current_schema()))"), {"lock": _LOCK})
        if not got:
            raise CollectionLocked(
                f"Another process is making the indexes of {server.address}: wait for it, or look at it with "
                "`SELECT * FROM pg_stat_progress_create_index`."
            )
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock, hashtext(current_schema()))"), {"lock": _LOCK})


@contextmanager
def _autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection of its own, each statement a transaction."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection
