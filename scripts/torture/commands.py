"""Kills `indexer` with SIGKILL at random moments and compares what becomes of the collection with undisturbed ones.

\b
    python -m scripts.torture --kills 200 --seed 1
    python -m scripts.torture --kills 20 --commands compact,rebuild --folder /dev/shm --json
    python -m scripts.torture --kills 100 --collection temporary       # on a server: see scripts/torture/describers.py

An album of small photographs changes from stage to stage: files are moved, copied, touched, truncated, removed, some
are no photographs, and in every fourth stage some are new or rewritten (the others need no network, whose import takes
most of a command's life). In each stage every command runs on a collection that is never disturbed, and on another
one, where the real command (`python -m indexer ...`) is killed, again and again, and at last runs to its end. One in
four kills comes at any moment of the command's life, the others between two changes of the collection's files.

After each kill a copy of that collection must hold (`verification.verify`), say of each file what it said before or
what it is to say in the end, and have lost neither a photograph nor anything that an earlier run had committed; at
most one commit of a build may be missing. After each command's end it must hold, and files, boxes, phrases, codes,
embeddings and the vectors in FAISS must be those of the undisturbed collection, to the last bit; in every fourth stage
and at the end also those of a collection that is built in an empty folder. (Ids apart: they tell of what order things
happened in.)

Ends at the first fault with exit code 1, and leaves its folder.
"""

import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from db.collection import open_collection
from db.errors import CollectionMissing, DbError
from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from scripts.options import json_option
from scripts.temporary_server import temporary_server
from scripts.torture.album import FOLDERS, Album
from scripts.torture.describers import COMMANDS as ON_SERVER
from scripts.torture.describers import ServerKill, ServerTorture
from scripts.torture.fault import Fault, raise_if
from scripts.torture.state import State, difference, fault_between, state
from scripts.torture.tiny_checkpoint import write_tiny_checkpoint

REPOSITORY = Path(__file__).parents[2]

# In the order of a stage: how often each is killed in it.
COMMANDS = {"remove": 2, "build": 6, "compact": 3, "rebuild": 3, "repair": 3, "redescribe": 4}
ALL_OR_NOTHING = ("remove", "redescribe")  # done in one commit
DESCRIBE_EVERY = 4  # stages; in the others nothing needs the network
NEED_NETWORK = ("remove", "redescribe")  # what is removed is described again

ANYWHERE_SHARE = 0.25  # of the kills: at any moment, however little happens then
POLL_SECONDS = 0.003


@dataclass(frozen=True)
class Moment:
    """When to kill: so many seconds after so many changes of the collection's files."""

    changes: int
    seconds: float


@dataclass(frozen=True)
class Run:
    """A command's life."""

    seconds: float
    changes: list[float]  # seconds after its start, each when the collection's files were seen to have changed
    killed: bool


@dataclass(frozen=True)
class Kill:
    """A kill that did no harm."""

    stage: int
    command: str
    seconds: float  # after the command's start
    of_seconds: float  # that the same command took undisturbed
    changes: int  # of the collection's files that were seen before it
    of_changes: int
    committed: bool  # the command had made a commit
    left: int  # files that were half written, or not committed, or not swept away yet


