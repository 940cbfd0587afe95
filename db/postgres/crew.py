"""`Crew`: some connections that see one snapshot and work at the same time, each in a process of the server's."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.orm import Session

Result = TypeVar("Result")


class Crew:
    """Sessions of one snapshot."""

    def __init__(self, sessions: Sequence[Session], pool: Executor | None = None):
        """pool: with a thread for each session but the first. Without one, the first works alone."""
        self._sessions = sessions
        self._pool = pool

    def share(self, function: Callable[[Session, Any], Result], items: Any) -> list[Result]:
        """function(session, some of the items) by each, at the same time; `items` are a sequence or an array."""
        size = min(len(self._sessions) if self._pool else 1, len(items))
        shares = [items[start::size] for start in range(size)]
        running = [
            self._pool.submit(function, session, share)
            for session, share in zip(self._sessions[1:], shares[1:])
            if self._pool is not None
        ]
        try:
            mine = function(self._sessions[0], shares[0])
        finally:
            wait(running)  # whatever happens, a session is one thread's at a time
        return [mine, *(each.result() for each in running)]

    def gather(
        self, function: Callable[[Session, Any], dict[str, np.ndarray]], items: Sequence[Any]
    ) -> dict[str, np.ndarray]:
        """As `share`, of a function that finds columns: each column of all sessions, (N,), one session's after the
        other's.
        """
        answers = self.share(function, items)
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}
