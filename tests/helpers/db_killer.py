"""Does things to collections in processes that kill themselves: `python db_killer.py FOLDER DEED LINES CALLS`.

First a forked process does the deed undisturbed, to FOLDER/never. Then for each point one does it to FOLDER/<point>,
and sends itself SIGKILL on the way. Both are copies of FOLDER/base, if there is one. A point is `line=N` (the N-th line
of db that is executed), or `before-NAME=N` or `after-NAME=N` (the N-th call of one of CALLS). LINES of the first are
drawn at random, and CALLS of each kind of the others; the same ones every time. Prints the points, a line each.
"""

import json
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import faiss  # noqa: F401  (loaded here once, not in every process)
import h5py  # noqa: F401
from sqlalchemy.engine.default import DefaultDialect

import db
from db.local.collection import LocalCollection
from db.local.maintenance import compaction
from db.local.maintenance.model_switch import open_successor, switch
from db.local.maintenance.reindexing import rebuild_index
from db.local.maintenance.verification import verify
from db.local.vectors import index_files
from helpers.db_photos import MODEL, OTHER_MODEL, create, live, photo

DB = str(Path(db.__file__).parent)
CALLS = {
    "rename": (os, "replace"),  # a file has its name
    "link": (os, "link"),
    "delete": (os, "unlink"),
    "commit": (DefaultDialect, "do_commit"),  # a transaction of SQLite, many of which only read
}
# A dozen regions are many: segments and FAISS files that are soon full.
LIMITS = (
    (compaction, "MERGED_BYTES", 10 * 2 * (MODEL.code_size + MODEL.embedding_size)),
    (index_files, "FILE_REGIONS", 12),
)


def live_on(path: Path) -> None:
    with create(path) as collection:
        live(collection, 2)
        collection.save_index()
        live(collection)


def compact(path: Path) -> None:
    with create(path) as collection:
        compaction.compact(collection)


def rebuild(path: Path) -> None:
    with create(path) as collection:
        rebuild_index(collection)


def succeed(path: Path) -> None:
    """Move the photographs of the root 1 to OTHER_MODEL, which describes each as its version 5, one a commit."""
    with LocalCollection.open(path, write=True) as collection:
        if collection.model == OTHER_MODEL:
            return
        with open_successor(collection, OTHER_MODEL) as successor:
            for name in sorted(collection.known(1).keys() - successor.known(1).keys()):
                successor.commit(new=[photo(1, name, version=5)])
            switch(collection, successor)


def repair(path: Path) -> None:
    verify(path, repair=True)


DEEDS: dict[str, Callable[[Path], None]] = {
    "live_on": live_on,
    "compact": compact,
    "rebuild": rebuild,
    "succeed": succeed,
    "repair": repair,
}


def kill_at(point: str) -> Counter[str]:
    """Arm the point (any other word: none). What happens on the way there is counted in what is returned."""
    happened: Counter[str] = Counter()

    def reached(what: str) -> None:
        happened[what] += 1
        if f"{what}={happened[what]}" == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(DB):
            return None
        if event == "line":
            reached("line")
        return trace

    def counted(name: str, function: Any) -> Any:
        def wrapper(*arguments: Any, **keywords: Any) -> Any:
            reached(f"before-{name}")
            result = function(*arguments, **keywords)
            reached(f"after-{name}")
            return result

        return wrapper

    for name, (owner, attribute) in CALLS.items():
        setattr(owner, attribute, counted(name, getattr(owner, attribute)))
    if point == "never" or point.startswith("line"):
        sys.settrace(trace)
    return happened


def do(folder: Path, deed: str, point: str) -> None:
    if (folder / "base").exists():
        shutil.copytree(folder / "base", folder / point)
    process = os.fork()
    if process == 0:
        happened = kill_at(point)
        DEEDS[deed](folder / point)
        sys.settrace(None)
        (folder / "happened.json").write_text(json.dumps(happened))
        os._exit(0)
    status = os.waitpid(process, 0)[1]
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if killed == (point == "never"):
        sys.exit(f"{point}: not reached, or failed (status {status})")


def main(folder: Path, deed: str, lines: int, calls: int) -> None:
    for module, name, value in LIMITS:
        setattr(module, name, value)
    do(folder, deed, "never")
    chance = random.Random(deed)
    for what, times in sorted(json.loads((folder / "happened.json").read_text()).items()):
        number = min(times, lines if what == "line" else calls)
        for n in sorted(chance.sample(range(1, times + 1), number)):
            do(folder, deed, f"{what}={n}")
            print(f"{what}={n}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
