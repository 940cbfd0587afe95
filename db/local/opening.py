"""What has to be so before a folder is used as a collection: it is one, its schema fits, its model is known."""

import logging
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import CollectionDamaged, CollectionError, CollectionMissing
from db.local.files import sync_folder
from db.local.sqlite.backup import COPY, copy_database
from db.local.sqlite.connection import Store
from db.local.sqlite.migrations import MIGRATIONS, check_version, migrate, schema_version
from db.local.sqlite.queries import SEGMENTS
from db.records import ModelIdentity
from db.tables import Meta

logger = logging.getLogger(__name__)

DATABASE = "photos.db"
LOCK = "lock"
READERS = "readers"


def missing(path: Path) -> CollectionError:
    """Why there is no database in this folder, or an empty one."""
    if is_bereft(path):
        return CollectionDamaged(f"{path / DATABASE} is {'empty' if (path / DATABASE).exists() else 'missing'}")
    return CollectionMissing(f"There is no collection in {path}: `indexer build FOLDER` makes one.")


def is_bereft(path: Path) -> bool:
    """Whether a folder without a database, or with an empty one, holds what only a collection leaves behind."""
    return (path / COPY).exists() or any(path.glob(f"{SEGMENTS}/*.h5")) or any(path.glob("regions.*.faiss"))


def make_folder(path: Path) -> None:
    """Make the folder of a new collection, in a place of its own.

    Raises:
        CollectionDamaged: there is all of a collection in it but the database.
        CollectionError: there are other things in it.
    """
    path.mkdir(parents=True, exist_ok=True)
    sync_folder(path.parent)
    others = {entry.name for entry in path.iterdir()} - {LOCK, READERS}
    if DATABASE in others:  # another process was quicker
        return
    if is_bereft(path):
        raise missing(path)
    if others:
        raise CollectionError(
            f"{path} holds other files ({min(others)}) and no collection: "
            "name a folder that is empty or does not exist."
        )


def prepare(store: Store, *, write: bool, create: ModelIdentity | None) -> ModelIdentity:
    """Bring the schema up to date (writers) or check it (readers), and say whose collection it is.

    Raises:
        CollectionMissing: the database is empty, and nobody says `create`.
        CollectionDamaged: it is empty, but what belongs to it is there: to begin anew would sweep that away.
        SchemaTooNew: a newer program wrote it.
        CollectionError: an older program wrote it and this is a reader.
    """
    with store.session() as session:
        version = schema_version(session.connection())
    folder = store.path.parent
    if version == 0 and (create is None or is_bereft(folder)):  # else a writer was killed before its first commit
        raise missing(folder)
    if not write:
        check_version(version)
    elif 0 < version < len(MIGRATIONS):
        copy = store.path.with_name(f"photos.schema-{version}.db")
        copy_database(store.path, copy)
        logger.warning("The collection is brought from schema %d to %d; its database before that stays as %s.",
                       version, len(MIGRATIONS), copy)  # fmt: skip
    with store.session() as session:
        if write:
            migrate(session.connection())
        if version == 0 and create is not None:
            _create_meta(session, create)
        return read_model(session)


def read_model(session: Session) -> ModelIdentity:
    """The checkpoint that described the collection.

    Raises:
        CollectionDamaged: the database does not say.
    """
    rows = session.execute(select(Meta.model_digest, Meta.embedding_size, Meta.code_size)).all()
    if len(rows) != 1:
        raise CollectionDamaged(f"{DATABASE} is damaged ({len(rows)} rows of meta instead of 1)")
    return ModelIdentity(*rows[0])


def _create_meta(session: Session, model: ModelIdentity) -> None:
    session.add(
        Meta(
            id=1,
            model_digest=model.digest,
            embedding_size=model.embedding_size,
            code_size=model.code_size,
            revision=0,
        )
    )
    session.flush()
