"""The rows of one collection in the place of another's, in one transaction: its database is attached meanwhile."""

from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from db.local.records import FaissFile, QuantizerFile, SegmentFile
from db.local.sqlite.writes import next_id
from db.tables import IndexFile, Photo, Quantizer, Region, Root, Segment

ATTACHED = "successor"  # what SQL calls the other database
_NUMBERED = ("photo", "region", "segment", "index_file")  # tables whose ids go on from those of the old collection


def is_created(session: Session) -> bool:
    """Whether there is more than an empty database: its writer may have been killed before its first commit."""
    return bool(session.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'meta'")))


def inherit(ours: Session, theirs: Session) -> None:
    """Give a new successor the roots, and ids that go on from here: no id may mean two things."""
    if theirs.scalar(select(Root.id).limit(1)) is not None:
        return
    roots = [{"id": root.id, "path": root.path} for root in ours.scalars(select(Root))]
    if roots:
        theirs.execute(insert(Root), roots)
    for table in _NUMBERED:
        values = {"name": table, "seq": next_id(ours, table) - 1}
        theirs.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        theirs.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values)


def attached_files(session: Session) -> tuple[list[SegmentFile], list[FaissFile], list[QuantizerFile]]:
    """The files that the attached database names."""
    segments = session.execute(text(f"SELECT * FROM {ATTACHED}.segment"))
    faiss_rows: list[Any] = list(session.execute(text(f"SELECT * FROM {ATTACHED}.index_file")))
    quantizers: list[Any] = list(session.execute(text(f"SELECT * FROM {ATTACHED}.quantizer")))
    return (
        [SegmentFile(**row._mapping) for row in segments],
        [FaissFile(*row) for row in faiss_rows],
        [QuantizerFile(*row) for row in quantizers],
    )


def replace_rows(session: Session, faiss_id_shift: int) -> None:
    """Put the attached database's rows in the place of ours.

    faiss_id_shift: added to the ids of its FAISS files, for we may have files of those names.
    """
    for row in (Region, Photo, IndexFile, Quantizer, Segment, Root):
        session.execute(text(f"DELETE FROM main.{row.__tablename__}"))
    for row in (Root, Segment, Photo, Region, Quantizer, IndexFile):
        columns = [column.name for column in row.__table__.columns]
        values = [f"id + {faiss_id_shift}" if row is IndexFile and name == "id" else name for name in columns]
        session.execute(
            text(
                f"INSERT INTO main.{row.__tablename__} ({', '.join(columns)}) "
                f"SELECT {', '.join(values)} FROM {ATTACHED}.{row.__tablename__}"
            )
        )
    model = "model_digest, embedding_size, code_size, precisions"
    session.execute(text(f"UPDATE main.meta SET ({model}) = (SELECT {model} FROM {ATTACHED}.meta)"))
    builds = "finished_at, seconds, counts"
    session.execute(text(f"INSERT INTO main.build ({builds}) SELECT {builds} FROM {ATTACHED}.build ORDER BY id"))
