"""Collections on a real PostgreSQL server: one server a test run, one schema a collection."""

import atexit
import time
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import psycopg

from db.collection import open_collection
from db.postgres import indexes
from helpers.db_photos import MODEL, live, photo
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


def live_url() -> str:
    """The URL of a collection of b.jpg and f.jpg; d/e.jpg failed (`helpers.db_photos.live`)."""
    url = new_url()
    with open_collection(url, write=True, create=True, model=MODEL) as collection:
        live(collection)
    return url


def connections() -> set[int]:
    """The server's processes for connections of collections, by number."""
    with psycopg.connect(server().url, autocommit=True) as connection:
        found = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'densecap-search'")
        return {number for (number,) in found.fetchall()}


def wait_for_the_end_of_all_but(others: set[int]) -> None:
    """Wait until the server is done with what processes asked for that were killed: it may be at their last commit."""
    deadline = time.monotonic() + 300
    while connections() - others:
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def partitioned(monkeypatch, photographs, *, partition_regions):
    """A collection of so many photographs of 20 regions, open to write: large, as questions see it.

    In partitions of partition_regions; full ones have an index.
    """
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", partition_regions)
    monkeypatch.setattr(indexes, "SCANNED_REGIONS", partition_regions - 100)
    monkeypatch.setattr(indexes, "REGIONS_PER_LIST", 20)
    with open_collection(new_url(), write=True, create=True, model=MODEL) as collection:
        collection.add_root(Path("/photos"))
        collection.commit(new=[photo(1, f"{number}.jpg", count=20) for number in range(photographs)])
        collection.record_build({}, seconds=1)
        yield collection
