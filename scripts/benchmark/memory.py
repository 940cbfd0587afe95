"""How much memory a piece of work takes, together with the processes that it starts."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from scripts.benchmark.build import peak_memory

_SECONDS = 0.1  # between two looks


def peak_with_children(work: Callable[[], object]) -> int:
    """The most bytes that this process and those below it held at one moment of the work.

    On Linux proportional: a page that several share counts once. Elsewhere what this process alone has held so far.
    Looking takes a few milliseconds each time: not for work that is timed.
    """
    if sys.platform != "linux" or not Path("/proc/self/smaps_rollup").exists():
        work()
        return peak_memory()
    done = threading.Event()
    most = [0]

    def look() -> None:
        while True:
            most[0] = max(most[0], sum(_proportional(process) for process in _with_descendants(os.getpid())))
            if done.wait(_SECONDS):
                return

    watching = threading.Thread(target=look)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return most[0]


def _with_descendants(process: int) -> list[int]:
    found = [process]
    for one in found:  # grows meanwhile
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(each) for each in children.read_text().split()]
            except OSError:  # it has just ended
                continue
    program = _program(process)
    # A child that has not started its program yet shows its parent's memory a second time.
    return [process, *(each for each in found[1:] if _program(each) != program)]


def _program(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _proportional(process: int) -> int:
    """Bytes, shared pages divided by those who share them."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
