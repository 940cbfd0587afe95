"""Where one commit's vectors are: in which FAISS files and, photo by photo, in which segments."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from db.errors import CollectionDamaged
from db.local.extents import Extents
from db.local.records import FaissFile, QuantizerFile, SegmentFile
from db.local.sqlite.connection import Database
from db.local.sqlite.migrations import columns_of, schema_version
from db.sql import among
from db.tables import IndexFile, Photo, Segment


@dataclass
class Snapshot:
    """One commit's vectors. Where each photo's rows are is read only once it is asked for.

    Region ids never come again, so all that happens to the regions in a file's range is that they go; a file holds
    exactly the range's regions if their number is the file's.
    """

    database: Database
    files: list[FaissFile]  # ascending, their ranges apart
    live_counts: list[int]  # for each file, how many regions there still are in its range
    region_count: int  # in the collection
    quantizers: dict[int, QuantizerFile]  # by id

    @property
    def last_region_id(self) -> int:
        """Regions with higher ids are in no file."""
        return self.files[-1].last_region_id if self.files else 0

    @property
    def saved(self) -> bool:
        """Whether the files hold exactly the regions of this commit."""
        held = [file.region_count for file in self.files]
        return sum(self.live_counts) == self.region_count and self.live_counts == held

    @cached_property
    def extents(self) -> Extents:
        with self.database.session() as session:
            return read_extents(session)

    @cached_property
    def segments(self) -> dict[int, SegmentFile]:
        with self.database.session() as session:
            return read_segments(session)


def read_snapshot(database: Database) -> Snapshot:
    """The snapshot of the commit that the database's session sees."""
    in_range = and_(
        Photo.first_region_id >= IndexFile.first_region_id, Photo.first_region_id <= IndexFile.last_region_id
    )
    live = select(func.coalesce(func.sum(Photo.region_count), 0)).where(in_range).correlate(IndexFile).scalar_subquery()
    with database.session() as session:
        version = schema_version(session.connection())
        columns, quantizer_columns = (
            [table.columns[name] for name in columns_of(table.name, table.columns.keys(), version)]
            for table in (IndexFile.metadata.tables[name] for name in ("index_file", "quantizer"))
        )
        some: Sequence[Any] = session.execute(select(*quantizer_columns)).all() if quantizer_columns else ()
        quantizers = {row[0]: QuantizerFile(*row) for row in some}
        rows = session.execute(select(live, *columns).order_by(IndexFile.first_region_id)).all()
        files = [FaissFile(*row[1:]) for row in rows]
        all_regions = select(func.sum(Photo.region_count)).where(Photo.first_region_id.is_not(None))
        return Snapshot(database, files, [row[0] for row in rows], session.scalar(all_regions) or 0, quantizers)


def read_extents(session: Session, photo_ids: Iterable[int] | None = None) -> Extents:
    """Where the rows of these described photos are, or of all; ids that are not known are left out.

    Raises:
        CollectionDamaged: a row does not say it.
    """
    checksum = func.coalesce(Photo.features_crc32, -1)
    columns = (Photo.id, Photo.first_region_id, Photo.region_count, Photo.segment_id, Photo.first_row, checksum)
    query = select(*columns).where(Photo.first_region_id.is_not(None)).order_by(Photo.first_region_id)
    if photo_ids is not None:
        query = query.where(among(Photo.id, photo_ids))
    rows = session.execute(query).all()
    try:
        table = np.array([tuple(row) for row in rows], np.int64).reshape(-1, len(columns))
    except (TypeError, ValueError) as error:  # no integers
        raise CollectionDamaged(f"A row of a photograph in photos.db is damaged ({error})") from error
    return Extents(*np.ascontiguousarray(table.T))


def read_segments(session: Session, segment_ids: Iterable[int] | None = None) -> dict[int, SegmentFile]:
    """These segments by id, or all."""
    query = select(Segment.__table__)
    if segment_ids is not None:
        query = query.where(among(Segment.id, segment_ids))
    return {row.id: SegmentFile(**row._mapping) for row in session.execute(query)}
