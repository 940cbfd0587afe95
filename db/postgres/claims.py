"""`ServerQueue`: what many builds have to do, in tables, with claims that run out.

A claim is a writer's id in a row of `task`. It holds as long as the writer's `alive_until`, which a thread of it moves
on. A commit deletes the tasks that it settles in the same transaction, if they are still its own: so a file is
described once, whoever is killed or cut off at whatever moment.
"""

import json
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.postgres.server import Server, driver_connection
from db.postgres.vectors import copy_in
from db.postgres.writes import Changes, apply, finish
from db.records import ModelIdentity, PhotoStat
from db.sql import file_name
from db.task_queue import ClaimedFile, Finished, ListedFile, Listing
from db.writes import remove

logger = logging.getLogger(__name__)

_LOCK = 0x5EA7CC  # held by whoever joins or ends a listing
_HEARTBEATS = 4  # in a lease
_STAT = "photo.id, size, mtime_ns, digest, reason, ctime_ns, incomplete, keywords IS NOT NULL AS read"


class ServerQueue:
    """One build's part; see `db.task_queue.TaskQueue`."""

    def __init__(self, server: Server, model: ModelIdentity, lease_seconds: float):
        self._server = server
        self._model = model
        self._lease_seconds = lease_seconds
        self._listing_id: int | None = None
        self._counts: dict[str, int] = {}  # as of the last commit
        # Files in work: if they were taken for a dead build's, this one may get them again, and has them once.
        self._held: set[tuple[int, str]] = set()
        self._silent = threading.Event()
        self._heart: threading.Thread | None = None

    # -- the listing

    def join(self, key: str) -> Listing:
        self._server.writer_id()
        listing = self._server.write(self._join, key)
        if listing.id != self._listing_id:
            self._listing_id, self._counts = listing.id, {}
            self._held.clear()
        if self._heart is None:
            self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            self._heart.start()
        return listing

    def _join(self, session: Session, key: str) -> Listing:
        _lock(session)
        self._live_on(session)
        listing = session.execute(text("SELECT id, key, made FROM listing")).one_or_none()
        if listing is not None:
            alive = session.execute(
                text("SELECT lists FROM writer WHERE listing_id = :id AND alive_until > now() AND id <> :me"),
                {"id": listing.id, "me": self._me},
            ).all()
            if alive and (listing.made or any(row.lists for row in alive)):
                self._take_part(session, listing.id, lists=False)
                return Listing(listing.id, listing.key, to_be_made=False)
            # Nobody is at it: since it was made, files may have come and gone.
            drop_listing(session)
        new_id = session.scalar(text("INSERT INTO listing (key) VALUES (:key) RETURNING id"), {"key": key})
        assert isinstance(new_id, int)
        self._take_part(session, new_id, lists=True)
        return Listing(new_id, key, to_be_made=True)

    def _take_part(self, session: Session, listing_id: int, *, lists: bool) -> None:
        session.execute(
            text("UPDATE writer SET listing_id = :listing, lists = :lists, counts = NULL WHERE id = :me"),
            {"listing": listing_id, "lists": lists, "me": self._me},
        )

    def offer(self, files: Sequence[ListedFile], missing: Sequence[int]) -> None:
        def fill(session: Session) -> None:
            # Who joins looks at the listing and then at who is making it: both change under the same lock, or a listing
            # that is made between the two looks would be taken for one that nobody makes, and dropped.
            _lock(session)
            ours = session.scalar(text("SELECT NOT made FROM listing WHERE id = :id FOR UPDATE"), self._listing)
            if not ours:  # taken for dead, and another build has made it
                return
            session.execute(text("DELETE FROM task"))
            session.execute(text("DELETE FROM missing"))
            connection = driver_connection(session)
            # Where the change time is not known, the rows have one column less.
            for timed in (True, False):
                some = [file for file in files if (file.ctime_ns is not None) == timed]
                names = ["root_id", "size", "mtime_ns", *(["ctime_ns"] if timed else [])]
                copy_in(
                    connection,
                    "task",
                    [(name, "i8") for name in names],
                    {name: np.array([getattr(file, name) for file in some], np.int64) for name in names},
                    ("path", [os.fsencode(file.path) for file in some]),
                )
            copy_in(connection, "missing", [("photo_id", "i8")], {"photo_id": np.array(missing, np.int64)})
            session.execute(text("UPDATE listing SET made = true WHERE id = :id"), self._listing)
            session.execute(text("UPDATE writer SET lists = false WHERE id = :me"), {"me": self._me})

        self._server.write(fill)

    def is_open(self) -> bool:
        def ask(session: Session) -> bool:
            return bool(session.scalar(text("SELECT made FROM listing WHERE id = :id"), self._listing))

        return self._server.read(ask)

    # -- claims

    def claim(self, count: int, root_ids: Sequence[int]) -> list[ClaimedFile]:
        def take(session: Session) -> list[ClaimedFile]:
            self._live_on(session)
            found = self._claim(session, count, root_ids)
            if not found and self._let_go_of_unknown(session) + _take_over(session):
                found = self._claim(session, count, root_ids)
            return found

        claimed = [each for each in self._server.write(take) if each.file[:2] not in self._held]
        self._held.update(each.file[:2] for each in claimed)
        return claimed

    def _claim(self, session: Session, count: int, root_ids: Sequence[int]) -> list[ClaimedFile]:
        rows = session.execute(
            text(
                "WITH free AS (SELECT id FROM task WHERE writer_id IS NULL AND not_before <= now() "
                "AND root_id = ANY(:roots) ORDER BY id LIMIT :count FOR UPDATE SKIP LOCKED), "
                "ours AS (UPDATE task SET writer_id = :me FROM free WHERE task.id = free.id RETURNING task.*) "
                "SELECT ours.root_id, ours.path, ours.size, ours.mtime_ns, ours.ctime_ns, photo.id, "
                "photo.size AS known_size, photo.mtime_ns AS known_mtime_ns, digest, reason, "
                "photo.ctime_ns AS known_ctime_ns, incomplete, keywords IS NOT NULL AS read "
                "FROM ours LEFT JOIN photo ON photo.root_id = ours.root_id AND photo.path = ours.path ORDER BY ours.id"
            ),
            {"roots": list(root_ids), "count": count, "me": self._me},
        )
        claimed = []
        for row in rows:
            path = file_name(row.path)
            known = None
            if row.id is not None:
                stat = (row.known_size, row.known_mtime_ns, row.digest, row.reason, row.known_ctime_ns, row.incomplete)
                known = PhotoStat(row.id, path, *stat, row.read)
            claimed.append(ClaimedFile(ListedFile(row.root_id, path, row.size, row.mtime_ns, row.ctime_ns), known))
        return claimed

    def _let_go_of_unknown(self, session: Session) -> int:
        """Free claims that this build has without knowing: the connection was lost between commit and answer."""
        rows = session.execute(text("SELECT id, root_id, path FROM task WHERE writer_id = :me"), {"me": self._me})
        unknown = [row.id for row in rows if (row.root_id, file_name(row.path)) not in self._held]
        if unknown:
            free = text("UPDATE task SET writer_id = NULL WHERE id = ANY(:ids) AND writer_id = :me")
            session.execute(free, {"ids": unknown, "me": self._me})
        return len(unknown)

    def claim_content(self, digest: str) -> bool:
        def take(session: Session) -> bool:
            owner = session.scalar(
                text(
                    "INSERT INTO content (digest, writer_id) VALUES (:digest, :me) "
                    "ON CONFLICT (digest) DO UPDATE SET writer_id = :me WHERE content.writer_id = :me "
                    "OR NOT EXISTS (SELECT FROM writer WHERE id = content.writer_id AND alive_until > now()) "
                    "RETURNING writer_id"
                ),
                {"digest": digest, "me": self._me},
            )
            return owner is not None

        return self._server.write(take)

    def postpone(self, file: ListedFile, seconds: float) -> None:
        self._held.discard(file[:2])

        def give_back(session: Session) -> None:
            session.execute(
                text(
                    "UPDATE task SET writer_id = NULL, not_before = now() + make_interval(secs => :seconds) "
                    "WHERE root_id = :root AND path = :path AND writer_id = :me"
                ),
                {"seconds": seconds, "root": file.root_id, "path": os.fsencode(file.path), "me": self._me},
            )

        self._server.write(give_back)

    def take_missing(self, digest: str, *, failed: bool) -> int | None:
        def take(session: Session) -> int | None:
            return session.scalar(
                text(
                    "UPDATE missing SET writer_id = :me WHERE photo_id = (SELECT photo_id FROM missing "
                    "JOIN photo ON photo.id = photo_id WHERE digest = :digest AND (reason IS NOT NULL) = :failed "
                    "AND size >= 0 AND NOT EXISTS (SELECT FROM writer WHERE writer.id = missing.writer_id "
                    "AND alive_until > now()) ORDER BY photo_id LIMIT 1 FOR UPDATE OF missing SKIP LOCKED) "
                    "RETURNING photo_id"
                ),
                {"digest": digest, "failed": failed, "me": self._me},
            )

        return self._server.write(take)

    def commit(self, settled: Sequence[tuple[int, str]], counts: Mapping[str, int], **changes: Any) -> int:
        wanted = Changes(**changes)
        wanted.check(self._model)
        lost: set[tuple[int, str]] = set()

        def settle(session: Session) -> None:
            lost.clear()
            kept = {
                (row.root_id, file_name(row.path))
                for row in session.execute(
                    text(
                        "DELETE FROM task USING unnest(:roots ::bigint[], :paths ::bytea[]) AS ours (root_id, path) "
                        "WHERE task.root_id = ours.root_id AND task.path = ours.path AND writer_id = :me "
                        "RETURNING task.root_id, task.path"
                    ),
                    {
                        "roots": [root_id for root_id, _ in settled],
                        "paths": [os.fsencode(path) for _, path in settled],
                        "me": self._me,
                    },
                )
            }
            lost.update(set(settled) - kept)
            ours = wanted.without(lost)
            gone = {*ours.moved, *ours.touched} - set(_known(session, [*ours.moved, *ours.touched]))
            ours = replace(
                ours,
                moved={some_id: to for some_id, to in ours.moved.items() if some_id not in gone},
                touched={some_id: state for some_id, state in ours.touched.items() if some_id not in gone},
            )
            if ours:
                apply(session, ours, self._model)
            session.execute(text("DELETE FROM missing WHERE photo_id = ANY(:ids)"), {"ids": list(ours.moved)})
            digests = [*(photo.digest for photo in wanted.new), *(file.digest for file in wanted.failed)]
            session.execute(
                text("DELETE FROM content WHERE digest = ANY(:digests) AND writer_id = :me"),
                {"digests": digests, "me": self._me},
            )
            session.execute(
                text("UPDATE writer SET counts = CAST(:counts AS json) WHERE id = :me"),
                {"counts": json.dumps(dict(counts)), "me": self._me},
            )

        if settled or wanted or counts != self._counts:
            self._server.write_once(settle)
            self._counts = dict(counts)
            self._held.difference_update(settled)
        return len(lost)

    def remaining(self, root_ids: Sequence[int] | None = None) -> int:
        def count(session: Session) -> int:
            where = "" if root_ids is None else " WHERE root_id = ANY(:roots)"
            return session.scalar(text(f"SELECT count(*) FROM task{where}"), {"roots": list(root_ids or ())}) or 0

        return self._server.read(count)

    def builds(self) -> int:
        def count(session: Session) -> int:
            at_work = text("SELECT count(*) FROM writer WHERE alive_until > now()")
            return session.scalar(at_work) or 0

        return self._server.read(count)

    # -- the end

    def finish(self) -> Finished | None:
        finished: list[Finished] = []

        def end(session: Session) -> None:
            finished.clear()
            _lock(session)
            seconds = session.scalar(
                text("SELECT extract(epoch FROM now() - begun)::float8 FROM listing WHERE id = :id AND made"),
                self._listing,
            )
            if seconds is None or session.scalar(text("SELECT count(*) FROM task")):
                return
            rows = session.execute(
                text(f"SELECT {_STAT}, path FROM missing JOIN photo ON photo.id = photo_id ORDER BY photo.id")
            ).all()
            gone = [
                PhotoStat(row.id, file_name(row.path), row.size, row.mtime_ns, row.digest, row.reason, row.ctime_ns,
                          row.incomplete, row.read)
                for row in rows
            ]  # fmt: skip
            if gone:
                remove(session, [stat.photo_id for stat in gone])
                finish(session, self._model)
            counts: dict[str, int] = {}
            of_writers = session.scalars(
                text("SELECT counts FROM writer WHERE listing_id = :id AND counts IS NOT NULL"), self._listing
            ).all()
            for of_one in of_writers:
                for name, count in of_one.items():
                    counts[name] = counts.get(name, 0) + count
            counts["gone"] = counts.get("gone", 0) + sum(not stat.failed for stat in gone)
            drop_listing(session)
            finished.append(Finished(gone, counts, len(of_writers), seconds))

        self._server.write_once(end)
        return finished[0] if finished else None

    def leave(self) -> None:
        self._silent.set()
        if self._heart is not None:
            self._heart.join()

        def let_go(session: Session) -> None:
            me = {"me": self._me}
            session.execute(text("UPDATE task SET writer_id = NULL WHERE writer_id = :me"), me)
            session.execute(text("UPDATE missing SET writer_id = NULL WHERE writer_id = :me"), me)
            session.execute(text("DELETE FROM content WHERE writer_id = :me"), me)
            session.execute(text("UPDATE writer SET alive_until = now(), listing_id = NULL WHERE id = :me"), me)

        self._server.write(let_go)

    # -- within

    @property
    def _me(self) -> int:
        return self._server.writer_id()

    @property
    def _listing(self) -> dict[str, int | None]:
        return {"id": self._listing_id}

    def _beat(self) -> None:
        """Say that this build lives, from a thread and a connection of its own."""
        while not self._silent.wait(self._lease_seconds / _HEARTBEATS):
            try:
                with self._server.session() as session:
                    self._live_on(session)
            except Exception as error:  # the build itself meets it too, and says it
                logger.debug("no heartbeat: %s", error)

    def _live_on(self, session: Session) -> None:
        session.execute(
            text("UPDATE writer SET alive_until = now() + make_interval(secs => :lease) WHERE id = :me"),
            {"lease": self._lease_seconds, "me": self._me},
        )


def _lock(session: Session) -> None:
    session.execute(text("SELECT pg_advisory_xact_lock(:lock, hashtext(current_schema()))"), {"lock": _LOCK})


def _take_over(session: Session) -> int:
    """Free the claims of writers that are silent; how many there were."""
    return session.execute(
        text(
            "UPDATE task SET writer_id = NULL WHERE writer_id IS NOT NULL AND id IN (SELECT id FROM task AS held "
            "WHERE writer_id IS NOT NULL AND NOT EXISTS (SELECT FROM writer WHERE writer.id = held.writer_id "
            "AND alive_until > now()) FOR UPDATE SKIP LOCKED)"
        )
    ).rowcount  # type: ignore[attr-defined]


def drop_listing(session: Session) -> None:
    """Forget what is to be done, and who is at it."""
    for table in ("task", "missing", "content", "listing"):
        session.execute(text(f"DELETE FROM {table}"))


def _known(session: Session, photo_ids: Sequence[int]) -> Sequence[int]:
    return session.scalars(text("SELECT id FROM photo WHERE id = ANY(:ids)"), {"ids": list(photo_ids)}).all()
