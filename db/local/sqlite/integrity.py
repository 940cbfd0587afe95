"""Whether photos.db holds together: SQLite's own checks, and every photo's rows against their checksum."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import Connection

from db.checksums import regions_crc32
from db.errors import CollectionDamaged
from db.local.records import ALTERED_ROWS, LOST_FEATURES, Findings, counted
from db.local.sqlite.connection import Database
from db.local.sqlite.migrations import columns_of, schema_version
from db.records import Problem
from db.tables import Base

_PHOTOS_AT_ONCE = 500


def inspect_rows(database: Database, findings: Findings) -> None:
    """Add what is wrong with the rows to the findings.

    Raises:
        CollectionDamaged: the database is damaged beyond that; nothing more can be said then.
    """
    with database.session() as session:
        connection = session.connection()
        verdict: str = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if verdict != "ok":
            raise CollectionDamaged(f"{database.path} is damaged ({verdict})")
        version = schema_version(connection)
        for table in Base.metadata.sorted_tables:
            found = connection.exec_driver_sql(f"PRAGMA table_info({table.name})")
            columns = columns_of(table.name, [column.name for column in table.columns], version)
            if {row.name for row in found} != set(columns):
                raise CollectionDamaged(f"{database.path} is damaged (the columns of {table.name} are others)")
        _inspect_keys(connection, findings)
        with _text_as_bytes(connection):
            _inspect_photos(connection, findings)


@contextmanager
def _text_as_bytes(connection: Connection) -> Iterator[None]:
    """Text as SQLite keeps it: what is damaged need not be UTF-8."""
    driver: Any = connection.connection.driver_connection
    driver.text_factory = bytes
    try:
        yield
    finally:
        driver.text_factory = str


def _inspect_keys(connection: Connection, findings: Findings) -> None:
    """Rows that point to rows that are not there."""
    orphans: dict[tuple[str, str], list[int]] = {}
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        orphans.setdefault((row.table, row.parent), []).append(row.rowid)
    findings.orphan_regions.extend(orphans.get(("region", "photo"), []))
    findings.lost.extend(orphans.get(("photo", "root"), []))
    findings.damaged.update(dict.fromkeys(orphans.get(("photo", "segment"), []), LOST_FEATURES))
    nameless = "WHERE typeof(path) <> 'blob'"
    if connection.exec_driver_sql(f"SELECT count(*) FROM root {nameless}").scalar():
        raise CollectionDamaged("photos.db is damaged (the path of a folder is no BLOB)")
    names_lost: list[int] = list(connection.exec_driver_sql(f"SELECT id FROM photo {nameless}").scalars())
    if names_lost:
        findings.lost.extend(names_lost)
        findings.problems.append(Problem("rows", f"photos.db holds {counted(names_lost, 'photo')} without a name."))
    for (table, parent), row_ids in orphans.items():
        findings.problems.append(Problem("rows", f"photos.db holds {counted(row_ids, table)} without {parent}."))


def _inspect_photos(connection: Connection, findings: Findings) -> None:
    """Photos compared with their regions, and both with their checksums."""
    numbered = "typeof(first_region_id) = 'integer' AND typeof(region_count) = 'integer'"
    damaged = list(
        connection.exec_driver_sql(f"SELECT id FROM photo WHERE reason IS NULL AND NOT ({numbered})").scalars()
    )
    photos = connection.exec_driver_sql(
        f"SELECT id, {_text('digest')}, width, height, first_region_id, region_count, regions_crc32 FROM photo "
        f"WHERE reason IS NULL AND {numbered} ORDER BY first_region_id"
    )
    orphans = []
    last_id = 0
    while batch := list(islice(photos, _PHOTOS_AT_ONCE)):
        end = max(last_id, batch[-1].first_region_id + batch[-1].region_count - 1)
        regions = _regions(connection, last_id + 1, end)
        region_ids = np.array([row.id for row in regions], np.int64)
        owned = np.zeros(len(regions), bool)
        for photo in batch:
            first, count = photo.first_region_id, photo.region_count
            rows = slice(*np.searchsorted(region_ids, [first, first + count]))
            owned[rows] = True
            findings.counts.without_checksums += photo.regions_crc32 is None
            if not _rows_agree(photo, regions[rows]):
                damaged.append(photo.id)
        orphans.extend(region_ids[~owned].tolist())
        last_id = end
    orphans.extend(connection.exec_driver_sql("SELECT id FROM region WHERE id > ?", (last_id,)).scalars())
    if damaged:
        findings.problems.append(
            Problem("rows", f"The rows of {counted(damaged, 'photograph')} do not match their checksums.")
        )
        findings.damaged.update(dict.fromkeys(damaged, ALTERED_ROWS))
    if orphans := sorted(set(orphans) - set(findings.orphan_regions)):
        findings.problems.append(Problem("rows", f"photos.db holds {counted(orphans, 'region')} of no photograph."))
        findings.orphan_regions.extend(orphans)


def _regions(connection: Connection, first: int, last: int) -> Sequence[Any]:
    return connection.exec_driver_sql(
        f"SELECT id, photo_id, x1, y1, x2, y2, score, {_text('phrase')} FROM region "
        "WHERE id BETWEEN ? AND ? ORDER BY id",
        (first, last),
    ).all()


def _text(column: str) -> str:
    """SQL for a column that is NULL unless it is text: a flipped bit makes a BLOB of the same bytes."""
    return f"CASE typeof({column}) WHEN 'text' THEN {column} END AS {column}"


def _rows_agree(photo: Any, regions: Sequence[Any]) -> bool:
    if len(regions) != photo.region_count or any(row.photo_id != photo.id for row in regions):
        return False
    if photo.regions_crc32 is None:
        return True
    try:
        boxes_and_scores = np.array([row[2:7] for row in regions], np.float64)
        phrases = [row.phrase for row in regions]
        found = regions_crc32(photo.digest, photo.width, photo.height, photo.first_region_id, boxes_and_scores, phrases)
    except (TypeError, ValueError):  # not even of the kind that they should be
        return False
    return found == photo.regions_crc32
