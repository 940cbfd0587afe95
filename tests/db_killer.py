"""Lives the LIFE of a collection in processes that kill themselves: `python db_killer.py FOLDER POINT...`.

For each point a forked process lives in FOLDER/<point> and sends itself SIGKILL there. A point is `line=N` (the N-th
line of db that is executed), or `before-NAME=N` or `after-NAME=N` (the N-th call of one of CALLS), or `never`, which
prints the number of lines and of calls as JSON.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import faiss  # noqa: F401  (loaded here once, not in every process)
import h5py  # noqa: F401
from db_photos import create, live
from sqlalchemy.engine.default import DefaultDialect

import db

DB = str(Path(db.__file__).parent)
CALLS = {
    "rename": (os, "replace"),  # a file has its name
    "commit": (DefaultDialect, "do_commit"),  # a transaction of SQLite, many of which only read
}


def kill_at(point: str, happened: Counter[str]) -> None:
    """Arm the point; count what happens on the way there."""

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
    sys.settrace(trace)


def main(folder: Path, points: list[str]) -> None:
    for point in points:
        process = os.fork()
        if process == 0:
            happened: Counter[str] = Counter()
            kill_at(point, happened)
            with create(folder / point) as collection:
                live(collection, 2)
                collection.save_index()
                live(collection)
            if point == "never":
                print(json.dumps(happened), flush=True)
            os._exit(0)
        status = os.waitpid(process, 0)[1]
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed == (point == "never"):
            sys.exit(f"{point}: not reached, or failed (status {status})")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
