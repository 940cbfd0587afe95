"""A command line as a process of its own."""

import os
import sys
from collections.abc import Callable

from commands.errors import EXIT_INTERRUPTED


def run(main: Callable[[], object]) -> None:
    """Run a program's command line, whatever its standard streams are."""
    # Closed by what started the program (`>&-`): what is said there is lost, and no error.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        main()
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:
            _flush()
            # Everything is closed. A batch may still be in the network, and to take that apart in order takes seconds.
            os._exit(EXIT_INTERRUPTED)
        raise
    finally:
        _flush()


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # told before, and Python would tell it again at its end
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
