"""What one commit does to the rows that only a server has: functions over a session."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from db import queries, writes
from db.checks import check_changes, check_photo
from db.errors import CheckpointMismatch
from db.postgres.partitions import ensure_partitions
from db.postgres.server import driver_connection
from db.postgres.summaries import add_summaries
from db.postgres.vectors import copy_in
from db.records import FailedFile, FileState, ModelIdentity, NewPath, NewPhoto
from db.tables import Meta, Photo
from db.writes import photo_row, storable


@dataclass(frozen=True)
class Changes:
    """What a commit is to do; see `Collection.commit`."""

    new: Sequence[NewPhoto] = ()
    moved: Mapping[int, NewPath] = field(default_factory=dict)
    touched: Mapping[int, FileState | tuple[int, int]] = field(default_factory=dict)
    gone: Sequence[int] = ()
    failed: Sequence[FailedFile] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.moved or self.touched or self.gone or self.failed)

    def check(self, model: ModelIdentity) -> None:
        """Raise ValueError for arrays that do not fit, or two changes of one photo or path."""
        for photo in self.new:
            check_photo(photo, model)
        check_changes(self.new, self.moved, self.touched, self.gone, self.failed)

    def without(self, files: Collection[tuple[int, str]]) -> "Changes":
        """All but what concerns these files (root id, path). Touched ones stay: that can be noted twice."""
        return replace(
            self,
            new=[photo for photo in self.new if (photo.root_id, photo.path) not in files],
            moved={some_id: to for some_id, to in self.moved.items() if (to.root_id, to.path) not in files},
            failed=[file for file in self.failed if (file.root_id, file.path) not in files],
        )


def apply(session: Session, changes: Changes, model: ModelIdentity) -> None:
    """Make all of these changes. Raises UnknownId."""
    failed = changes.failed
    writes.require_known(session, [*changes.moved, *changes.touched, *changes.gone])
    writes.remove(session, changes.gone)
    writes.move(session, changes.moved)
    writes.touch(session, changes.touched)
    writes.clear(session, changes.new)
    writes.clear(session, failed)
    add(session, changes.new, model)
    writes.add_failed(session, failed, take_ids(session, "photo_id", len(failed)) if failed else None)
    finish(session, model)


def add(session: Session, photos: Sequence[NewPhoto], model: ModelIdentity) -> None:
    """Add described photos, their regions and codes, their summaries."""
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
        ("phrase", [storable(phrase).encode() for photo in photos for phrase in photo.phrases]),
    )
    copy_in(
        connection,
        "region_code",
        [("id", "i8"), ("code", model.code_size)],
        {"id": region_ids, "code": np.concatenate([photo.codes for photo in photos])},
    )
    add_summaries(session, firsts[:-1], photo_ids, [photo.embeddings for photo in photos])


def take_ids(session: Session, sequence: str, count: int) -> int:
    """The first of so many ids in a row that no other writer gets, whatever becomes of this transaction."""
    first = session.scalar(text("SELECT take_ids(:name, :count)"), {"name": sequence, "count": count})
    assert isinstance(first, int)
    return first


def finish(session: Session, model: ModelIdentity) -> None:
    """Count the commit: last, for other writers wait for this row until the transaction has ended.

    Raises:
        CheckpointMismatch: the collection is of another checkpoint than this one since.
    """
    counting = update(Meta).where(Meta.model_digest == model.digest).values(revision=Meta.revision + 1)
    if not session.connection().execute(counting).rowcount:
        raise CheckpointMismatch(
            f"The collection has moved from the checkpoint {model.digest[:12]} to {queries.model(session).digest[:12]} "
            "meanwhile: run the command again with that one. What was committed before is replaced."
        )
