"""What must be true before a folder is used as a collection: it is one, its schema fits, its checkpoint is known."""

import logging

from db import queries, writes
from db.errors import CollectionDamaged, CollectionError, CollectionMissing
from db.local.files import sync_folder
from db.local.layout import Layout
from db.local.sqlite.backup import copy_database
from db.local.sqlite.connection import Database
from db.local.sqlite.migrations import MIGRATIONS, check_version, migrate, schema_version
from db.records import ModelIdentity

logger = logging.getLogger(__name__)


def missing(layout: Layout) -> CollectionError:
    """Why there is no database in this folder, or an empty one."""
    if layout.has_orphaned_files():
        return CollectionDamaged(f"{layout.database} is {'empty' if layout.database.exists() else 'missing'}")
    return CollectionMissing(f"There is no collection in {layout.folder}: `indexer build FOLDER` makes one.")


def make_folder(layout: Layout) -> None:
    """Make the folder of a new collection, in a place of its own.

    Raises:
        CollectionDamaged: all of a collection is in it except the database.
        CollectionError: there are other things in it.
    """
    layout.folder.mkdir(parents=True, exist_ok=True)
    sync_folder(layout.folder.parent)
    others = {entry.name for entry in layout.folder.iterdir()} - {layout.lock.name, layout.readers.name}
    if layout.database.name in others:  # another process was quicker
        return
    if layout.has_orphaned_files():
        raise missing(layout)
    if others:
        raise CollectionError(
            f"{layout.folder} holds other files ({min(others)}) and no collection: "
            "name a folder that is empty or does not exist."
        )


def prepare(database: Database, layout: Layout, *, write: bool, create: ModelIdentity | None) -> ModelIdentity:
    """Bring the schema up to date (writers) or check it (readers), and say which checkpoint the collection is of.

    create: the checkpoint of a collection that may have to be made.

    Raises:
        CollectionMissing: the database is empty, and `create` is not given.
        CollectionDamaged: it is empty, but what belongs to it is there: a new one would have that deleted.
        SchemaTooNew: a newer program wrote it.
        CollectionError: an older program wrote it and this is a reader.
    """
    with database.session() as session:
        version = schema_version(session.connection())
    if version == 0 and (create is None or layout.has_orphaned_files()):  # else killed before its first commit
        raise missing(layout)
    if not write:
        check_version(version)
    elif 0 < version < len(MIGRATIONS):
        copy = layout.database_of_schema(version)
        copy_database(database.path, copy)
        logger.warning("The collection is brought from schema %d to %d; its database before that stays as %s.",
                       version, len(MIGRATIONS), copy)  # fmt: skip
    with database.session() as session:
        if write:
            migrate(session.connection())
        if version == 0 and create is not None:
            writes.create_meta(session, create)
        return queries.model(session)
