"""A collection moves to a new checkpoint while the old descriptions stay in use.

A successor, a collection of its own in the folder `next`, is filled by ordinary commits. Then it replaces the old one
in one transaction on the old photos.db, into which its rows go; its files are linked into the old folders first, where
no row names them before the commit.
"""

import logging
import os
import shutil
from collections.abc import Collection as Ids
from dataclasses import replace
from pathlib import Path

from sqlalchemy.orm import Session

from db.errors import CollectionDamaged, CollectionError
from db.local.collection import LocalCollection
from db.local.files import atomic_write, sync_folder
from db.local.layout import Layout
from db.local.sqlite.connection import plain_errors
from db.local.sqlite.replacement import ATTACHED, attached_files, inherit, replace_rows
from db.local.sqlite.writes import next_id
from db.local.successor import discard, model_of
from db.model_switch import pending_photos
from db.records import ModelIdentity

logger = logging.getLogger(__name__)


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
        inherit(ours, theirs)
    return successor


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
        collection.database.attached(successor.layout.database, ATTACHED),
        collection.transaction() as session,
    ):
        shift = _link_files(session, successor.layout, collection.layout)
        replace_rows(session, shift)
    collection.use(successor.model)
    with plain_errors(collection.path):
        discard(collection.layout)
    collection.keep_copy()
    collection.sweep()


def _link_files(session: Session, theirs: Layout, ours: Layout) -> int:
    """Link the successor's files into our folders: orphans there until its rows are committed.

    session: of ours, with theirs attached.

    Returns:
        What has to be added to the ids of the successor's FAISS files: we may have files of those names.

    Raises:
        OSError: the disk refuses.
    """
    shift = next_id(session, "index_file") - 1
    segments, faiss_files, quantizers = attached_files(session)
    ours.features.mkdir(exist_ok=True)
    for segment in segments:
        _link(theirs.features / segment.name, ours.features / segment.name)
    for file in faiss_files:
        _link(theirs.folder / file.name, ours.folder / replace(file, id=file.id + shift).name)
    for quantizer in quantizers:
        _link(theirs.folder / quantizer.name, ours.folder / quantizer.name)
    sync_folder(ours.features)
    sync_folder(ours.folder)
    return shift


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # of an attempt that was killed
    try:
        os.link(source, target)
    except OSError:  # a file system without links; if it is the disk that refuses, so it does now
        with atomic_write(target) as stream, open(source, "rb") as original:
            shutil.copyfileobj(original, stream)
