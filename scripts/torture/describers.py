"""Kills describers of a collection on a server, its connections and the server itself, and compares what becomes of it.

    python -m scripts.torture --kills 100 --collection temporary
    python -m scripts.torture --kills 100 --collection 'postgresql://me@server/scratch?schema=torture'
    python -m scripts.torture --kills 100 --collection temporary --commands redescribe

Two real commands (`python -m indexer build`) share the work on an album that changes from stage to stage; in every
second stage they describe all of it again, with other weights (`--redescribe`). Meanwhile, at random moments between
commits: one of the describers is killed (SIGKILL) and started again; connections are ended
(`pg_terminate_backend`); the server is stopped, as if the power failed or politely, and started again (only one of
this program's own: `temporary`).

After each, no photograph that was committed may have been described again by the same weights (it would have another
id). At the end of each stage both describers must have ended well, `indexer verify` must find nothing, no claim and
no schema beside the collection's may be left, and files, boxes, phrases, codes and embeddings must be those of a
folder's collection that undisturbed builds made, to the last bit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psycopg

from db.collection import Collection, open_collection
from db.errors import CollectionError, CollectionMissing, CollectionUnreachable
from db.postgres.address import Address
from db.postgres.collection import PostgresCollection
from db.postgres.successor import address_of_successor
from db.postgres.verification import verify
from scripts.temporary_server import TemporaryServer
from scripts.torture.album import Album
from scripts.torture.fault import raise_if
from scripts.torture.state import difference, state
from scripts.torture.tiny_checkpoint import write_tiny_checkpoint

REPOSITORY = Path(__file__).parents[2]
DESCRIBERS = 2
KILLS_A_STAGE = 12
LEASE_SECONDS = 2
MOST_COMMITS = 12  # between two kills
STAGE_SECONDS = 600.0  # that a stage may take at most
WAYS = ("describer", "connection", "power", "stop")
COMMANDS = ("build", "redescribe")

Result = TypeVar("Result")


@dataclass(frozen=True)
class ServerKill:
    """A kill that did no harm."""

    stage: int
    command: str  # of COMMANDS, at work
    way: str  # of WAYS
    commits: int  # since the last one
    photographs: int  # in the collection by then


class ServerTorture:
    """An album, a collection of it on a server that is not left in peace, and one in a folder that is."""

    def __init__(self, folder: Path, seed: int, photographs: int, url: str, server: TemporaryServer | None):
        """server: the one of the URL, to be stopped too; None: it is somebody else's."""
        self.stages = 0
        self.doing = ""  # said with a Fault
        self._url, self._server = url, server
        self._undisturbed = folder / "undisturbed"
        self._logs = folder
        self._weights = [folder / "0.safetensors", folder / "1.safetensors"]  # those in use, those to move over to
        for seed_of_weights, path in enumerate(self._weights):
            write_tiny_checkpoint(path, seed=seed_of_weights)
        self._album = Album(folder / "photos", seed)
        self._photographs = photographs
        self._rng = random.Random(seed)
        self._command = COMMANDS[0]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        # Checkpoint and path -> id and digest, as committed.
        self._ids: dict[tuple[str, str], tuple[int, str | None]] = {}
        self._beside = self._replaced = 0  # commits to what is to take the collection's place; of those that took it

    def run(self, kills: int, commands: Sequence[str] = COMMANDS) -> Iterator[ServerKill]:
        """Stage after stage until there were so many kills. commands: those that are disturbed. Raises Fault."""
        try:
            while kills > 0:
                self._album.add(self._photographs)
                if self.stages:
                    self._album.change(max(1, self._photographs // 10), new_contents=True)
                self._ids.clear()  # what changed is described again
                command = COMMANDS[self.stages % 2]
                if command == "redescribe":
                    self._weights.reverse()
                for kill in self._stage(command, min(kills, KILLS_A_STAGE) if command in commands else 0):
                    kills -= 1
                    yield kill
                self.stages += 1
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()

    def _stage(self, command: str, kills: int) -> Iterator[ServerKill]:
        self._command = command
        self.doing = f"stage {self.stages}, {command}, undisturbed"
        alone = self._start(-1, str(self._undisturbed))
        raise_if(alone.wait(STAGE_SECONDS) != 0 and self._log(-1))
        for number in range(DESCRIBERS if kills else 1):
            self._running[number] = self._start(number, self._url)
        give_up = time.monotonic() + STAGE_SECONDS
        for kill in range(kills):
            self.doing = f"stage {self.stages}, {command}, kill {kill + 1}"
            before = self._commits()
            wanted = self._rng.randint(1, MOST_COMMITS)
            while self._alive() and self._commits() - before < wanted and time.monotonic() < give_up:
                time.sleep(0.05)
            if not self._alive():
                break
            commits = self._commits() - before
            way = self._kill()
            yield ServerKill(self.stages, command, way, commits, self._require_no_other_ids())
        self.doing = f"stage {self.stages}, {command}, to its end"
        while self._alive() and time.monotonic() < give_up:
            time.sleep(0.05)
        raise_if(self._alive() and "the describers do not end")
        self._running.clear()
        self._compare()

    def _kill(self) -> str:
        way = self._rng.choices(WAYS, (5, 3, 1, 1))[0]
        if way == "describer" or (way in ("power", "stop") and self._server is None):
            number = self._rng.choice(list(self._running))
            process = self._running[number]
            process.send_signal(signal.SIGKILL)
            process.wait()
            self._running[number] = self._start(number, self._url)
            return "describer"
        if way == "connection":
            self._administer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'densecap-search' AND random() < 0.7"
            )
        elif self._server is not None:
            self._server.stop("immediate" if way == "power" else "fast")
            time.sleep(self._rng.uniform(0, 1))
            self._server.start()
        return way

    def _compare(self) -> None:
        self._require_no_other_ids()
        report = verify(self._url)
        raise_if(" ".join(problem.what for problem in report.problems))
        raise_if(report.successor is not None and f"there is still {report.successor}")
        raise_if(difference(state(self._url, index=False), state(self._undisturbed, index=False)))
        schema = Address.parse(self._url).schema
        for table in ("listing", "task", "missing", "content"):
            ((left,),) = self._administer(f'SELECT count(*) FROM "{schema}".{table}')
            raise_if(left and f"{left} rows are left in {table}")

    def _require_no_other_ids(self) -> int:
        """Compare the ids of photographs with those of before, of each checkpoint; how many the collection has."""
        now: dict[tuple[str, str], tuple[int, str | None]] = {}
        count = 0
        with suppress(CollectionMissing), open_collection(self._url) as collection:
            count = collection.photo_count()
            now |= _ids(collection)
        now |= self._ask_beside(_ids, now)  # after the collection: it may take its place between the two
        for (checkpoint, path), committed in now.items():
            before = self._ids.get((checkpoint, path))
            twice = before is not None and before[1] == committed[1] and before[0] != committed[0]
            raise_if(twice and f"{path!a} was described again: {before}, {committed}")
        self._ids |= now
        return count

    def _ask_beside(self, function: Callable[[Collection], Result], otherwise: Result) -> Result:
        """What is to take the collection's place says, if there is such a thing and it is not just taking it."""
        if self._command != "redescribe":
            return otherwise
        try:
            with PostgresCollection.open_at(address_of_successor(Address.parse(self._url))) as beside:
                return function(beside)
        except CollectionError:
            return otherwise

    def _commits(self) -> int:
        """So many there have been, to the collection and to what is or was to take its place."""
        revision = 0
        with suppress(CollectionMissing, CollectionUnreachable), open_collection(self._url) as collection:
            revision = collection.revision
        now = self._ask_beside(lambda beside: beside.revision, 0)
        if now < self._beside:
            self._replaced += self._beside
        self._beside = now
        return revision + now + self._replaced

    def _alive(self) -> bool:
        """Whether a describer is at work; those that ended must have ended well."""
        for number, process in self._running.items():
            if process.poll() == 2 and self._server is not None and "No server answers" in self._log(number):
                self._running[number] = self._start(number, self._url)  # it began while the server was stopped
            else:
                raise_if(process.poll() not in (None, 0) and self._log(number))
        return any(process.poll() is None for process in self._running.values())

    def _start(self, number: int, collection: str) -> "subprocess.Popen[bytes]":
        """Run the real command in a process of its own. number: of the describer, for its log."""
        options = "--device cpu --batch-size 1 --threads 1 --commit-seconds 0 --quiet"
        with open(self._logs / f"describer {number}.log", "wb") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-m", "indexer", "build", str(self._album.folder), "--collection", collection),
                    *("--weights", str(self._weights[0]), "--lease-seconds", str(LEASE_SECONDS), *options.split()),
                    *(["--redescribe"] if self._command == "redescribe" else []),
                ],
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this program
            )

    def _log(self, number: int) -> str:
        text = (self._logs / f"describer {number}.log").read_text(errors="replace")
        return f"a describer ended badly: {text[-2000:].strip()}"

    def _administer(self, statement: str) -> list[tuple[int, ...]]:
        address = Address.parse(self._url)
        url = address.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()


def _ids(collection: Collection) -> dict[tuple[str, str], tuple[int, str | None]]:
    """Checkpoint and path of each photograph -> its id and digest."""
    return {
        (collection.model.digest, path): (stat.photo_id, stat.digest)
        for root_id in collection.roots()
        for path, stat in collection.known(root_id).items()
        if not stat.failed
    }