@click.command(help=__doc__)
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True)
@click.option("--seed", default=1, show_default=True, help="Of photographs, changes and moments.")
@click.option("--commands", default=",".join(COMMANDS), show_default=True, help="Those to kill.")
@click.option("--photographs", type=click.IntRange(8), default=12, show_default=True, help="In the first stage.")
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to work, in a new folder. Default: the system's for temporary files.",
)
@click.option(
    "--collection",
    metavar="URL",
    help="On a server, two describers at work on it: a schema that is not there yet, or `temporary` for a server of "
    "this program's own, which is stopped too.",
)
@json_option
def main(
    kills: int,
    seed: int,
    commands: str,
    photographs: int,
    folder: Path | None,
    collection: str | None,
    as_json: bool,
) -> None:
    chosen = commands.split(",")
    if unknown := set(chosen) - COMMANDS.keys():
        raise click.UsageError(f"{min(unknown)!r} is none of {', '.join(COMMANDS)}")
    if collection is not None and not set(chosen) & set(ON_SERVER):
        raise click.UsageError(f"On a server there are {' and '.join(ON_SERVER)}: name one of them.")
    place = Path(tempfile.mkdtemp(prefix="densecap-torture-", dir=folder))
    started = time.monotonic()
    done: list[Kill | ServerKill] = []
    fault = None
    logger = logging.getLogger("db")
    with ExitStack() as stack:
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)  # that a file which was damaged here is damaged is no news
        torture: Torture | ServerTorture
        if collection is None:
            torture = Torture(place, seed, photographs)
            killing: Iterator[Kill | ServerKill] = torture.run(kills, chosen)
        else:
            own = collection == "temporary"
            server = stack.enter_context(temporary_server()) if own else None
            torture = ServerTorture(place, seed, photographs, server.url if server else collection, server)
            killing = torture.run(kills, chosen)
        try:
            for kill in killing:
                done.append(kill)
                print(f"{len(done)}/{kills} {json.dumps(asdict(kill))}", file=sys.stderr, flush=True)
        except (Fault, DbError) as error:
            fault = f"{torture.doing}: {error}"
    seconds = time.monotonic() - started
    if as_json:
        summary = {"kills": len(done), "seed": seed, "stages": torture.stages, "seconds": seconds, "fault": fault}
        click.echo(json.dumps({**summary, "each": [asdict(kill) for kill in done]}, indent=1))
    else:
        of_server = [kill for kill in done if isinstance(kill, ServerKill)]
        if of_server:
            click.echo(server_table(of_server, torture.stages, seconds))
        else:
            click.echo(table([kill for kill in done if isinstance(kill, Kill)], torture.stages, seconds))
    if fault:
        click.echo(f"{fault}\nThe collections are in {place}.", err=True)
        sys.exit(1)
    shutil.rmtree(place)


def server_table(kills: Sequence[ServerKill], stages: int, seconds: float) -> str:
    """The result on a server, for people."""
    ways, commands = Counter(kill.way for kill in kills), Counter(kill.command for kill in kills)
    commits, photographs = sum(kill.commits for kill in kills), max(kill.photographs for kill in kills)
    return "\n".join(
        [
            f"{len(kills)} kills in {stages} stages and {seconds:.0f} s, between {commits} commits of two describers, "
            f"{photographs} photographs at most",
            *(f"{way:<10} {count:>6}" for way, count in ways.items()),
            "while at work: " + ", ".join(f"{command} {count}" for command, count in commands.items()),
        ]
    )


def table(kills: Sequence[Kill], stages: int, seconds: float) -> str:
    """The result for people."""
    lines = [
        f"{len(kills)} kills in {stages} stages and {seconds:.0f} s",
        "",
        "            kills  before a file changed  before a commit  after one  files left",
    ]
    for command in [*dict.fromkeys(kill.command for kill in kills), "all"]:
        ours = [kill for kill in kills if command in (kill.command, "all")]
        idle = sum(kill.changes == 0 for kill in ours)
        committed = sum(kill.committed for kill in ours)
        left = sum(kill.left > 0 for kill in ours)
        lines.append(
            f"{command:<10} {len(ours):>6} {idle:>22} {len(ours) - idle - committed:>16} {committed:>10} {left:>11}"
        )
    tenths = Counter(min(9, int(10 * kill.seconds / kill.of_seconds)) for kill in kills)
    lines += ["", "in each tenth of an undisturbed life: " + " ".join(str(tenths[tenth]) for tenth in range(10))]
    return "\n".join(lines)


