"""SIGKILL at every place that matters: what is found afterwards is a commit, and going on ends where it should."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from db_photos import LIFE, contents, create, live

from db.collection import Collection
from db.errors import CollectionMissing

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

TESTS = Path(__file__).parent


def lives(folder: Path, *points: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "db_killer.py"), str(folder), *points]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The contents after each commit of the LIFE, from 0."""
    path = tmp_path_factory.mktemp("undisturbed") / "collection"
    states = []
    for revision in range(len(LIFE) + 1):
        with create(path) as collection:
            live(collection, revision)
            states.append(contents(collection))
    return states


def files_after_sweeping(path: Path) -> set[str]:
    """The collection's files, but for FAISS's, whose generation is higher the more often one was saved."""
    create(path).close()
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and file.suffix != ".faiss"}


def test_killed_anywhere_it_holds_one_commit_and_goes_on_to_the_same_end(tmp_path, undisturbed):
    happened = json.loads(lives(tmp_path, "never"))
    complete = files_after_sweeping(tmp_path / "never")
    steps = {"line": 400, "before-rename": 1, "after-rename": 1, "before-commit": 4, "after-commit": 4}
    points = [f"{what}={n}" for what, step in steps.items() for n in range(1, happened[what] + 1, step)]
    lives(tmp_path, *points)

    revisions = set()
    for point in points:
        path = tmp_path / point
        try:
            with Collection.open(path) as found:
                revisions.add(found.revision)
                # Killed before the first root was added, there are no files of root 1 to speak of.
                expected = undisturbed[found.revision]
                assert {**contents(found), "known": {1: found.known(1)}} == expected, point
        except CollectionMissing:
            assert point == "line=1" or not (path / "features").exists(), point
        with create(path) as collection:
            live(collection)
            assert contents(collection) == undisturbed[-1], point
        assert files_after_sweeping(path) == complete, point
        with Collection.open(path) as again:  # the FAISS file that the last writer left
            assert contents(again)["nearest"] == undisturbed[-1]["nearest"], point
    assert revisions == set(range(len(LIFE) + 1))


def test_what_a_killed_commit_left_behind_is_swept_when_the_next_writer_opens(tmp_path):
    orphans = {
        "before-rename=2": "features/00000002-*.h5.tmp",
        "after-rename=2": "features/00000002-*.h5",
        "before-rename=3": "regions.1.faiss.tmp",
        "after-rename=3": "regions.1.faiss",
    }
    lives(tmp_path, *orphans)
    for point, orphan in orphans.items():
        assert len(list((tmp_path / point).glob(orphan))) == 1, point
        with create(tmp_path / point):
            assert not list((tmp_path / point).glob(orphan)), point
