"""One writer and two readers at once, in processes of their own: every answer is from the commit it claims."""

import json
import os
import subprocess
import sys
from pathlib import Path

from db_photos import create

TESTS = Path(__file__).parent

# Commit n (from 1) adds the photograph n.jpg of n % 5 + 1 regions and, from 5 on, removes photograph n - 4.
WRITER = """
import sys
from pathlib import Path
from db_photos import create, photo
with create(Path(sys.argv[1])) as collection:
    for n in range(1, 41):
        collection.commit(new=[photo(1, f"{n}.jpg", count=n % 5 + 1)], gone=[n - 4] if n > 4 else [])
        if n % 7 == 0:
            collection.save_index()
"""

READER = """
import json, sys
from pathlib import Path
import numpy as np
from db.collection import Collection
from db_photos import photo
seen = []
def check(collection):
    n = collection.revision
    ids = [number for number in range(max(1, n - 3), n + 1)]
    photos = collection.photos(collection.photo_ids())
    assert [row.path.name for row in photos] == [f"{number}.jpg" for number in ids], (n, photos)
    expected = [photo(1, f"{number}.jpg", count=number % 5 + 1) for number in ids]
    ((found, _),) = collection.nearest(np.eye(1, 8, dtype=np.float32), 1000)
    rows = collection.regions(np.sort(found))
    assert [row.phrase for row in rows] == [phrase for one in expected for phrase in one.phrases], n
    codes = [one.codes for one in expected]
    assert collection.features().codes.tolist() == (np.concatenate(codes).tolist() if codes else []), n
    assert collection.revision == n
    seen.append(n)
path = Path(sys.argv[1])
while not seen or seen[-1] < 40:
    with Collection.open(path) as collection:
        check(collection)
        check(collection)
        collection.refresh()
        check(collection)
print(json.dumps(seen))
"""


def test_readers_are_never_wrong_while_a_writer_works(tmp_path):
    with create(tmp_path / "collection") as collection:
        collection.add_root(Path("/photos"))
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"}

    def start(program: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(tmp_path / "collection")]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    processes = [start(program) for program in (READER, READER, WRITER)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    for out, err in outputs[:2]:
        seen = json.loads(out)
        assert seen == sorted(seen) and len(set(seen)) > 1
        assert err == ""  # no file was missing, no index had to be made anew