class Torture:
    """An album and two collections of it: one whose commands are killed, and one that is left in peace."""

    def __init__(self, folder: Path, seed: int, photographs: int):
        self.stages = 0  # that are finished
        self.doing = ""  # said with a Fault
        self.killed, self.undisturbed = folder / "killed", folder / "undisturbed"
        self._fresh, self._copy, self._stderr = folder / "fresh", folder / "copy", folder / "stderr"
        self.album = Album(folder / "photos", seed)
        self.album.add(photographs)
        self._changes = max(1, photographs // 8)
        self._weights = [folder / "0.safetensors", folder / "1.safetensors"]  # those in use, those to move over to
        for seed_of_weights, path in enumerate(self._weights):
            write_tiny_checkpoint(path, seed=seed_of_weights)
        self._rng = random.Random(seed)

    def run(self, kills: int, commands: Sequence[str]) -> Iterator[Kill]:
        """Stage after stage until there were so many kills.

        Raises:
            Fault: something is not as it should be.
        """
        while kills > 0:
            describing = self.stages % DESCRIBE_EVERY == 0
            self.album.change(self._changes, new_contents=describing)
            for command, tries in COMMANDS.items():
                wanted = command in commands and (describing or command not in NEED_NETWORK)
                if command == "remove" and not self.stages:
                    wanted = False  # there is nothing yet
                if command != "build" and not wanted:
                    continue
                for kill in self.step(command, min(kills, tries) if command in commands else 0):
                    kills -= 1
                    yield kill
            if describing or kills == 0:
                self._compare_with_fresh()
            self.stages += 1

    def _compare_with_fresh(self) -> None:
        self.doing = f"stage {self.stages}, at its end"
        self._command("verify", self.killed)
        self._command("build", self._fresh)
        expected = state(self._fresh)
        for collection in (self.undisturbed, self.killed):
            if fault := difference(state(collection), expected):
                raise Fault(f"{collection} is not as one built from scratch: {fault}")
        shutil.rmtree(self._fresh)

    def step(self, command: str, tries: int) -> Iterator[Kill]:
        """A command killed so often, or until it is quicker than its killer, and then run to its end.

        Raises:
            Fault: something is not as it should be.
        """
        self.doing = f"stage {self.stages}, {command}"
        if command == "repair":
            damage_index(self.killed)
            damage_index(self.undisturbed)
        before, commits = state(self.killed), count_commits(self.killed)
        successor: State = {}
        ended = False
        undisturbed = self._command(command, self.undisturbed)
        after = state(self.undisturbed)
        for attempt in range(1, tries + 1):
            self.doing = f"stage {self.stages}, kill {attempt} of {command}"
            files = names(self.killed)
            run = self._command(command, self.killed, self._moment(undisturbed, attempt / tries))
            if not run.killed:
                ended = True
                break
            # A copy: looking at a database that was left behind changes what the next writer meets.
            shutil.rmtree(self._copy, ignore_errors=True)
            if self.killed.exists():
                shutil.copytree(self.killed, self._copy)
            before = self._found(self._copy, before, after, command)
            if command == "redescribe" and before != after:
                successor = self._found(self._copy / "next", successor, after, "build")
            unnamed = unnamed_files(self._copy)
            lost = [name for name in unnamed - files if name.endswith(".h5")]
            raise_if(command == "build" and len(lost) > 1 and f"{len(lost)} commits are lost: {lost}")
            commits_before, commits = commits, count_commits(self._copy)
            yield Kill(
                self.stages,
                command,
                seconds=round(run.seconds, 3),
                of_seconds=round(undisturbed.seconds, 3),
                changes=len(run.changes),
                of_changes=len(undisturbed.changes),
                committed=commits != commits_before,
                left=len(unnamed),
            )
            if command == "remove" and before == after:  # what is gone cannot be removed
                ended = True
                break
        self.doing = f"stage {self.stages}, {command} to its end"
        if not ended:
            self._command(command, self.killed)
        report = verify(self.killed)
        raise_if(" ".join(problem.what for problem in report.problems))
        if command != "remove":  # which may not have lived to save them
            unsaved = report.counts.unsaved_regions
            raise_if(unsaved and f"FAISS files are behind by {unsaved} regions")
        raise_if(difference(state(self.killed), after))
        if command == "redescribe":
            self._weights.reverse()

    def _found(self, path: Path, before: State, after: State, command: str) -> State:
        """What a killed command left, which must hold and be on the way from one state to another."""
        try:
            report = verify(path)
            found = state(path)
        except CollectionMissing:  # killed before its first commit
            raise_if(before and f"{path} is gone")
            return {}
        damaged = "index" if command == "repair" else None  # by us
        raise_if(" ".join(problem.what for problem in report.problems if problem.kind != damaged))
        if command in ALL_OR_NOTHING:
            raise_if(found not in (before, after) and "is neither what it was nor what it was to become")
        raise_if(fault_between(before, found, after))
        return found

    def _moment(self, undisturbed: Run, share: float) -> Moment:
        """When to kill a command that lives like that if it is undisturbed: most likely in so much of its changes.

        What was killed late has little left to do, so kills that follow each other had better come later and later.
        """
        if not undisturbed.changes or self._rng.random() < ANYWHERE_SHARE:
            return Moment(0, self._rng.uniform(0, undisturbed.seconds))
        index = self._rng.randrange(math.ceil(share * len(undisturbed.changes)))
        ends = [*undisturbed.changes[1:], undisturbed.seconds]
        return Moment(index + 1, self._rng.uniform(0, ends[index] - undisturbed.changes[index]))

    def _command(self, command: str, collection: Path, moment: Moment | None = None) -> Run:
        """Run the real command in a process of its own, and kill it at a moment.

        Raises:
            Fault: it ended, and not well.
        """
        changes: list[float] = []
        files = stats(collection)
        due = None
        started = time.monotonic()
        with open(self._stderr, "w+", errors="replace") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "indexer", *self._arguments(command), "--collection", str(collection)],
                cwd=REPOSITORY,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C is for this program
            )
            try:
                while process.poll() is None:
                    now = time.monotonic() - started
                    if (found := stats(collection)) != files:
                        changes.append(now)
                        files = found
                    if moment and due is None and len(changes) >= moment.changes:
                        due = now + moment.seconds
                    if due is not None and now >= due:
                        break
                    time.sleep(POLL_SECONDS if due is None else min(POLL_SECONDS, due - now))
            finally:
                process.kill()
                code = process.wait()
            seconds = time.monotonic() - started
            killed = code == -signal.SIGKILL and due is not None
            if code != 0 and not killed:
                stderr.seek(0)
                raise Fault(f"{command} of {collection} ended with {code}: {stderr.read().strip()}")
        return Run(seconds, changes, killed)

    def _arguments(self, command: str) -> list[str]:
        if command in ("build", "redescribe"):
            weights = self._weights[command == "redescribe"]
            # One photograph a batch: so its numbers are the same every time.
            options = "--device cpu --batch-size 1 --threads 1 --commit-seconds 0.05 --quiet"
            arguments = ["build", str(self.album.folder), "--weights", str(weights), *options.split()]
            return [*arguments, "--redescribe"] if command == "redescribe" else arguments
        if command == "remove":
            return ["remove", str(self.album.folder / FOLDERS[0])]
        return ["verify", "--repair"] if command == "repair" else [command]


def damage_index(path: Path) -> None:
    """Flip a byte of a FAISS file."""
    file = max(path.glob("regions.*.faiss"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def names(path: Path) -> set[str]:
    """Of the files that hold features and vectors."""
    return {file.name for pattern in ("features/*", "regions.*") for file in path.glob(pattern)}


def unnamed_files(path: Path) -> set[str]:
    """The files of features and vectors that the last commit does not name."""
    if not count_commits(path):
        return names(path)
    with LocalCollection.open(path) as collection:
        snapshot = collection.snapshot
        return names(path) - {file.name for file in snapshot.segments.values()} - {file.name for file in snapshot.files}


def stats(path: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    found = {}
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                stat = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            found[os.path.join(folder, name)] = (stat.st_size, stat.st_mtime_ns)
    return found


def count_commits(path: Path) -> int:
    """Commits of a collection, and of the one that is going to take its place."""
    count = 0
    for folder in (path, path / "next"):
        try:
            with open_collection(folder) as collection:
                count += collection.revision
        except CollectionMissing:
            pass
    return count
