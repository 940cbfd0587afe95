"""Torture: the real commands are killed, every command passes, and whatever is wrong afterwards is found."""

import copy
import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import indexer.cli
from db.errors import CollectionDamaged
from db.local.collection import LocalCollection
from db.local.files import atomic_write
from db.local.vectors.faiss_index import VectorIndex
from db.records import NewPhoto
from scripts.torture import commands as torture
from scripts.torture.album import Album
from scripts.torture.commands import Fault, Kill, Moment, Run, Torture, table, unnamed_files
from scripts.torture.state import File, difference, fault_between

pytestmark = pytest.mark.skipif(not hasattr(torture.signal, "SIGKILL"), reason="there is no SIGKILL")


class InThisProcess:
    """Runs commands without processes; what should be killed runs to its end, and `after` has its way with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.done: list[tuple[str, str, bool]] = []
        self.after: Callable[[str, Path, bool], None] = lambda command, collection, killed: None
        monkeypatch.setattr(Torture, "_command", lambda *args: self.run(*args))

    def run(self, torture: Torture, command: str, collection: Path, moment: Moment | None = None) -> Run:
        arguments = [*torture._arguments(command), "--collection", str(collection)]
        result = CliRunner().invoke(indexer.cli.main, arguments)
        assert result.exit_code == 0, result.output
        killed = moment is not None
        self.done.append((command, collection.name, killed))
        self.after(command, collection, killed)
        return Run(1.0, [0.5], killed)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> InThisProcess:
    return InThisProcess(monkeypatch)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Torture:
    """An album and its collections, of four commits each."""
    made = Torture(tmp_path_factory.mktemp("torture"), seed=1, photographs=8)
    with pytest.MonkeyPatch.context() as monkeypatch:
        process = InThisProcess(monkeypatch)
        for new_contents in (False, False, True, True):
            made.album.change(1, new_contents=new_contents)
            process.run(made, "build", made.undisturbed)
    shutil.copytree(made.undisturbed, made.killed)
    return made


@pytest.fixture
def ready(built: Torture, tmp_path: Path) -> Torture:
    """The same, the collections one's own."""
    ready = copy.copy(built)
    ready.killed = shutil.copytree(built.killed, tmp_path / "killed")
    ready.undisturbed = shutil.copytree(built.undisturbed, tmp_path / "undisturbed")
    return ready


def run(folder: Path, options: str):
    return CliRunner().invoke(torture.main, f"--photographs 8 --folder {folder} {options}")


def test_the_real_command_is_killed_where_it_should_be(ready):
    undisturbed = ready._command("compact", ready.undisturbed)
    assert not undisturbed.killed and 0 < undisturbed.changes[0] < undisturbed.changes[-1] < undisturbed.seconds
    assert len(undisturbed.changes) > 2  # the lock, a segment, the database
    at_once = ready._command("compact", ready.killed, Moment(0, 0.0))
    assert at_once.killed and at_once.changes == []
    with_the_lock = ready._command("compact", ready.killed, Moment(1, 0.0))
    assert with_the_lock.killed and len(with_the_lock.changes) >= 1
    assert (ready.killed / "lock").read_text().startswith("process ")  # who ends well takes that away
    assert not ready._command("compact", ready.killed, Moment(1, 1000.0)).killed
    assert (ready.killed / "lock").read_text() == ""
    with pytest.raises(Fault, match=r"compact of .* ended with 2: Error: There is no collection in "):
        ready._command("compact", ready.killed / "elsewhere")


