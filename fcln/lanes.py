"""Lanes: pieces of work side by side on a CPU, each in one thread, in place of one piece in all threads.

Threads that share a matrix product wait for each other at its end, a thousand times a photograph. Where other programs
want the same cores, each wait lasts until the system lets the last thread on: with six others on two cores a photograph
took 490 ms in both threads, and takes 170 ms since each has its own.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch


class Lanes:
    """Threads in which torch computes without further threads. Safe to share between threads."""

    def __init__(self, count: int):
        """count: how many pieces of work go on at one moment."""
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        if count > 1:
            self._pool = ThreadPoolExecutor(count, "lane")
            everywhere = torch.get_num_threads()
            together = threading.Barrier(count)  # as many threads, one each
            for each in [self._pool.submit(_compute_alone, together) for _ in range(count)]:
                each.result()
            torch.set_num_threads(everywhere)  # torch's number is also that of threads that begin after now

    def run(self, function: Callable[..., None], pieces: Sequence[tuple[Any, ...]]) -> None:
        """Call the function with the arguments of each piece, and wait for all; raises what the first one raised.

        A piece that is alone runs where it is called from, and in all threads.
        """
        if self._pool is None or len(pieces) < 2:
            for piece in pieces:
                function(*piece)
            return
        running = [self._pool.submit(function, *piece) for piece in pieces]
        try:
            for each in running:
                each.result()
        finally:
            for each in running:
                each.cancel()


def _compute_alone(together: threading.Barrier) -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # this thread takes the number here, or with its first product
    together.wait()
