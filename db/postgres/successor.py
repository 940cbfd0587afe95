"""The schema `NAME_next`: a collection for another checkpoint, on its way to replace the one of the schema `NAME`."""

import shlex
from dataclasses import dataclass, replace

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.errors import CollectionError
from db.location import option
from db.postgres.address import DEFAULT_SCHEMA, LONGEST_NAME, Address
from db.postgres.opening import quoted

_SUFFIX = "_next"
# What a successor's schema says of itself: one of that name that says something else is somebody's own. Behind it
# stands when it was begun, which the server does not remember.
_COMMENT = "densecap-search: takes the place of {}"
_SINCE = ", since "


@dataclass
class Successor:
    """A successor that was begun and has not taken the collection's place."""

    schema: str
    since: str | None  # "2026-11-26 21:40 UTC"; None: an older version of this program began it
    checkpoint: str | None  # None: it has no tables yet
    builds: int  # at work on it
    go_on: str  # commands that can be run as they are
    drop: str
    photographs: int = 0

    def __str__(self) -> str:
        begun = f"begun {self.since}" if self.since else "begun some time ago"
        if self.checkpoint is None:
            what = "with nothing in it yet"
        else:
            described = f"{self.photographs:,} photograph{'' if self.photographs == 1 else 's'}"
            what = f"{described} described by the checkpoint {self.checkpoint[:12]}"
        at_work = f"{self.builds:,} build{'' if self.builds == 1 else 's'} at work on it"
        return (
            f"the schema {self.schema}, {begun}, {what}, {at_work}: `{self.go_on}` goes on (with --weights FILE for a "
            f"checkpoint that is not the program's own), `{self.drop}` gives it up"
        )


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
    if said is not None and not _is_successor(said, address):
        raise CollectionError(
            f"The schema {theirs} is needed for what takes the place of {address}, and holds other things: give it "
            f'another name, `ALTER SCHEMA "{theirs}" RENAME TO other`.'
        )
    return said is not None


def digest_of_successor(session: Session, address: Address) -> str | None:
    """The checkpoint of a collection's successor; None: there is none, or its tables are not made yet."""
    if not _is_successor(_said(session, address.schema + _SUFFIX), address):
        return None
    name = quoted(session.connection(), address.schema + _SUFFIX)
    if session.scalar(text("SELECT to_regclass(:name) IS NULL"), {"name": f"{name}.meta"}):
        return None
    return session.scalar(text(f"SELECT model_digest FROM {name}.meta".replace(":", r"\:")))


def find_successor(session: Session, address: Address) -> Successor | None:
    """What has been begun to take the place of a collection, but for its photographs; None: nothing has."""
    theirs = address.schema + _SUFFIX
    said = _said(session, theirs)
    if said is None or not _is_successor(said, address):
        return None
    checkpoint, builds = digest_of_successor(session, address), 0
    name = quoted(session.connection(), theirs)
    if checkpoint is not None:
        at_work = f"SELECT count(*) FROM {name}.writer WHERE alive_until > now()"
        builds = session.scalar(text(at_work.replace(":", r"\:"))) or 0
    database = shlex.quote(str(replace(address, schema=DEFAULT_SCHEMA)))
    return Successor(
        schema=theirs,
        since=said.rpartition(_SINCE)[2] if _SINCE in said else None,
        checkpoint=checkpoint,
        builds=builds,
        go_on=f"indexer build --redescribe{option(str(address))}",
        drop=f"psql {database} -c {shlex.quote(f'DROP SCHEMA {name} CASCADE')}",
    )


def mark(session: Session, address: Address) -> None:
    """Say of a successor's schema, just made, what it is."""
    name = quoted(session.connection(), address.schema + _SUFFIX)
    now = session.scalar(text("SELECT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD HH24\\:MI \"UTC\"')"))
    comment = f"{_COMMENT.format(address.schema)}{_SINCE}{now}".replace("'", "''")
    session.execute(text(f"COMMENT ON SCHEMA {name} IS '{comment}'".replace(":", r"\:")))


def _is_successor(said: str | None, address: Address) -> bool:
    """Whether the comment on a schema is that of a collection's successor."""
    ours = _COMMENT.format(address.schema)
    return said is not None and (said == ours or said.startswith(ours + _SINCE))


def _said(session: Session, schema: str) -> str | None:
    """The comment on a schema, "" if there is none; None: there is no such schema."""
    return session.scalar(
        text("SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = :name"),
        {"name": schema},
    )
