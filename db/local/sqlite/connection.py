"""photos.db: one SQLite connection, its pragmas and its transactions."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from db.errors import CollectionDamaged, CollectionError

BUSY_SECONDS = 10.0  # how long SQLite waits for another process's brief lock
_NEEDED_BYTES = 1 << 20


class Database:
    """An open photos.db.

    A writer's `session()` is a transaction that commits at its end. A reader's is one snapshot for all of them:
    it sees the last commit at the time of the first, and nothing newer until `refresh()`; the writer is not held up.
    """

    def __init__(self, path: Path, *, write: bool):
        self.path = path
        self._write = write
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=StaticPool)
        # sqlite3's own handling of transactions starts none before a SELECT, which would leave a reader without
        # its snapshot, and none at all before DDL: switched off in _connect and done by hand here.
        begin = "BEGIN IMMEDIATE" if write else "BEGIN"
        event.listen(self._engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        self._session = Session(self._engine)

    def _connect(self) -> sqlite3.Connection:
        mode = "mode=rwc" if self._write else "mode=rw"
        if not self._write and not os.access(self.path.parent, os.W_OK) and not Path(f"{self.path}-wal").exists():
            mode = "mode=ro&immutable=1"  # a write-protected disk: SQLite could not create the files that WAL needs
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,  # a collection may change hands; using it from two threads at once is forbidden
        )
        if self._write:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            connection.execute("PRAGMA foreign_keys = ON")
        else:
            connection.execute("PRAGMA query_only = ON")
        return connection

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session to read in or, for a writer, to write in: committed at the end, rolled back on any exception.

        Raises:
            CollectionDamaged: SQLite finds the file altered.
            CollectionError: the disk is full, the file cannot be opened, another process keeps it locked.
        """
        with plain_errors(self.path):
            if self._write:
                with self._session.begin():
                    yield self._session
            else:
                yield self._session

    def refresh(self) -> None:
        """End a reader's snapshot; the next `session()` begins another, at the last commit."""
        self._session.rollback()

    @contextmanager
    def attached(self, path: Path, name: str) -> Iterator[None]:
        """Another database within reach of SQL, its tables under `name`."""
        with plain_errors(path), closing(self._engine.raw_connection()) as connection:
            connection.cursor().execute(f"ATTACH ? AS {name}", (str(path),))
        try:
            yield
        finally:
            with plain_errors(path), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute(f"DETACH {name}")

    def close(self) -> None:
        self._session.close()
        self._engine.dispose()


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say about the disk into one sentence about `path`."""
    try:
        yield
    except (IntegrityError, sqlite3.IntegrityError):  # a mistake of ours, not of the disk
        raise
    except (DatabaseError, sqlite3.DatabaseError) as error:
        reason = error.orig if isinstance(error, DatabaseError) else error
        code = getattr(reason, "sqlite_errorcode", 0) & 0xFF  # the low byte is the kind of error
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise CollectionDamaged(f"{path} is damaged ({reason})") from error
        if code == sqlite3.SQLITE_IOERR and _is_full(path.parent):
            raise CollectionError(f"SQLite needs room beside {path}, and the disk is full.") from error
        raise CollectionError(f"SQLite refuses {path}: {reason}.") from error
    except UnicodeDecodeError as error:  # sqlite3 quotes what it does not understand
        raise CollectionDamaged(f"{path} is damaged ({error.reason})") from error
    except OSError as error:
        where = error.filename or path
        raise CollectionError(f"The system refuses {where}: {error.strerror or error}.") from error


def _is_full(folder: Path) -> bool:
    """Whether a disk has no room for the files that SQLite needs beside its own, to read too."""
    try:
        return shutil.disk_usage(folder).free < _NEEDED_BYTES
    except OSError:
        return False
