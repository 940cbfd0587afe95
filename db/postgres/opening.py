"""What must be true before a schema is used as a collection: it is one, its tables fit, its checkpoint is known."""

import re

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from db import queries, writes
from db.errors import CollectionError, CollectionMissing
from db.postgres.address import Address
from db.postgres.migrations import MIGRATIONS, check_version, migrate, schema_version
from db.postgres.refusals import sqlstate
from db.records import ModelIdentity

# The first with iterative scans, which find what a filter leaves.
PGVECTOR = (0, 8)
_LOCK = 0x5EA7C0  # held while tables are made or migrated


def prepare(session: Session, address: Address, *, write: bool, create: ModelIdentity | None) -> ModelIdentity:
    """Bring the tables up to date (writers) or check them (readers), and say which checkpoint the collection is of.

    create: the checkpoint of a collection that may have to be made.

    Raises:
        CollectionMissing: there is none, and `create` is not given.
        SchemaTooNew: a newer program made it.
        CollectionError: an older program made it and this is a reader; the server has no pgvector, or an old one.
    """
    connection = session.connection()
    version = schema_version(connection, address.schema)
    if version == 0 and create is None:
        raise CollectionMissing(
            f"There is no collection in {address}: `indexer build FOLDER --collection '{address}'` makes one."
        )
    if not write or version == len(MIGRATIONS):
        check_version(version)
        return queries.model(session)
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    version = schema_version(connection, address.schema)  # another one may have been quicker
    if version == 0 and create is not None:
        _make_schema(connection, address)
        migrate(connection, create, address.schema)
        writes.create_meta(session, create)
    else:
        migrate(connection, queries.model(session), address.schema)
    return queries.model(session)


def create_schema(connection: Connection, address: Address) -> None:
    """Make it. Raises CollectionError: the user may not."""
    _allowed(
        connection,
        f"CREATE SCHEMA {quoted(connection, address.schema)}",
        f'GRANT CREATE ON DATABASE "{address.url.database}" TO {address.user}',
        address,
    )


def quoted(connection: Connection, name: str) -> str:
    """A name as SQL."""
    found = connection.scalar(text("SELECT quote_ident(:name)"), {"name": name})
    assert isinstance(found, str)
    return found


def _make_schema(connection: Connection, address: Address) -> None:
    if not connection.scalar(text("SELECT to_regnamespace(quote_ident(:name)) IS NOT NULL"), {"name": address.schema}):
        create_schema(connection, address)
    version = connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if version is None:
        _allowed(connection, "CREATE EXTENSION vector SCHEMA public", "CREATE EXTENSION vector", address)
        version = connection.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < PGVECTOR:
        raise CollectionError(
            f"The database of {address} has pgvector {version}, and {'.'.join(map(str, PGVECTOR))} is needed: install "
            "that on the server and run `ALTER EXTENSION vector UPDATE` in the database."
        )


def _allowed(connection: Connection, statement: str, remedy: str, address: Address) -> None:
    """Run a statement that a database may have no rights or no files for."""
    try:
        connection.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        if sqlstate(error) == "42501":
            raise CollectionError(
                f"{address.user} may not make a collection in {address} ({str(error.orig).splitlines()[0]}): have the "
                f"owner of the database run `{remedy}`, then run the command again."
            ) from error
        if sqlstate(error) in ("0A000", "58P01"):
            raise CollectionError(
                f"The server of {address} has no pgvector: install it there "
                "(https://github.com/pgvector/pgvector#installation), then run the command again."
            ) from error
        raise
