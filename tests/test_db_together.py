"""Several processes at once: readers are never wrong, and writers lose nothing of each other's."""

import json
import os
import subprocess
import sys
from pathlib import Path

from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from helpers.db_photos import create

TESTS = Path(__file__).parent

# Step n (from 1) adds the photograph n.jpg of n % 5 + 1 regions and, from 5 on, removes photograph n - 4. Every fifth
# step merges all segments into one, which is a commit as well; now and then FAISS files are saved or made anew.
STEPS = """
STEPS = 30
step_of = [0]  # by revision
for n in range(1, STEPS + 1):
    step_of += [n, n] if n % 5 == 0 else [n]
"""

WRITER = """
import sys, time
from pathlib import Path
from db.local.maintenance.compaction import compact
from db.local.maintenance.reindexing import rebuild_index
from helpers.db_photos import create, photo
with create(Path(sys.argv[1])) as collection:
    while len(list(Path(sys.argv[1]).parent.glob("reader *"))) < 2:
        time.sleep(0.01)
    for n in range(1, STEPS + 1):
        collection.commit(new=[photo(1, f"{n}.jpg", count=n % 5 + 1)], gone=[n - 4] if n > 4 else [])
        if n % 5 == 0:
            compact(collection)
        if n % 7 == 0:
            collection.save_index()
        if n % 9 == 0:
            rebuild_index(collection)
        assert step_of[collection.revision] == n
"""

READER = """
import json, os, sys, time
from pathlib import Path
import numpy as np
from db.local.collection import LocalCollection
from helpers.db_photos import photo
seen = []
def check(collection):
    revision = collection.revision
    n = step_of[revision]
    numbers = [number for number in range(max(1, n - 3), n + 1)]
    photos = collection.photos(collection.photo_ids())
    assert [row.path.name for row in photos] == [f"{number}.jpg" for number in numbers], (n, photos)
    expected = [photo(1, f"{number}.jpg", count=number % 5 + 1) for number in numbers]
    ((found, _),) = collection.nearest(np.eye(1, 8, dtype=np.float32), 1000)
    rows = collection.regions(np.sort(found))
    assert [row.phrase for row in rows] == [phrase for one in expected for phrase in one.phrases], n
    codes = [one.codes for one in expected]
    assert collection.features().codes.tolist() == (np.concatenate(codes).tolist() if codes else []), n
    assert collection.revision == revision
    seen.append(revision)
path = Path(sys.argv[1])
while not seen or seen[-1] < len(step_of) - 1:
    with LocalCollection.open(path) as collection:
        check(collection)
        path.with_name(f"reader {os.getpid()}").touch()  # the writer begins once both have
        time.sleep(0.02)
        check(collection)
        collection.refresh()
        check(collection)
print(json.dumps(seen))
"""

ADDER = """
import sys, time
from pathlib import Path
from db.errors import CollectionLocked
from helpers.db_photos import create, photo
for number in range(6):
    while True:
        try:
            with create(Path(sys.argv[1])) as collection:
                root = collection.add_root(Path("/photos of") / sys.argv[2])
                collection.commit(new=[photo(root, f"{number}.jpg", count=2)])
            break
        except CollectionLocked as refused:
            # "by another process" where that one has the lock and has not said yet who it is
            assert "is being written by " in str(refused), refused
            time.sleep(0.01)
"""


def run(*commands: list[str]) -> list[str]:
    """Run programs at the same time; what each printed."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    # No error and no warning either: no file was missing, no index had to be made anew.
    assert [(process.returncode, err) for process, (_, err) in zip(processes, outputs)] == [(0, "")] * len(commands)
    return [out for out, _ in outputs]


def test_readers_are_never_wrong_while_a_writer_works(tmp_path):
    path = tmp_path / "collection"
    with create(path) as collection:
        collection.add_root(Path("/photos"))
    *found, _ = run(*([STEPS + program, str(path)] for program in (READER, READER, WRITER)))
    for out in found:
        seen = json.loads(out)
        assert seen == sorted(seen) and len(set(seen)) > 1
    assert verify(path).problems == []


def test_two_writers_in_turn_lose_nothing(tmp_path):
    path = tmp_path / "collection"
    run([ADDER, str(path), "one"], [ADDER, str(path), "the other"])
    with LocalCollection.open(path) as collection:
        names = {root.name: set(collection.known(root_id)) for root_id, root in collection.roots().items()}
        assert set(names) == {"one", "the other"}
        assert all(known == {f"{number}.jpg" for number in range(6)} for known in names.values())
        assert (collection.photo_count(), collection.region_count()) == (12, 24)
    assert verify(path).problems == []
