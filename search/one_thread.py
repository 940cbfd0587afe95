"""A question is computed in one thread."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def compute_in_one_thread() -> None:
    """Have NumPy multiply matrices in one thread from the start, unless the environment says otherwise.

    For a command, to be called before NumPy is imported: threads that are never made cost nothing (0.2 s of a command).
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def in_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """A function that multiplies matrices in its own thread alone, unless the environment says otherwise.

    A question's matrices are small: a second thread saves nothing, and where another program has its core, the first
    one waits for it. 17 ms of processor time became 50, and 30 ms of a busy computer 106 (1,000,000 regions).
    """

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        with _one_thread():
            return function(*args, **kwargs)

    return alone


@contextmanager
def _one_thread() -> Iterator[None]:
    if "OPENBLAS_NUM_THREADS" in os.environ:
        yield
    else:
        with _libraries().limit(limits=1):  # 8 us
            yield


@cache
def _libraries() -> Any:
    """NumPy's; FAISS has its own, which a question's few phrases do not reach."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
