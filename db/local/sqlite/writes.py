"""What one commit does to the rows of photos.db that only a folder has: functions over a session."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from sqlalchemy import delete, exists, insert, text, update
from sqlalchemy.orm import Session

from db.local.records import FaissFile, QuantizerFile, SegmentFile
from db.local.segments import SegmentFolder
from db.records import NewPhoto
from db.sql import among
from db.tables import IndexFile, Meta, Photo, Quantizer, Region, Segment
from db.writes import photo_row, storable


def add(session: Session, segments: SegmentFolder, photos: Sequence[NewPhoto]) -> None:
    """Write a segment with the features of these photos, and all their rows."""
    if not photos:
        return
    counts = [len(photo.phrases) for photo in photos]
    first_rows = np.cumsum([0, *counts]).tolist()
    first_photo_id, first_region_id, segment_id = (next_id(session, table) for table in ("photo", "region", "segment"))
    segment = segments.write(
        segment_id,
        np.arange(first_region_id, first_region_id + first_rows[-1]),
        np.concatenate([photo.codes for photo in photos]),
        np.concatenate([photo.embeddings for photo in photos]),
    )
    session.execute(insert(Segment), [asdict(segment)])
    photo_rows, region_rows = [], []
    for photo_id, (photo, first_row) in enumerate(zip(photos, first_rows), first_photo_id):
        place = {"segment_id": segment_id, "first_row": first_row}
        photo_rows.append(photo_row(photo_id, photo, first_region_id + first_row) | place)
        region_rows += _region_rows(photo_id, photo, first_region_id + first_row)
    session.execute(insert(Photo), photo_rows)
    session.connection().execute(insert(Region), region_rows)


def _region_rows(photo_id: int, photo: NewPhoto, first_region_id: int) -> list[dict[str, object]]:
    regions = zip(photo.boxes.tolist(), photo.scores.tolist(), photo.phrases)
    return [
        {
            "id": region_id,
            "photo_id": photo_id,
            **dict(zip(("x1", "y1", "x2", "y2"), box)),
            "score": score,
            "phrase": storable(phrase),
        }
        for region_id, (box, score, phrase) in enumerate(regions, first_region_id)
    ]


# -- files


def place(session: Session, segment: SegmentFile, places: Sequence[Mapping[str, int]]) -> None:
    """Note that the features of photos are in this new segment.

    places: `id`, `first_row` and `features_crc32` of each.
    """
    session.execute(insert(Segment), [asdict(segment)])
    session.execute(update(Photo), [{"segment_id": segment.id, **a_place} for a_place in places])


def replace_indexes(
    session: Session, replaced: Iterable[int], files: Sequence[FaissFile], quantizer: QuantizerFile | None = None
) -> None:
    """Put FAISS files in the place of others. replaced: ids. quantizer: a new one that they have.

    Quantizers that no file has any more are forgotten.
    """
    session.connection().execute(delete(IndexFile).where(among(IndexFile.id, replaced)))
    if quantizer is not None:
        session.execute(insert(Quantizer), [asdict(quantizer)])
    if files:
        session.execute(insert(IndexFile), [asdict(file) for file in files])
    session.connection().execute(delete(Quantizer).where(~exists().where(IndexFile.quantizer_id == Quantizer.id)))


# -- the commit


def finish(session: Session) -> None:
    """Forget the segments that no photo needs any more, and count the commit.

    Their files stay as long as an earlier commit may be being read.
    """
    connection = session.connection()
    connection.execute(delete(Segment).where(~exists().where(Photo.segment_id == Segment.id)))
    connection.execute(update(Meta).values(revision=Meta.revision + 1))


def next_id(session: Session, table: str) -> int:
    """The id that AUTOINCREMENT would give. Asked for, not left to SQLite: the segment is written before its rows."""
    last = session.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}).scalar()
    return (last or 0) + 1
