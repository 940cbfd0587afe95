"""The one place where what the packages raise becomes a sentence for the person at the keyboard."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import click

from commands.next_commands import runnable
from commands.program import EXIT_INTERRUPTED
from commands.text import printable

EXIT_ERROR = 2


class Failure(click.ClickException):
    """An error in one sentence; `Error: ` stands before it on stderr."""

    exit_code = EXIT_ERROR

    def __init__(self, message: str):
        super().__init__(runnable(message))


@contextmanager
def plain_errors(*others: type[Exception], failure: type[click.ClickException] = Failure) -> Iterator[None]:
    """Turns the errors of all packages into a `failure`, Ctrl-C into exit code 130, and logged warnings into a line.

    Args:
        others: errors of the program itself that are sentences too.
        failure: what ends the program; its class has the exit code.
    """
    # Warnings of the packages are for the user too; Pillow's remarks on odd metadata are not.
    handler = logging.StreamHandler()
    handler.setFormatter(_Warnings())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        errors = (*_of_the_packages(), *others)
        try:
            yield
        except errors as error:
            raise failure(str(error)) from error
        except BrokenPipeError:
            raise  # the reader has read enough: click ends the command without a word
        except OSError as error:
            named = isinstance(error.filename, str | bytes)
            where = f": {printable(os.fsdecode(error.filename))}" if named else ""
            raise failure(f"{error.strerror or error}{where}.") from error
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


class _Warnings(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"Warning: {runnable(record.getMessage())}"


def _of_the_packages() -> tuple[type[Exception], ...]:
    """Their errors. Imported here: `--help` must not wait for what the packages import."""
    from db.errors import DbError
    from decoding.errors import PhotoError
    from fcln.errors import FclnError
    from indexer.errors import IndexerError
    from search.errors import SearchError

    return DbError, PhotoError, FclnError, IndexerError, SearchError
