"""`Server`: the connections of one collection to its server, its snapshots and its transactions."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from uuid import uuid4

import psycopg
from pgvector import HalfVector
from psycopg import sql
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from db.errors import CollectionUnreachable
from db.postgres.address import Address
from db.postgres.crew import Crew
from db.postgres.refusals import is_conflict, is_lost, is_restarting, plain_errors
from db.postgres.vectors import HalfvecDumper

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10
# A connection that was lost is sought again for so long: a restart of the server takes seconds, a failover to a
# replica half a minute or a whole one.
PATIENCE_SECONDS = 90.0
_FIRST_WAIT = 0.1  # doubled each time, up to
_LONGEST_WAIT = 2.0
# The server ends the snapshot of a reader that asks nothing for so long: an old one keeps what was deleted since from
# being cleaned up, and `indexer rebuild` from going on. The reader takes another one of the same commit, if it can.
IDLE_SNAPSHOT_SECONDS = 300

# Connections that work on one question at the same time, each of them a process of the server.
CONNECTIONS = 4

Result = TypeVar("Result")


class Server:
    """A reader's or a writer's way to the server.

    What is asked stands in functions over a session. A reader's functions see one snapshot, that of the first, until
    `refresh`. A writer's are each a transaction of its own, committed at its end. A lost connection is sought again,
    and the function called again, where nothing was decided: a snapshot goes on if no commit happened since.
    """

    def __init__(self, address: Address, *, write: bool):
        self.address = address
        self._write = write
        self._engine = _engine(address, write)
        self._snapshot: Session | None = None
        self._revision: int | None = None  # of the snapshot
        self._helpers: list[Session] = []  # that see the same snapshot
        self._helped = 0.0  # when they were last asked for
        self._pool = ThreadPoolExecutor(CONNECTIONS - 1, "question")
        self._writer_id: int | None = None

    # -- reading

    def read(self, function: Callable[..., Result], *arguments: Any, **keywords: Any) -> Result:
        """function(session, ...) in the reader's snapshot, or a writer's of now.

        Raises:
            CollectionUnreachable: the connection was lost; nothing answers, or the collection is another one since.
            CollectionError: the server refuses.
        """

        def attempt() -> Result:
            if not self._write:
                return function(self._open_snapshot(), *arguments, **keywords)
            with Session(self._reading) as session:
                return function(session, *arguments, **keywords)

        with plain_errors(self.address):
            return self._persistently(attempt)

    def refresh(self) -> None:
        """End a reader's snapshot; the next question begins another, of the last commit."""
        self._dismiss()
        if self._snapshot is not None:
            _end(self._snapshot)
            self._snapshot = None
        self._revision = None

    @property
    def snapshot_revision(self) -> int | None:
        """Which commit a reader's snapshot is of; None: it has none."""
        return self._revision

    def crew(self, session: Session) -> Crew:
        """More connections that see what a session sees, if it is a reader's snapshot and the server has some left."""
        if session is not self._snapshot:
            return Crew([session])
        # Those that had nothing to do for long the server may have ended, while the snapshot itself was in use.
        if self._helpers and time.monotonic() - self._helped > IDLE_SNAPSHOT_SECONDS / 2:
            self._dismiss()
        self._helped = time.monotonic()
        if not self._helpers:
            snapshot = session.scalar(text("SELECT pg_export_snapshot()"))
            self._helpers = [Session(self._reading) for _ in range(CONNECTIONS - 1)]
            # At the same time: connecting takes a while.
            joining = [self._pool.submit(_join_snapshot, helper, snapshot) for helper in self._helpers]
            wait(joining)
            try:
                for each in joining:
                    each.result()
            except (DBAPIError, psycopg.Error) as error:
                logger.debug("one connection has to do: %s", error)
                self._dismiss()
        return Crew([session, *self._helpers], self._pool)

    def _dismiss(self) -> None:
        for helper in self._helpers:
            _end(helper)
        self._helpers = []

    def _open_snapshot(self) -> Session:
        if self._snapshot is None:
            session = Session(self._reading)
            try:
                revision = session.scalar(text("SELECT revision FROM meta"))
            except BaseException:
                session.invalidate()
                raise
            if self._revision not in (None, revision):
                _end(session)
                raise CollectionUnreachable(
                    f"The connection to {self.address} was lost, and the collection has changed meanwhile: run the "
                    "command again."
                )
            self._snapshot, self._revision = session, revision
        return self._snapshot

    # -- writing

    def write(self, function: Callable[..., Result], *arguments: Any, **keywords: Any) -> Result:
        """function(session, ...) as one transaction; to be called where twice does no harm: it is called again if the
        connection is lost while it commits.
        """

        def attempt() -> Result:
            with Session(self._engine) as session, session.begin():
                return function(session, *arguments, **keywords)

        return self._until_undisturbed(attempt)

    def write_once(self, function: Callable[[Session], None]) -> None:
        """function(session) as one transaction that happens exactly once, wherever the connection is lost.

        The transaction leaves its token in this writer's row of table `writer`. If the connection is lost while it
        commits, the next attempt finds the token, or not.
        """
        token = uuid4().hex
        begun = False

        def attempt() -> None:
            nonlocal begun
            self.writer_id()
            with Session(self._engine) as session, session.begin():
                # Waits for an attempt that the server is still at.
                found = session.execute(
                    text("SELECT last_commit FROM writer WHERE id = :id FOR NO KEY UPDATE"), {"id": self._writer_id}
                ).scalar()
                if begun and found == token:
                    return
                begun = True
                if found is None:  # tidied away while this writer slept
                    self._writer_id = _register(session)
                function(session)
                session.execute(
                    text("UPDATE writer SET last_commit = :token WHERE id = :id"),
                    {"token": token, "id": self._writer_id},
                )

        self._until_undisturbed(attempt)

    def writer_id(self) -> int:
        """The id of this writer's row of table `writer`."""
        if self._writer_id is None:
            self._writer_id = self.write(_register)
        return self._writer_id

    def _until_undisturbed(self, attempt: Callable[[], Result]) -> Result:
        def undisturbed() -> Result:
            waited = 0.0
            while True:
                try:
                    return attempt()
                except (DBAPIError, psycopg.Error) as error:
                    if not is_conflict(error) or waited > PATIENCE_SECONDS:
                        raise
                pause = 0.01 + 0.2 * (uuid4().int % 100) / 100  # two that were in each other's way part
                time.sleep(pause)
                waited += pause

        with plain_errors(self.address):
            return self._persistently(undisturbed)

    # -- the connection

    def first(self, function: Callable[[Session], Result]) -> Result:
        """function(session) as the first transaction: where no server answers, nobody waits for one; a server that
        just starts or stops is waited for.

        Raises:
            CollectionUnreachable: no server answers, or it does not let us in.
        """

        def attempt() -> Result:
            with self.session() as session:
                return function(session)

        with plain_errors(self.address):
            return self._persistently(attempt, again=is_restarting)

    def session(self) -> AbstractContextManager[Session]:
        """A transaction of its own, committed at its end, once: for opening and maintenance."""
        return sessionmaker(self._engine).begin()

    def close(self) -> None:
        self.refresh()
        self._pool.shutdown()
        self._engine.dispose()

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def _reading(self) -> Engine:
        """One snapshot a transaction, and nothing is changed."""
        return self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def _persistently(self, attempt: Callable[[], Result], again: Callable[[BaseException], bool] = is_lost) -> Result:
        """attempt(), again if the connection was lost. again: tells whether it was."""
        give_up: float | None = None
        pause = _FIRST_WAIT
        while True:
            try:
                return attempt()
            except (DBAPIError, psycopg.Error) as error:
                # A replica that catches up may have to end a snapshot.
                if not again(error) and (self._snapshot is None or not is_conflict(error)):
                    raise
                self._drop_connections()
                give_up = give_up or time.monotonic() + PATIENCE_SECONDS
                if time.monotonic() > give_up:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_WAIT)

    def _drop_connections(self) -> None:
        for session in (*self._helpers, self._snapshot):
            if session is not None:
                session.invalidate()
        self._helpers, self._snapshot = [], None
        self._engine.dispose()


