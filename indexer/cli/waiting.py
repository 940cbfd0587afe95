"""A collection that another process is writing, and how far a command has come."""

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from indexer.progress import Progress

Result = TypeVar("Result")

_ASK_AGAIN_SECONDS = 1.0  # while another process writes

wait_option = click.option(
    "--wait", is_flag=True, help="If another process is writing the collection, wait for it to end; else refuse."
)


def when_unlocked(do_it: "Callable[[], Result]", *, wait: bool, stop: threading.Event | None = None) -> "Result":
    """What `do_it` opens or does; with `wait`, once no other process writes. KeyboardInterrupt if stopped."""
    from db.errors import CollectionLocked

    stop = stop or threading.Event()
    waiting = False
    while True:
        try:
            return do_it()
        except CollectionLocked as error:
            if not wait:
                raise
            if not waiting:
                click.echo(f"Waiting: {error}", err=True)
                waiting = True
        if stop.wait(_ASK_AGAIN_SECONDS):
            raise KeyboardInterrupt


def choose_progress(quiet: bool) -> "Progress":
    from indexer.progress import BarProgress, LineProgress, Progress

    if quiet:
        return Progress()
    return BarProgress() if sys.stderr.isatty() else LineProgress()
