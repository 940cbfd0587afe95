"""What is wrong with a collection: SQLite's own checks, and rows, segments and FAISS files compared with each other."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from sqlalchemy import Connection

from db.errors import CollectionDamaged
from db.local.checksums import features_crc32, regions_crc32
from db.local.segments import SegmentFolder
from db.local.sqlite.connection import Store
from db.local.sqlite.snapshot import Snapshot, read_snapshot
from db.local.vectors.index_files import UnusableFile, VectorCache
from db.tables import Base

_PHOTOS_AT_ONCE = 500

ALTERED_ROWS = "What the collection knew of it was damaged: the next build describes it again."
LOST_FEATURES = "Its features were damaged: the next build describes it again."


@dataclass(frozen=True)
class Problem:
    """Something that does not hold."""

    kind: str  # "database", "rows", "segment", "index", "copy" or "successor"
    what: str  # a full sentence
    repairable: bool = True


@dataclass
class Findings:
    """What an inspection counted and found."""

    photographs: int = 0
    regions: int = 0
    segments: int = 0
    index_files: int = 0
    rows_of_gone: int = 0  # in segments, of photographs that are gone: `compact` drops them
    unsaved_regions: int = 0  # added or gone since FAISS files were saved: readers know, and the next build saves them
    without_checksums: int = 0  # photographs that an older version described
    problems: list[Problem] = field(default_factory=list)

    # What there is to repair.
    damaged: dict[int, str] = field(default_factory=dict)  # photographs to describe again -> why
    strays: list[int] = field(default_factory=list)  # regions of no photograph
    lost: list[int] = field(default_factory=list)  # photographs of no root, or whose names are damaged
    index_unusable: bool = False


def inspect(store: Store, folder: SegmentFolder, cache: VectorCache) -> Findings:
    """Look at every byte of a collection, in bounded memory.

    Raises:
        CollectionDamaged: SQLite finds photos.db damaged; nothing more can be said then.
    """
    findings = Findings()
    with store.session() as session:
        connection = session.connection()
        verdict: str = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if verdict != "ok":
            raise CollectionDamaged(f"{store.path} is damaged ({verdict})")
        for table in Base.metadata.sorted_tables:
            found = connection.exec_driver_sql(f"PRAGMA table_info({table.name})")
            if {row.name for row in found} != {column.name for column in table.columns}:
                raise CollectionDamaged(f"{store.path} is damaged (the columns of {table.name} are others)")
        _inspect_keys(connection, findings)
        with _text_as_bytes(connection):
            _inspect_rows(connection, findings)
    snapshot = read_snapshot(store)
    try:
        findings.photographs = len(snapshot.extents.photo_ids)
    except CollectionDamaged:  # of rows that were found above
        return findings
    findings.regions = snapshot.region_count
    _inspect_segments(folder, snapshot, findings)
    _inspect_indexes(cache, snapshot, findings)
    return findings


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
    findings.strays.extend(orphans.get(("region", "photo"), []))
    findings.lost.extend(orphans.get(("photo", "root"), []))
    findings.damaged.update(dict.fromkeys(orphans.get(("photo", "segment"), []), LOST_FEATURES))
    nameless = "WHERE typeof(path) <> 'blob'"
    if connection.exec_driver_sql(f"SELECT count(*) FROM root {nameless}").scalar():
        raise CollectionDamaged("photos.db is damaged (the path of a folder is no BLOB)")
    names_lost: list[int] = list(connection.exec_driver_sql(f"SELECT id FROM photo {nameless}").scalars())
    if names_lost:
        findings.lost.extend(names_lost)
        findings.problems.append(Problem("rows", f"photos.db holds {_counted(names_lost, 'photo')} without a name."))
    for (table, parent), row_ids in orphans.items():
        findings.problems.append(Problem("rows", f"photos.db holds {_counted(row_ids, table)} without {parent}."))


def _inspect_rows(connection: Connection, findings: Findings) -> None:
    """Photographs compared with their regions, and both with their checksums."""
    numbered = "typeof(first_region_id) = 'integer' AND typeof(region_count) = 'integer'"
    damaged = list(
        connection.exec_driver_sql(f"SELECT id FROM photo WHERE reason IS NULL AND NOT ({numbered})").scalars()
    )
    photos = connection.exec_driver_sql(
        f"SELECT id, {_text('digest')}, width, height, first_region_id, region_count, regions_crc32 FROM photo "
        f"WHERE reason IS NULL AND {numbered} ORDER BY first_region_id"
    )
    strays = []
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
            findings.without_checksums += photo.regions_crc32 is None
            if not _rows_agree(photo, regions[rows]):
                damaged.append(photo.id)
        strays.extend(region_ids[~owned].tolist())
        last_id = end
    strays.extend(connection.exec_driver_sql("SELECT id FROM region WHERE id > ?", (last_id,)).scalars())
    if damaged:
        findings.problems.append(
            Problem("rows", f"The rows of {_counted(damaged, 'photograph')} do not match their checksums.")
        )
        findings.damaged.update(dict.fromkeys(damaged, ALTERED_ROWS))
    if strays := sorted(set(strays) - set(findings.strays)):
        findings.problems.append(Problem("rows", f"photos.db holds {_counted(strays, 'region')} of no photograph."))
        findings.strays.extend(strays)


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
        numbers = np.array([row[2:7] for row in regions], np.float64)
        phrases = [row.phrase for row in regions]
        found = regions_crc32(photo.digest, photo.width, photo.height, photo.first_region_id, numbers, phrases)
    except (TypeError, ValueError):  # not even of the kind that they should be
        return False
    return found == photo.regions_crc32


def _inspect_segments(folder: SegmentFolder, snapshot: Snapshot, findings: Findings) -> None:
    """Segments compared with their checksums, and their rows with those of the photographs."""
    findings.segments = len(snapshot.segments)
    for segment in snapshot.segments.values():
        extents = snapshot.extents.take(np.flatnonzero(snapshot.extents.segment_ids == segment.id))
        findings.rows_of_gone += segment.rows - extents.region_count
        path = folder.path / segment.name
        stored = None
        if not (fault := folder.fault(segment)):
            try:
                stored = folder.read_file(segment)
            except CollectionDamaged:
                fault = "is not what its row in photos.db says"
        if stored is None:
            damaged = extents.photo_ids.tolist()
            what = f"{path}, the features of {_counted(damaged, 'photograph')}, {fault}."
        else:
            found = (len(stored.region_ids), stored.codes_offset, stored.embeddings_offset)
            placed = found == (segment.rows, segment.codes_offset, segment.embeddings_offset)
            damaged = []
            for photo_id, first_id, count, row, checksum in zip(
                extents.photo_ids.tolist(),
                extents.first_region_ids.tolist(),
                extents.counts.tolist(),
                extents.first_rows.tolist(),
                extents.checksums.tolist(),
            ):
                rows = slice(row, row + count)
                same = placed and stored.region_ids[rows].tolist() == list(range(first_id, first_id + count))
                if same and checksum >= 0:
                    same = features_crc32(stored.codes[rows], stored.embeddings[rows]) == checksum
                if not same:
                    damaged.append(photo_id)
            what = f"{path} holds other features of {_counted(damaged, 'photograph')} than photos.db says."
        if damaged:
            findings.problems.append(Problem("segment", what))
            findings.damaged.update(dict.fromkeys(damaged, LOST_FEATURES))


def _inspect_indexes(cache: VectorCache, snapshot: Snapshot, findings: Findings) -> None:
    """FAISS files compared with their checksums, and their ids with those of the regions."""
    findings.index_files = len(snapshot.files)
    added = snapshot.region_count - sum(snapshot.left)
    gone = sum(file.region_count for file in snapshot.files) - sum(snapshot.left)
    findings.unsaved_regions = added + gone
    problems = []
    for file in snapshot.files:
        path = cache.folder / file.name
        try:
            held = np.sort(cache.load(file).ids())
        except UnusableFile as fault:
            problems.append(f"{path} {fault}.")
            continue
        extents = snapshot.extents.between(file.first_region_id, file.last_region_id)
        twice = int(np.count_nonzero(held[1:] == held[:-1]))
        missing = extents.region_count + twice - int(np.count_nonzero(extents.contain(held)))
        foreign = int(np.count_nonzero((held < file.first_region_id) | (held > file.last_region_id)))
        if missing or foreign or twice:
            problems.append(
                f"{path} holds other regions than photos.db says: {missing} are missing, {foreign} are not of its "
                f"range, {twice} are there twice."
            )
    if added != snapshot.extents.beyond(snapshot.last_region_id).region_count:
        problems.append("The ranges of the FAISS files leave regions out, or overlap.")
    findings.index_unusable = bool(problems)
    findings.problems.extend(Problem("index", what) for what in problems)


def _counted(rows: Sequence[int], what: str) -> str:
    return f"{len(rows):,} {what}" + ("" if len(rows) == 1 else "s")