def test_the_real_build_is_killed_and_ends_as_it_should(tmp_path):
    result = run(tmp_path, "--kills 2 --seed 2 --commands build --json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["kills"], document["seed"], document["fault"]) == (2, 2, None)
    for kill in document["each"]:
        assert kill["command"] == "build" and kill["seconds"] > 0
        assert kill["of_changes"] > 5  # the lock, the database, segments, FAISS
    assert "2/2 {" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_its_turn_and_is_compared_with_a_fresh_build(tmp_path, in_this_process, monkeypatch):
    monkeypatch.setattr(torture, "COMMANDS", dict.fromkeys(torture.COMMANDS, 1))
    monkeypatch.setattr(torture, "DESCRIBE_EVERY", 2)
    result = run(tmp_path, "--kills 15")
    assert result.exit_code == 0, result.output
    killed = [command for command, _, killed in in_this_process.done if killed]
    without_network = ["build", "compact", "rebuild", "repair"]
    assert killed == [*without_network, "redescribe", *without_network, *torture.COMMANDS]  # nothing to remove at first
    assert [name for _, name, _ in in_this_process.done].count("fresh") == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith("15 kills in 3 stages and ")
    assert lines[-1] == "in each tenth of an undisturbed life: 0 0 0 0 0 0 0 0 0 15"
    assert list(tmp_path.iterdir()) == []


def test_a_fault_is_told_and_its_collections_stay(tmp_path, in_this_process):
    def after(command, collection, killed):
        if killed:
            forgotten(collection)

    in_this_process.after = after
    result = run(tmp_path, "--kills 2 --commands compact --json")
    assert result.exit_code == 1, result.output
    (place,) = tmp_path.iterdir()
    assert result.stderr.splitlines()[-1] == f"The collections are in {place}."
    assert re.fullmatch("stage 0, kill 1 of compact: '.*' is missing", result.stderr.splitlines()[-2])
    assert json.loads(result.stdout)["fault"] == result.stderr.splitlines()[-2]
    assert {"killed", "undisturbed", "copy"} <= {path.name for path in place.iterdir()}


def replaced(collection_path: Path, **changes) -> None:
    """Say something else of the first photograph, in a commit like any other."""
    with LocalCollection.open(collection_path, write=True) as collection:
        (root_id,) = collection.roots()
        stat = next(stat for stat in collection.known(root_id).values() if not stat.failed)
        (photo,), features = collection.photos([stat.photo_id]), collection.features([stat.photo_id])
        regions = collection.regions(features.region_ids)
        new = NewPhoto(
            root_id, stat.path, stat.size, stat.mtime_ns, stat.digest, photo.width, photo.height,
            boxes=np.array([region.box for region in regions], np.float32),
            scores=np.array([region.score for region in regions], np.float32),
            phrases=[region.phrase for region in regions],
            codes=features.codes,
            embeddings=features.embeddings,
        )  # fmt: skip
        collection.commit(new=[replace(new, **{name: change(getattr(new, name)) for name, change in changes.items()})])


def other_phrase(path: Path) -> None:
    replaced(path, phrases=lambda phrases: [f"{phrases[0]}!", *phrases[1:]])


def other_box(path: Path) -> None:
    replaced(path, boxes=lambda boxes: boxes + np.float32(0.25))


def other_code(path: Path) -> None:
    replaced(path, codes=lambda codes: codes + np.float16(0.5))


def other_embedding(path: Path) -> None:
    replaced(path, embeddings=lambda embeddings: -embeddings)


def forgotten(path: Path) -> None:
    with LocalCollection.open(path, write=True) as collection:
        collection.commit(gone=collection.photo_ids()[:1].tolist())


def invented(path: Path) -> None:
    replaced(path, path=lambda name: "invented.png")


def other_vector_in_faiss(path: Path) -> None:
    """A file that holds the right ids, is named with its checksum, and is wrong."""
    (file,) = path.glob("regions.*.faiss")
    with LocalCollection.open(path) as collection:
        features = collection.features()
    index = VectorIndex.exact(features.embeddings.shape[1])
    index.add(features.region_ids, features.embeddings[::-1])
    with atomic_write(file) as stream:
        index.write(stream)
    with sqlite3.connect(path / "photos.db") as database:
        database.execute("UPDATE index_file SET size = ?, sha256 = ?", (stream.size, stream.sha256))


def no_faiss(path: Path) -> None:
    with sqlite3.connect(path / "photos.db") as database:
        database.execute("DELETE FROM index_file")


def flipped_byte(path: Path) -> None:
    file = min((path / "features").iterdir())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("tamper", "in_the_end"),
    [
        (other_phrase, "differs in phrases"),
        (other_box, "differs in boxes"),
        (other_code, "differs in codes"),
        (other_embedding, "differs in embeddings, in_index"),
        (forgotten, "is missing"),
        (invented, "'invented.png' is too much"),
        (other_vector_in_faiss, "differs in in_index"),
        (no_faiss, "FAISS files are behind by "),
        (flipped_byte, "is damaged .its content does not match"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_tampered_collection_is_reported(ready, in_this_process, tamper, in_the_end):
    def after(command, collection, killed):
        if collection == ready.killed:
            tamper(collection)

    in_this_process.after = after
    with pytest.raises(Fault, match=in_the_end):
        list(ready.step("compact", 0))
    assert ready.doing == "stage 0, compact to its end"


@pytest.mark.parametrize(
    ("tamper", "command", "fault"),
    [
        (other_phrase, "build", "is neither as it was nor as it is to become"),
        (other_vector_in_faiss, "rebuild", "is neither as it was nor as it is to become"),
        (forgotten, "compact", "is missing"),
        (flipped_byte, "compact", "is damaged"),
        (forgotten, "remove", "is neither what it was nor what it was to become"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_kill_that_does_harm_is_reported_even_if_it_would_be_made_good(
    ready, in_this_process, tamper, command, fault
):
    def after(command, collection, killed):
        if killed:
            tamper(collection)

    in_this_process.after = after
    with pytest.raises((Fault, CollectionDamaged), match=fault):
        list(ready.step(command, 1))
    assert ready.doing == f"stage 0, kill 1 of {command}"


def test_two_collections_that_are_wrong_alike_differ_from_a_fresh_one(tmp_path, in_this_process):
    def after(command, collection, killed):
        if command == "compact":
            other_box(collection)

    in_this_process.after = after
    result = run(tmp_path, "--kills 1 --commands build,compact")
    assert result.exit_code == 1, result.output
    assert re.search(
        "stage 0, at its end: .*undisturbed is not as one built from scratch: .* differs in boxes", result.stderr
    )


def test_what_is_lost_on_the_way_is_found():
    def photo(digest: str) -> File:
        return File(size=1, mtime_ns=1, digest=digest, reason=None)

    before, after = {"a": photo("1"), "b": photo("2"), "c": photo("3")}, {"a": photo("1"), "d": photo("2")}
    for found in (before, after, {"a": photo("1"), "b": photo("2"), "d": photo("2")}):
        assert fault_between(before, found, after) is None
    assert fault_between(before, {"d": photo("2")}, after) == "'a' is missing"
    assert fault_between(before, {"a": photo("1")}, after) == "the photograph of digest 2 is missing"
    assert fault_between(before, {**after, "e": photo("1")}, after) == "'e' is neither as it was nor as it is to become"
    # Once it was as it is to become, it stays so.
    assert fault_between(after, before, after) == "'b' is neither as it was nor as it is to become"
    assert difference(after, after) is None
    assert difference({}, {str(number): photo("1") for number in range(7)}) == (
        "'0' is missing; '1' is missing; '2' is missing; '3' is missing; '4' is missing; 2 more"
    )


def test_two_lost_commits_of_a_build_are_found(ready, in_this_process):
    def after(command, collection, killed):
        if killed:
            for number in range(lost):
                (collection / "features" / f"0000009{number}-00000000.h5").write_bytes(b"not committed")

    in_this_process.after = after
    lost = 1
    (kill,) = ready.step("build", 1)
    assert kill.left == 1
    lost = 2
    with pytest.raises(Fault, match="2 commits are lost: "):
        list(ready.step("build", 1))
    assert unnamed_files(ready.killed) == {"00000090-00000000.h5", "00000091-00000000.h5"}


def test_moments_are_spread_over_a_life(ready):
    life = Run(10.0, changes=[6.0, 9.0, 9.01], killed=False)
    moments = [ready._moment(life, 1.0) for _ in range(2000)]
    anywhere = [moment.seconds for moment in moments if moment.changes == 0]
    assert 400 < len(anywhere) < 600
    assert min(anywhere) < 0.5 and max(anywhere) > 9.5
    for change, longest in ((1, 3.0), (2, 0.01), (3, 0.99)):  # a short time between two as often as a long one
        seconds = [moment.seconds for moment in moments if moment.changes == change]
        assert 400 < len(seconds) < 600
        assert min(seconds) < 0.1 * longest and 0.9 * longest < max(seconds) <= longest * (1 + 1e-9)
    assert {ready._moment(life, 0.5).changes for _ in range(100)} == {0, 1, 2}
    assert {ready._moment(life, 0.1).changes for _ in range(100)} == {0, 1}
    assert ready._moment(Run(10.0, [], killed=False), 1.0).changes == 0


def test_the_album_changes_alike_for_a_seed_and_leaves_nothing_out(tmp_path):
    contents = []
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        album = Album(tmp_path / name, seed)
        album.add(12)
        stages = []
        for new_contents in (False, True):
            album.change(2, new_contents=new_contents)
            files = sorted(path for path in album.folder.rglob("*") if path.is_file())
            stages.append(
                {path.relative_to(album.folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
            )
        contents.append(stages)
    assert contents[0] == contents[1] != contents[2]
    first, second = ({content for content, _ in stage.values()} for stage in contents[0])
    assert len(first) < len(contents[0][0])  # copies
    assert any(content.startswith(b"no photograph") for content in first)
    assert sum(content.startswith(b"\x89PNG") and not content.endswith(b"IEND\xaeB\x60\x82") for content in first) == 2
    assert sum(content.endswith(b"IEND\xaeB\x60\x82") for content in second - first) >= 4


def test_the_table_counts_where_the_kills_came():
    kills = [
        Kill(0, "build", 0.1, 1.0, changes=0, of_changes=9, committed=False, left=0),
        Kill(0, "build", 0.95, 1.0, changes=5, of_changes=9, committed=True, left=1),
        Kill(1, "compact", 1.5, 1.0, changes=2, of_changes=3, committed=False, left=2),
    ]
    assert [line.split() for line in table(kills, 2, 9.4).splitlines()[3:6]] == [
        ["build", "2", "1", "0", "1", "1"],
        ["compact", "1", "0", "1", "0", "1"],
        ["all", "3", "1", "1", "1", "2"],
    ]
    assert table(kills, 2, 9.4).endswith(": 0 1 0 0 0 0 0 0 0 2")


@pytest.mark.parametrize(("command", "kills"), [("build", 3), ("redescribe", 2)])
def test_describers_of_a_server_that_is_not_left_in_peace(tmp_path, monkeypatch, command, kills):
    """Few kills, in one stage; before they describe again, a stage of an undisturbed build."""
    monkeypatch.setattr("scripts.torture.describers.MOST_COMMITS", 1)
    arguments = f"--kills {kills} --commands {command} --photographs 12 --seed 5 --folder {tmp_path}"
    result = CliRunner().invoke(torture.main, [*arguments.split(), "--collection", "temporary"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{kills} kills in ")
    assert result.stdout.endswith(f"while at work: {command} {kills}\n")
    assert not list(tmp_path.iterdir())


def test_describers_of_a_server_can_build_and_describe_again_only():
    result = CliRunner().invoke(torture.main, ["--collection", "temporary", "--commands", "compact"])
    assert result.exit_code == 2 and "On a server there are build and redescribe" in result.stderr
