"""What one commit does to the rows that only a server has: functions over a session."""

from collections.abc import Sequence

import numpy as np
from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from db.postgres.partitions import ensure_partitions
from db.postgres.server import driver_connection
from db.postgres.vectors import copy_in
from db.records import ModelIdentity, NewPhoto
from db.tables import Meta, Photo
from db.writes import photo_row, storable


def add(session: Session, photos: Sequence[NewPhoto], model: ModelIdentity) -> None:
    """Add described photos, their regions and codes."""
    if not photos:
        return
    counts = [len(photo.phrases) for photo in photos]
    first_photo_id = take_ids(session, "photo_id", len(photos))
    first_region_id = take_ids(session, "region_id", sum(counts))
    ensure_partitions(session, first_region_id, first_region_id + sum(counts) - 1)
    firsts = (first_region_id + np.cumsum([0, *counts])).tolist()
    photo_ids = range(first_photo_id, first_photo_id + len(photos))
    session.execute(insert(Photo), [photo_row(*row) for row in zip(photo_ids, photos, firsts)])
    region_ids = np.arange(first_region_id, firsts[-1])
    connection = driver_connection(session)
    boxes = np.concatenate([photo.boxes for photo in photos])
    copy_in(
        connection,
        "region",
        [
            *((name, "i8") for name in ("id", "photo_id")),
            *((name, "f8") for name in ("x1", "y1", "x2", "y2", "score")),
            ("embedding", model.embedding_size),
        ],
        {
            "id": region_ids,
            "photo_id": np.repeat(photo_ids, counts),
            **dict(zip(("x1", "y1", "x2", "y2"), boxes.T)),
            "score": np.concatenate([photo.scores for photo in photos]),
            "embedding": np.concatenate([photo.embeddings for photo in photos]),
        },
        ("phrase", [storable(phrase) for photo in photos for phrase in photo.phrases]),
    )
    copy_in(
        connection,
        "region_code",
        [("id", "i8"), ("code", model.code_size)],
        {"id": region_ids, "code": np.concatenate([photo.codes for photo in photos])},
    )


def take_ids(session: Session, sequence: str, count: int) -> int:
    """The first of so many ids in a row that no other writer gets, whatever becomes of this transaction."""
    first = session.scalar(text("SELECT take_ids(:name, :count)"), {"name": sequence, "count": count})
    assert isinstance(first, int)
    return first


def finish(session: Session) -> None:
    """Count the commit: last, for other writers wait for this row until the transaction has ended."""
    session.connection().execute(update(Meta).values(revision=Meta.revision + 1))