def driver_connection(session: Session) -> psycopg.Connection:
    """The connection itself, within the session's transaction: for COPY."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    return connection


def _register(session: Session) -> int:
    """A row for this writer; those that have been silent for a day are tidied away."""
    session.execute(text("DELETE FROM writer WHERE alive_until < now() - interval '1 day'"))
    writer_id = session.scalar(text("INSERT INTO writer (alive_until) VALUES (now()) RETURNING id"))
    assert isinstance(writer_id, int)
    return writer_id


def _join_snapshot(session: Session, snapshot: str) -> None:
    session.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))


def _end(session: Session) -> None:
    """End a transaction that has nothing to commit, whatever became of its connection."""
    try:
        session.close()
    except (DBAPIError, psycopg.Error):
        session.invalidate()


def _engine(address: Address, write: bool) -> Engine:
    engine = create_engine(
        address.url,
        connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "densecap-search"},
        pool_size=CONNECTIONS,
        max_overflow=8,  # `indexer rebuild` works on several partitions
    )

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        driver = connection  # psycopg's own
        driver.autocommit = True  # else the settings would end with the first transaction that is rolled back
        # The extension's types may be in a schema of their own.
        driver.execute(
            sql.SQL(
                "SELECT set_config('search_path', concat_ws(', ', quote_ident({schema}), ("
                "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
                "WHERE extname = 'vector'), 'public'), false)"
            ).format(schema=address.schema)
        )
        driver.adapters.register_dumper(HalfVector, HalfvecDumper)
        # Compiling a query takes longer than what it saves, where the vectors' own code does the work.
        driver.execute("SET jit = off")
        if not write:
            milliseconds = IDLE_SNAPSHOT_SECONDS * 1000
            driver.execute(f"SET idle_in_transaction_session_timeout = {milliseconds}")
        driver.autocommit = False

    return engine
