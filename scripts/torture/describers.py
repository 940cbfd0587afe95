"""Kills describers of a collection on a server, its connections and the server itself, and compares what becomes of it.

    python -m scripts.torture --kills 100 --collection temporary
    python -m scripts.torture --kills 100 --collection 'postgresql://me@server/scratch?schema=torture'

Two real commands (`python -m indexer build`) share the work on an album that changes from stage to stage. Meanwhile, at
random moments between commits: one of the describers is killed (SIGKILL) and started again; connections are ended
(`pg_terminate_backend`); the server is stopped, as if the power failed or politely, and started again (only one of
this program's own: `temporary`).

After each, no photograph that was committed may have been described again (it would have another id). At the end of
each stage both describers must have ended well, `indexer verify` must find nothing, no claim may be left, and files,
boxes, phrases, codes and embeddings must be those of a folder's collection that one undisturbed build made, to the
last bit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from db.collection import open_collection
from db.errors import CollectionMissing, CollectionUnreachable
from db.postgres.address import Address
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


@dataclass(frozen=True)
class ServerKill:
    """A kill that did no harm."""

    stage: int
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
        self._weights = folder / "tiny.safetensors"
        write_tiny_checkpoint(self._weights)
        self._album = Album(folder / "photos", seed)
        self._photographs = photographs
        self._rng = random.Random(seed)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._ids: dict[str, tuple[int, str | None]] = {}  # path -> id and digest, as committed

    def run(self, kills: int) -> Iterator[ServerKill]:
        """Stage after stage until there were so many kills. Raises Fault."""
        try:
            while kills > 0:
                self._album.add(self._photographs)
                if self.stages:
                    self._album.change(max(1, self._photographs // 10), new_contents=True)
                self._ids.clear()  # what changed is described again
                for kill in self._stage(min(kills, KILLS_A_STAGE)):
                    kills -= 1
                    yield kill
                self.stages += 1
        finally:
            for process in self._running.values():
                process.kill()
                process.wait()

    def _stage(self, kills: int) -> Iterator[ServerKill]:
        self.doing = f"stage {self.stages}, undisturbed"
        alone = self._start(-1, str(self._undisturbed))
        raise_if(alone.wait(STAGE_SECONDS) != 0 and self._log(-1))
        for number in range(DESCRIBERS):
            self._running[number] = self._start(number, self._url)
        give_up = time.monotonic() + STAGE_SECONDS
        for kill in range(kills):
            self.doing = f"stage {self.stages}, kill {kill + 1}"
            before = self._revision()
            wanted = self._rng.randint(1, MOST_COMMITS)
            while self._alive() and self._revision() - before < wanted and time.monotonic() < give_up:
                time.sleep(0.05)
            if not self._alive():
                break
            commits = self._revision() - before
            way = self._kill()
            yield ServerKill(self.stages, way, commits, self._require_no_other_ids())
        self.doing = f"stage {self.stages}, to its end"
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
        raise_if(difference(state(self._url, index=False), state(self._undisturbed, index=False)))
        schema = Address.parse(self._url).schema
        for table in ("listing", "task", "missing", "content"):
            ((left,),) = self._administer(f'SELECT count(*) FROM "{schema}".{table}')
            raise_if(left and f"{left} rows are left in {table}")

    def _require_no_other_ids(self) -> int:
        """Compare the ids of photographs with those of before; how many there are."""
        now: dict[str, tuple[int, str | None]] = {}
        with suppress(CollectionMissing), open_collection(self._url) as collection:
            for root_id in collection.roots():
                known = collection.known(root_id)
                now |= {path: (stat.photo_id, stat.digest) for path, stat in known.items() if not stat.failed}
        for path, (photo_id, digest) in now.items():
            before = self._ids.get(path)
            twice = before is not None and before[1] == digest and before[0] != photo_id
            raise_if(twice and f"{path!a} was described again: {before}, {photo_id}")
        self._ids = now
        return len(now)

    def _revision(self) -> int:
        try:
            with open_collection(self._url) as collection:
                return collection.revision
        except (CollectionMissing, CollectionUnreachable):
            return 0

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
                    *("--weights", str(self._weights), "--lease-seconds", str(LEASE_SECONDS), *options.split()),
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
