"""The schema `NAME_next`: a collection for another checkpoint, on its way to replace the one of the schema `NAME`."""

from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.errors import CollectionError
from db.postgres.address import LONGEST_NAME, Address
from db.postgres.opening import quoted

_SUFFIX = "_next"
# What a successor's schema says of itself: one of that name that says something else is somebody's own.
_COMMENT = "densecap-search: takes the place of {}"


def address_of_successor(address: Address) -> Address:
    """Where the successor of a collection is.

    Raises:
        CollectionError: the name of the schema is too long.
    """
    schema = address.schema + _SUFFIX
    if len(schema.encode()) > LONGEST_NAME:
        raise CollectionError(
            f"Beside the schema {address.schema} there has to be one with {_SUFFIX} behind its name, which is too long "
            f'for that: give it a shorter one, `ALTER SCHEMA "{address.schema}" RENAME TO photos`.'
        )
    return replace(address, schema=schema)


def is_begun(session: Session, address: Address) -> bool:
    """Whether a collection has a successor's schema.

    Raises:
        CollectionError: the schema of that name is something else.
    """
    theirs = address_of_successor(address).schema
    said = _said(session, theirs)
    if said is not None and said != _COMMENT.format(address.schema):
        raise CollectionError(
            f"The schema {theirs} is needed for what takes the place of {address}, and holds other things: give it "
            f'another name, `ALTER SCHEMA "{theirs}" RENAME TO other`.'
        )
    return said is not None


def digest_of_successor(session: Session, address: Address) -> str | None:
    """The checkpoint of a collection's successor; None: there is none, or its tables are not made yet."""
    if _said(session, address.schema + _SUFFIX) != _COMMENT.format(address.schema):
        return None
    name = quoted(session.connection(), address.schema + _SUFFIX)
    if session.scalar(text("SELECT to_regclass(:name) IS NULL"), {"name": f"{name}.meta"}):
        return None
    return session.scalar(text(f"SELECT model_digest FROM {name}.meta".replace(":", r"\:")))


def mark(session: Session, address: Address) -> None:
    """Say of a successor's schema, just made, what it is."""
    name = quoted(session.connection(), address.schema + _SUFFIX)
    comment = _COMMENT.format(address.schema).replace("'", "''")
    session.execute(text(f"COMMENT ON SCHEMA {name} IS '{comment}'".replace(":", r"\:")))


def _said(session: Session, schema: str) -> str | None:
    """The comment on a schema, "" if there is none; None: there is no such schema."""
    return session.scalar(
        text("SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :name"),
        {"name": schema},
    )
