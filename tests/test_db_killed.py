"""SIGKILL at every place that matters: what is found afterwards is a commit, and going on ends where it should."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from db.errors import CollectionError, CollectionMissing
from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from helpers.db_killer import DEEDS, LIMITS
from helpers.db_photos import LIFE, MODEL, OTHER_MODEL, contents, create, live, photo

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

TESTS = Path(__file__).parent


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    for module, name, value in LIMITS:
        monkeypatch.setattr(module, name, value)


def kill(folder: Path, deed: str, *, lines: int, calls: int) -> list[str]:
    """Do the deed undisturbed, then kill it at so many lines and calls of each kind. Returns where (db_killer.py)."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "helpers" / "db_killer.py"), str(folder), deed, str(lines), str(calls)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def state(path: Path) -> dict[str, Any]:
    """What there is, whatever the commit."""
    with LocalCollection.open(path) as collection:
        return {**contents(collection), "model": collection.model, "revision": 0}


def end(path: Path) -> tuple[dict[str, Any], set[str]]:
    """What a writer finds, and the files it leaves (but for FAISS's, whose numbers say how often one was saved)."""
    with LocalCollection.open(path, write=True) as collection:
        found = {**contents(collection), "model": collection.model, "revision": 0}
    return found, files(path)


def files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and file.suffix != ".faiss"}


def test_a_build_killed_anywhere_holds_one_commit_and_goes_on_to_the_same_end(tmp_path):
    undisturbed = []
    with create(tmp_path / "undisturbed") as collection:
        for revision in range(len(LIFE) + 1):
            live(collection, revision)
            undisturbed.append(contents(collection))
    points = kill(tmp_path, "live_on", lines=6, calls=2)
    complete = end(tmp_path / "never")

    revisions, left = set(), set()
    for point in points:
        path = tmp_path / point
        left |= files(path) - complete[1]
        try:
            with LocalCollection.open(path) as found:
                revisions.add(found.revision)
                # Killed before the first root was added, there are no files of root 1 to speak of.
                expected = undisturbed[found.revision]
                assert {**contents(found), "known": {1: found.known(1)}} == expected, point
        except CollectionMissing:
            assert not (path / "features").exists(), point
        DEEDS["live_on"](path)
        assert end(path) == complete, point
    assert complete[0] == {**undisturbed[-1], "model": MODEL, "revision": 0}
    assert len(revisions) > 3
    # What a killed one has written and not committed goes when the next writer opens; of some there was something.
    assert any(name.endswith(".tmp") for name in left) and any(name.endswith(".h5") for name in left)


def fragmented(path: Path) -> None:
    """Many segments, some with rows of photographs that are gone, and several FAISS files."""
    with create(path) as collection:
        live(collection)
        for number in range(3):
            collection.commit(new=[photo(1, f"{number}.jpg", count=4), photo(1, f"{number}.png", count=1)])
            collection.save_index()
        collection.commit(gone=[10, 13])
        collection.record_build({}, seconds=1)


@pytest.mark.parametrize("deed", ["compact", "rebuild", "succeed"])
def test_maintenance_killed_anywhere_changes_all_or_nothing(tmp_path, deed):
    fragmented(tmp_path / "base")
    before = state(tmp_path / "base")
    points = kill(tmp_path, deed, lines=4, calls=1)
    after = state(tmp_path / "never")
    assert (before["model"], after["model"]) == (MODEL, OTHER_MODEL if deed == "succeed" else MODEL)
    complete = end(tmp_path / "never")
    assert (complete[1] == end(tmp_path / "base")[1]) == (deed == "rebuild")
    states = []
    for point in points:
        path = tmp_path / point
        states.append(state(path))
        assert states[-1] in (before, after), point
        DEEDS[deed](path)
        assert end(path) == complete, point
        assert verify(path).problems == [], point
    if deed == "succeed":
        assert before in states and after in states


def test_repair_killed_anywhere_is_repeated_to_the_same_end(tmp_path):
    fragmented(tmp_path / "base")
    (tmp_path / "base" / "photos.db").write_bytes(b"this was a database once" * 1000)
    segment = sorted((tmp_path / "base" / "features").iterdir())[4]
    segment.write_bytes(segment.read_bytes()[:-1])
    points = kill(tmp_path, "repair", lines=4, calls=1)
    after = state(tmp_path / "never")
    assert {stat.size for stat in after["known"][1].values() if stat.failed} == {5, -1}
    complete = end(tmp_path / "never")
    for point in points:
        path = tmp_path / point
        try:
            assert state(path)["model"] == MODEL
        except CollectionError as error:  # not yet repaired, and that is said
            assert "indexer verify --repair" in str(error), point
        DEEDS["repair"](path)
        assert end(path) == complete, point
        assert verify(path).problems == [], point
