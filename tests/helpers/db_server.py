"""Collections on a real PostgreSQL server: one server a test run, one schema a collection."""

import atexit
from contextlib import ExitStack
from functools import cache
from itertools import count

from scripts.temporary_server import TemporaryServer, temporary_server

_numbers = count(1)


@cache
def server() -> TemporaryServer:
    """The test run's server, started when it is first asked for."""
    stack = ExitStack()
    running = stack.enter_context(temporary_server(fsync="off"))
    atexit.register(stack.close)  # last, and so before what the package registered when it started the server
    return running


def new_url() -> str:
    """The URL of a collection that is not there yet."""
    return f"{server().url}&schema=test_{next(_numbers)}"
