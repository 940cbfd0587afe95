"""Work in threads, waited for as long as the build is not asked to stop."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

# A file may take its time, a minute to decode or longer to read; what was described before does not wait for it.
_IDLE_SECONDS = 0.1

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def mapped(
    pool: Executor,
    function: Callable[[Item], Outcome],
    items: Iterable[Item],
    ahead: int | Callable[[], int],
    idle: Callable[[], None],
    stop: Callable[[], bool],
) -> Iterator[tuple[Item, Outcome]]:
    """(item, function(item)) in order, computed by the pool at most `ahead` items before they are asked for.

    ahead: a number, or what says it each time.

    idle: called now and then while there is nothing to do but to wait.
    stop: asked then; once true, nothing is waited for any more.
    """
    allowed = ahead if callable(ahead) else lambda: ahead
    waiting: deque[tuple[Item, Future[Outcome]]] = deque()
    for item in items:
        waiting.append((item, pool.submit(function, item)))
        while len(waiting) > allowed():
            first, future = waiting.popleft()
            if not done(future, stop, idle=idle):
                return
            yield first, future.result()
    while waiting:
        first, future = waiting.popleft()
        if not done(future, stop, idle=idle):
            return
        yield first, future.result()


def done(
    future: Future[Outcome],
    stop: Callable[[], bool],
    *,
    idle: Callable[[], None] = lambda: None,
    grace: float = 0.0,
) -> bool:
    """Wait for a future; False: it was not waited for to its end.

    grace: seconds that it has once the build is asked to stop.
    """
    stopped = None
    while not future.done():
        if stop():
            stopped = time.monotonic() if stopped is None else stopped
            if time.monotonic() - stopped >= grace:
                return False
        wait([future], timeout=min(_IDLE_SECONDS, grace) if stopped is not None else _IDLE_SECONDS)
        idle()
    return True
