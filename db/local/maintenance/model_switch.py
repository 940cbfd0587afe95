"""One collection takes another's place: how a collection moves to a new checkpoint while the old one stays in use.

The successor is a collection of its own in the folder `next`, filled by ordinary commits. To take over is one
transaction on the old photos.db, into which its rows go; its files are linked into the old folders first, where nobody
sees them before the commit.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from db.local.files import published, sync_folder
from db.local.opening import DATABASE, read_model
from db.local.segments import SegmentFile
from db.local.sqlite.connection import Store
from db.local.sqlite.snapshot import SavedIndex
from db.local.sqlite.writes import next_id
from db.records import ModelIdentity, PhotoStat
from db.tables import IndexFile, Photo, Region, Root, Segment

FOLDER = "next"
DISCARDED = "discarded"  # what a successor's folder is called while it is deleted
SCHEMA = "successor"  # what SQL calls its database while it takes over
_TABLES = ("photo", "region", "segment", "index_file")


def model_of(path: Path) -> ModelIdentity | None:
    """The checkpoint of the collection in this folder; None: there is none yet."""
    if not (path / DATABASE).exists():
        return None
    store = Store(path / DATABASE, write=False)
    try:
        with store.session() as session:
            created = session.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'meta'"))
            return read_model(session) if created else None
    finally:
        store.close()


def discard(path: Path) -> None:
    """Delete a successor. Killed at any moment, it is whole, or it is none any more and `sweep` deletes the rest."""
    sweep(path.parent)
    if path.exists():
        os.replace(path, path.with_name(DISCARDED))
        sweep(path.parent)


def sweep(folder: Path) -> None:
    """Delete what is left, in a collection's folder, of a successor that was being discarded."""
    if (folder / DISCARDED).exists():
        shutil.rmtree(folder / DISCARDED)


def inherit(ours: Session, theirs: Session) -> None:
    """Give a new successor the roots, and ids that go on from here: no id is to mean two things."""
    if theirs.scalar(select(Root.id).limit(1)) is not None:
        return
    roots = [{"id": root.id, "path": root.path} for root in ours.scalars(select(Root))]
    if roots:
        theirs.execute(insert(Root), roots)
    for table in _TABLES:
        values = {"name": table, "seq": next_id(ours, table) - 1}
        theirs.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        theirs.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"), values)


def pending(
    ours: Mapping[Path, Mapping[str, PhotoStat]], theirs: Mapping[Path, Mapping[str, PhotoStat]]
) -> dict[int, Path]:
    """Our described photographs (id -> path) that they know neither by path nor by content.

    Both: root -> relative path -> file. A file that they could not read is not known.
    """
    paths = {root: {path for path, stat in known.items() if not stat.unread} for root, known in theirs.items()}
    contents = {stat.digest for known in theirs.values() for stat in known.values()}
    return {
        stat.photo_id: root / path
        for root, known in ours.items()
        for path, stat in known.items()
        if not stat.failed and path not in paths.get(root, ()) and stat.digest not in contents
    }


def bring_files(session: Session, theirs: Path, ours: Path, segments: str) -> int:
    """Link the successor's files into our folders: orphans there until `take_over` is committed.

    Args:
        session: of ours, with theirs attached as SCHEMA.
        theirs, ours: the folders of the two collections; segments: the name of the folder of segments in each.

    Returns:
        What `take_over` has to add to the ids of the successor's FAISS files: we may have files of those names.

    Raises:
        OSError: the disk refuses.
    """
    shift = next_id(session, "index_file") - 1
    (ours / segments).mkdir(exist_ok=True)
    for row in session.execute(text(f"SELECT * FROM {SCHEMA}.segment")):
        name = SegmentFile(**row._mapping).name
        _link(theirs / segments / name, ours / segments / name)
    for row in session.execute(text(f"SELECT * FROM {SCHEMA}.index_file")):
        file = SavedIndex(**row._mapping)
        _link(theirs / file.name, ours / replace(file, id=file.id + shift).name)
    sync_folder(ours / segments)
    sync_folder(ours)
    return shift


def take_over(session: Session, shift: int) -> None:
    """Put the successor's rows in the place of ours. `shift`: see `bring_files`."""
    for row in (Region, Photo, IndexFile, Segment, Root):
        session.execute(text(f"DELETE FROM main.{row.__tablename__}"))
    for row in (Root, Segment, Photo, Region, IndexFile):
        columns = [column.name for column in row.__table__.columns]
        values = [f"id + {shift}" if row is IndexFile and name == "id" else name for name in columns]
        session.execute(
            text(
                f"INSERT INTO main.{row.__tablename__} ({', '.join(columns)}) "
                f"SELECT {', '.join(values)} FROM {SCHEMA}.{row.__tablename__}"
            )
        )
    model = "model_digest, embedding_size, code_size"
    session.execute(text(f"UPDATE main.meta SET ({model}) = (SELECT {model} FROM {SCHEMA}.meta)"))
    builds = "finished_at, seconds, counts"
    session.execute(text(f"INSERT INTO main.build ({builds}) SELECT {builds} FROM {SCHEMA}.build ORDER BY id"))


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # of an attempt that was killed
    try:
        os.link(source, target)
    except OSError:  # a file system without links; if it is the disk that refuses, so it does now
        with published(target) as stream, open(source, "rb") as original:
            shutil.copyfileobj(original, stream)
