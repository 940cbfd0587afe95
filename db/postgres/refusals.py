"""What a server refuses, as one sentence: no server, no extension, no rights, a connection lost half-way."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError, IntegrityError

from db.errors import CollectionError, CollectionUnreachable
from db.postgres.address import Address

# SQLSTATE codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST = ("57P01", "57P02", "57P03", "57P05", "25P03", "25P04")  # shut down, crashed, starting, idle for too long
_CONFLICT = ("40001", "40P01", "55P03")  # serialization failure (or a replica's recovery), deadlock, lock timeout
_UNIQUE = "23505"
_NOT_ENCRYPTED = ("SSL", "sslmode", "certificate")
_RESTARTING = ("is starting up", "is shutting down", "in recovery mode", "not yet accepting connections")
_NO_SERVER = ("connection failed", "refused", "No such file", "failed to resolve", "timeout", "timed out")
_NOT_LET_IN = ("authentication failed", "no password", "role", "pg_hba.conf", "permission denied for database")


def sqlstate(error: BaseException) -> str | None:
    """The server's code for what happened; None: it said nothing."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    return reason.sqlstate if isinstance(reason, psycopg.Error) else None


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, and with it whatever was not committed."""
    code = sqlstate(error)
    if code is not None:
        return code in _LOST or code.startswith("08")
    reason = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(reason, psycopg.OperationalError | psycopg.InterfaceError)


def is_restarting(error: BaseException) -> bool:
    """Whether there is a server that will answer in a moment."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    return sqlstate(error) in _LOST[:3] or any(words in str(reason) for words in _RESTARTING)


def is_conflict(error: BaseException) -> bool:
    """Whether another transaction was in the way, and the same one may succeed the next time.

    Among others two writers that add a photo under one path: the second time the other's is there to be replaced.
    """
    return sqlstate(error) in (*_CONFLICT, _UNIQUE)


@contextmanager
def plain_errors(address: Address) -> Iterator[None]:
    """Turn what the server and the way to it refuse into one sentence."""
    try:
        yield
    except (IntegrityError, psycopg.IntegrityError):  # a mistake of ours
        raise
    except (DBAPIError, psycopg.Error) as error:
        raise refusal(address, error) from error


def refusal(address: Address, error: DBAPIError | psycopg.Error) -> CollectionError:
    """The sentence."""
    reason = error.orig if isinstance(error, DBAPIError) else error
    said = _first_line(reason)
    code = sqlstate(error)
    # While connecting there are no codes, only words.
    if code == "3D000" or (code is None and "database" in said and "does not exist" in said):
        return CollectionUnreachable(
            f"There is no database {address.url.database!r} for {address}: `createdb {address.url.database}` on the "
            "server makes one."
        )
    if "no encryption" in said:  # of pg_hba.conf
        return CollectionUnreachable(
            f"The server takes encrypted connections only from here ({said}): add sslmode=require to the URL {address}."
        )
    if code is None and any(word in said for word in _NOT_ENCRYPTED):
        return CollectionUnreachable(
            f"The connection to {address} cannot be encrypted as asked ({said}): set up TLS on the server (`ssl = on` "
            "in postgresql.conf, and its certificate), or ask for something else by sslmode in the URL or PGSSLMODE."
        )
    if (code is not None and code.startswith("28")) or "authentication failed" in said or "no password" in said:
        return CollectionUnreachable(
            f"The server does not let {address.user} in ({said}): give name and password in the URL "
            "(postgresql://user:password@host/...) or in ~/.pgpass."
        )
    if code == "25006":
        return CollectionError(f"{address} can only be read ({said}): name the primary server to write.")
    if code in ("42501", "42P01"):  # denied; tables of a schema that may not even be looked into are "not there"
        return CollectionError(
            f"The user {address.user} has not the rights for that in {address} ({said}): have the owner of the "
            f'database run `GRANT ALL ON SCHEMA "{address.schema}" TO {address.user}`, or build as the one who made '
            "the collection."
        )
    if code == "55P03":
        return CollectionError(
            f"{address} is being read or written, and what is to be done needs it alone ({said}): run the command "
            "again once searches and builds have ended."
        )
    if code in ("53100", "53200", "53300"):
        return CollectionError(f"The server of {address} has no room ({said}): what was committed is kept.")
    if is_lost(error):
        if any(words in said for words in _NO_SERVER):
            return CollectionUnreachable(
                f"No server answers at {address} ({said}): start PostgreSQL there, or correct the URL."
            )
        return CollectionUnreachable(
            f"The connection to {address} was lost ({said}): what was committed is kept, run the command again."
        )
    return CollectionError(f"The server refuses {address}: {said}.")


def _first_line(reason: object) -> str:
    """What was said, on one line and without a full stop."""
    lines = [line.strip() for line in str(reason).strip().splitlines() if line.strip()]
    first = lines[0] if lines else "without a reason"
    return first.rpartition("FATAL:")[2].strip().rstrip(".")
