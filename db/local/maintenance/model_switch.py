"""A collection moves to a new checkpoint while the old descriptions stay in use.

A successor, a collection of its own in the folder `next`, is filled by ordinary commits. Then it replaces the old one
in one transaction on the old photos.db, into which its rows go; its files are linked into the old folders first, where
nobody sees them before the commit.
"""

import logging
import os
import shutil
from collections.abc import Collection as Ids
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from db.errors import CollectionDamaged, CollectionError
from db.local.collection import LocalCollection
from db.local.files import atomic_write, sync_folder
from db.local.layout import Layout
from db.local.segments import SegmentFile
from db.local.sqlite.connection import plain_errors
from db.local.sqlite.snapshot import SavedIndex
from db.local.sqlite.writes import next_id
from db.local.successor import discard, model_of
from db.records import ModelIdentity, PhotoStat
from db.tables import IndexFile, Photo, Region, Root, Segment

logger = logging.getLogger(__name__)

_SCHEMA = "successor"  # what SQL calls the successor's database while it is attached
_NUMBERED = ("photo", "region", "segment", "index_file")  # tables whose ids go on from those of the old collection


def open_successor(collection: LocalCollection, model: ModelIdentity) -> LocalCollection:
    """The collection that is going to replace this one, described by another checkpoint; open for writing.

    It is in the folder `next` of this one, knows the same roots and is filled like any other, in as many runs as it
    takes; this one stays as it is meanwhile, and may even change. One for a third checkpoint is deleted, with a
    warning. `pending_photos` says what it lacks, `switch` puts it in this one's place.

    Raises:
        ValueError: this collection is of that checkpoint.
    """
    collection.require_writer()
    if model == collection.model:
        raise ValueError("a collection cannot succeed itself")
    layout = collection.layout
    try:
        begun = model_of(layout.successor)
    except CollectionDamaged as damage:
        logger.warning("%s: what was described there is described again.", damage.fault)
        discard(layout)
        begun = None
    if begun is not None and begun != model:
        logger.warning("What was described by the checkpoint %s is deleted.", begun.digest[:12])
        discard(layout)
    successor = LocalCollection.open(layout.successor.folder, write=True, create=True, model=model)
    with collection.database.session() as ours, successor.database.session() as theirs:
        _inherit(ours, theirs)
    return successor


def pending_photos(collection: LocalCollection, successor: LocalCollection) -> dict[int, Path]:
    """The described photos (id -> path) that a successor knows neither by path nor by content.

    A file that the successor could not read is not known to it.
    """
    theirs = _known(successor)
    paths = {root: {path for path, stat in known.items() if not stat.unread} for root, known in theirs.items()}
    contents = {stat.digest for known in theirs.values() for stat in known.values()}
    return {
        stat.photo_id: root / path
        for root, known in _known(collection).items()
        for path, stat in known.items()
        if not stat.failed and path not in paths.get(root, ()) and stat.digest not in contents
    }


def switch(collection: LocalCollection, successor: LocalCollection, *, gone: Ids[int] = ()) -> None:
    """Put a successor in the collection's place, in one transaction; the successor's folder is deleted.

    Killed at any moment, this is the old collection and the successor is whole, or this is the new one. Readers of
    the old one keep it until they `refresh`.

    Args:
        gone: ids of photos that need not be in the successor, because their files are gone.

    Raises:
        CollectionError: a photo would be lost; nothing has changed.
    """
    collection.require_writer()
    if lost := pending_photos(collection, successor).keys() - set(gone):
        raise CollectionError(
            f"The checkpoint {successor.model.digest[:12]} has not described {len(lost):,} of its "
            f"photographs yet: the collection {collection.path} stays with {collection.model.digest[:12]}."
        )
    successor.close()
    with (
        collection.database.attached(successor.layout.database, _SCHEMA),
        collection.transaction() as session,
    ):
        shift = _link_files(session, successor.layout, collection.layout)
        _replace_rows(session, shift)
    collection.use(successor.model)
    with plain_errors(collection.path):
        discard(collection.layout)
    collection.keep_copy()
    collection.sweep()


def _known(collection: LocalCollection) -> dict[Path, Mapping[str, PhotoStat]]:
    """Root -> relative path -> file."""
    return {root: collection.known(root_id) for root_id, root in collection.roots().items()}


def _inherit(ours: Session, theirs: Session) -> None:
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


def _link_files(session: Session, theirs: Layout, ours: Layout) -> int:
    """Link the successor's files into our folders: orphans there until `_replace_rows` is committed.

    session: of ours, with theirs attached as _SCHEMA.

    Returns:
        What `_replace_rows` has to add to the ids of the successor's FAISS files: we may have files of those names.

    Raises:
        OSError: the disk refuses.
    """
    shift = next_id(session, "index_file") - 1
    ours.features.mkdir(exist_ok=True)
    for row in session.execute(text(f"SELECT * FROM {_SCHEMA}.segment")):
        name = SegmentFile(**row._mapping).name
        _link(theirs.features / name, ours.features / name)
    for row in session.execute(text(f"SELECT * FROM {_SCHEMA}.index_file")):
        values: Any = row
        file = SavedIndex(*values)
        _link(theirs.folder / file.name, ours.folder / replace(file, id=file.id + shift).name)
    sync_folder(ours.features)
    sync_folder(ours.folder)
    return shift


def _replace_rows(session: Session, shift: int) -> None:
    """Put the successor's rows in the place of ours. shift: see `_link_files`."""
    for row in (Region, Photo, IndexFile, Segment, Root):
        session.execute(text(f"DELETE FROM main.{row.__tablename__}"))
    for row in (Root, Segment, Photo, Region, IndexFile):
        columns = [column.name for column in row.__table__.columns]
        values = [f"id + {shift}" if row is IndexFile and name == "id" else name for name in columns]
        session.execute(
            text(
                f"INSERT INTO main.{row.__tablename__} ({', '.join(columns)}) "
                f"SELECT {', '.join(values)} FROM {_SCHEMA}.{row.__tablename__}"
            )
        )
    model = "model_digest, embedding_size, code_size"
    session.execute(text(f"UPDATE main.meta SET ({model}) = (SELECT {model} FROM {_SCHEMA}.meta)"))
    builds = "finished_at, seconds, counts"
    session.execute(text(f"INSERT INTO main.build ({builds}) SELECT {builds} FROM {_SCHEMA}.build ORDER BY id"))


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # of an attempt that was killed
    try:
        os.link(source, target)
    except OSError:  # a file system without links; if it is the disk that refuses, so it does now
        with atomic_write(target) as stream, open(source, "rb") as original:
            shutil.copyfileobj(original, stream)
