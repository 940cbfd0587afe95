"""A collection on a server moves to a new checkpoint: a schema `NAME_next` is filled, then its rows go into `NAME`.

The rows are copied, not the schemas renamed: so who reads the old ones keeps them to the end of his snapshot, and
rights, views and other people's indexes stay. The new rows have ids of the old collection's sequences, so none means
two things, and checksums hold.
"""

import logging
from collections.abc import Collection as Ids
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from db import queries
from db.collection import Collection
from db.errors import CollectionError
from db.model_switch import pending_photos
from db.postgres.address import Address
from db.postgres.claims import drop_listing
from db.postgres.collection import PostgresCollection
from db.postgres.opening import create_schema, quoted
from db.postgres.partitions import TABLES, ensure_partitions
from db.postgres.successor import address_of_successor, digest_of_successor, is_begun, mark
from db.postgres.summaries import group_columns
from db.postgres.writes import finish
from db.records import ModelIdentity
from db.tables import Photo, Region

logger = logging.getLogger(__name__)

_LOCK = 0x5EA7D0  # held while a successor is begun
# Readers that have opened the tables are waited for so long before everybody else gets a turn again.
_LOCK_TIMEOUT = "2s"
_OF_SUMMARIES = ["photo_mean.embedding", *(f"photo_group.{name}" for name in group_columns())]


def open_successor(collection: Collection, model: ModelIdentity) -> PostgresCollection:
    """See `db.model_switch.open_successor`. Any number of builds may fill it at once."""
    ours = _checked(collection)
    ours.require_writer()
    if model == ours.model:
        raise ValueError("a collection cannot succeed itself")
    address = address_of_successor(ours.server.address)
    ours.server.write(_begin, ours.server.address, address, model)
    successor = PostgresCollection.open_at(address, write=True, create=True, model=model, indexed=False)
    try:
        ours.server.write(_inherit, ours.server.address.schema, address.schema)
    except BaseException:
        successor.close()
        raise
    return successor


def switch(collection: Collection, successor: Collection, *, gone: Ids[int] = ()) -> None:
    """See `db.model_switch.switch`. Commits of others wait meanwhile; questions do not."""
    ours, theirs = _checked(collection), _checked(successor)
    ours.require_writer()
    ours.server.write_once(lambda session: _replace(session, ours, theirs, set(gone)))
    theirs.close()
    ours.use(theirs.model)
    ours.make_indexes()


def moved_by_another(collection: Collection, model: ModelIdentity) -> bool:
    """See `db.model_switch.moved_by_another`."""
    ours = _checked(collection)
    ours.use(ours.server.read(queries.model))
    return ours.model == model


def _begin(session: Session, ours: Address, theirs: Address, model: ModelIdentity) -> None:
    """Make the schema, empty; or leave the one that has been begun for this checkpoint."""
    _lock(session)
    begun = is_begun(session, ours)
    other = digest_of_successor(session, ours)
    if begun and other is not None and other != model.digest:
        name = quoted(session.connection(), theirs.schema)
        at_work = f"SELECT count(*) FROM {name}.writer WHERE alive_until > now()"
        if _run(session, at_work).scalar():
            raise CollectionError(
                f"Another build is moving {ours} to the checkpoint {other[:12]}: wait for it, or stop it first."
            )
        logger.warning("What was described by the checkpoint %s is deleted.", other[:12])
        _run(session, f"DROP SCHEMA {name} CASCADE")
        begun = False
    if not begun:
        create_schema(session.connection(), theirs)
        mark(session, ours)


def _inherit(session: Session, ours: str, theirs: str) -> None:
    """Give a successor the roots, and have it draw ids where this collection does."""
    _lock(session)
    connection = session.connection()
    ours, theirs = quoted(connection, ours), quoted(connection, theirs)
    _run(session, f"INSERT INTO {theirs}.root (path) SELECT path FROM root ORDER BY id ON CONFLICT (path) DO NOTHING")
    named = ours.replace("'", "''")
    _run(
        session,
        f"""
        CREATE OR REPLACE FUNCTION {theirs}.take_ids(name regclass, how_many bigint) RETURNS bigint LANGUAGE sql AS $$
            SELECT {ours}.take_ids(
                (SELECT '{named}.' || quote_ident(relname) FROM pg_class WHERE oid = name)::regclass, how_many
            )
        $$""",
    )


