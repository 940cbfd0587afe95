"""Which part of the program takes the time: methods are wrapped while they are measured, the product stays as it is."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Place = tuple[Any, str]  # a class or a module, and the name of a function in it


class Stages:
    """Seconds a stage, each without those of the stages that it calls."""

    def __init__(self, finish: Callable[[], object] = lambda: None) -> None:
        """finish: waits for what a stage has left to do, of a GPU."""
        self._finish = finish
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._inner = threading.local()  # seconds that stages within the present one took, of each thread

    @contextmanager
    def measured(self, stages: Mapping[str, Iterable[Place]]) -> Iterator[None]:
        """While this is open, every call of a stage's functions counts for it."""
        originals = []
        try:
            for stage, places in stages.items():
                for owner, name in places:
                    original = getattr(owner, name)
                    originals.append((owner, name, original))
                    setattr(owner, name, self._timed(stage, original))
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)

    def _timed(self, stage: str, function: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner.seconds = getattr(self._inner, "seconds", 0.0), 0.0
            self._finish()
            started = time.perf_counter()
            try:
                found = function(*args, **kwargs)
                self._finish()
                return found
            finally:
                took = time.perf_counter() - started
                with self._lock:
                    self.seconds[stage] += took - self._inner.seconds
                self._inner.seconds = outer + took

        return timed
