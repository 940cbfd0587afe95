"""Ctrl-C and SIGTERM: the first asks a build to end, the second ends it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Outcome = TypeVar("Outcome")


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets. The second one ends the process, as elsewhere."""
    stop = threading.Event()
    handled = (signal.SIGINT, signal.SIGTERM)
    before = {signum: signal.getsignal(signum) for signum in handled}

    def handle(_signum: int, frame: FrameType | None) -> None:
        stop.set()
        for each in handled:
            signal.signal(each, before[each])
        # Not print: the signal may have come in the middle of one.
        os.write(sys.stderr.fileno(), b"\nStopping after the photographs in work; once more to stop at once.\n")

    for signum in handled:
        signal.signal(signum, handle)
    try:
        yield stop
    finally:
        for signum in handled:
            signal.signal(signum, before[signum])


def interruptible(function: Callable[[], Outcome]) -> Outcome:
    """What a function returns; Ctrl-C does not wait for its end, though it spends its time in other languages."""
    thread = ThreadPoolExecutor(1)
    try:
        return thread.submit(function).result()
    finally:
        thread.shutdown(wait=False)