def _replace(session: Session, ours: PostgresCollection, theirs: PostgresCollection, gone: set[int]) -> None:
    # From here on commits wait: into this collection, and into the other one.
    stored = queries.model(session, lock=True)
    if stored == theirs.model:  # another process was quicker
        return
    if digest_of_successor(session, ours.server.address) != theirs.model.digest:
        raise CollectionError(f"What was to take the place of {ours.location} is not there any more: run it again.")
    new = quoted(session.connection(), theirs.server.address.schema)
    _run(session, f"SELECT FROM {new}.meta FOR UPDATE")
    if lost := pending_photos(ours, theirs).keys() - gone:
        raise CollectionError(
            f"The checkpoint {theirs.model.digest[:12]} has not described {len(lost):,} of its photographs yet: the "
            f"collection {ours.location} stays with {ours.model.digest[:12]}."
        )
    if (stored.embedding_size, stored.code_size) != (theirs.model.embedding_size, theirs.model.code_size):
        # Only without anybody who reads: the columns change.
        session.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
        session.execute(text(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"))
    for table in (*TABLES, "photo"):
        session.execute(text(f"DELETE FROM {table}"))
    drop_listing(session)
    session.execute(text("UPDATE vector_index SET regions = 0"))  # to be made again
    for column, old, size in (
        ("region.embedding", stored.embedding_size, theirs.model.embedding_size),
        ("region_code.code", stored.code_size, theirs.model.code_size),
        *((name, stored.embedding_size, theirs.model.embedding_size) for name in _OF_SUMMARIES),
    ):
        if old != size:
            table, name = column.split(".")
            session.execute(text(f"ALTER TABLE {table} ALTER COLUMN {name} TYPE halfvec({size})"))
    _copy_rows(session, new)
    session.execute(
        text("UPDATE meta SET model_digest = :digest, embedding_size = :embedding_size, code_size = :code_size"),
        vars(theirs.model),
    )
    _run(session, f"UPDATE meta SET precisions = theirs.precisions FROM {new}.meta AS theirs")
    finish(session, theirs.model)
    _run(session, f"DROP SCHEMA {new} CASCADE")


def _copy_rows(session: Session, new: str) -> None:
    _run(session, f"INSERT INTO root (path) SELECT path FROM {new}.root ORDER BY id ON CONFLICT (path) DO NOTHING")
    _run(session, f"UPDATE root SET left_out = theirs.left_out FROM {new}.root AS theirs WHERE theirs.path = root.path")
    first, last = _run(
        session, f"SELECT min(first_region_id), max(first_region_id + region_count - 1) FROM {new}.photo"
    ).one()
    if first is not None and last >= first:
        ensure_partitions(session, first, last)
    columns = [column.name for column in Photo.__table__.columns]
    values = ["root.id" if name == "root_id" else f"photo.{name}" for name in columns]
    _run(
        session,
        f"INSERT INTO photo ({', '.join(columns)}) SELECT {', '.join(values)} FROM {new}.photo AS photo "
        f"JOIN {new}.root AS theirs ON theirs.id = photo.root_id JOIN root ON root.path = theirs.path",
    )
    of_region = ", ".join([*(column.name for column in Region.__table__.columns), "embedding"])
    for table, names in (
        ("region", of_region),
        ("region_code", "id, code"),
        ("photo_mean", "id, photo_id, embedding"),
        ("photo_group", ", ".join(["id", *group_columns()])),
        ("build", "finished_at, seconds, counts"),
    ):
        _run(session, f"INSERT INTO {table} ({names}) SELECT {names} FROM {new}.{table} ORDER BY id")


def _run(session: Session, statement: str) -> Any:
    """A statement with the name of a schema in it, which may have any characters."""
    return session.execute(text(statement.replace(":", r"\:")))


def _lock(session: Session) -> None:
    session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(current_schema()))"), {"lock": _LOCK})


def _checked(collection: Collection) -> PostgresCollection:
    assert isinstance(collection, PostgresCollection)
    return collection
