"""The command `search`; as `python -m search` whatever stands first on PATH."""

import os
import sys
from contextlib import suppress

from search.cli import main


def run() -> None:
    """Run the command and end the process at once.

    To take torch apart, as Python does at its end, costs half a second, and some of its parts remark on it on stderr.
    Nothing is left to be done then: `search` writes no collection.
    """
    # Closed by whoever started the program (`>&-`): what is said there is lost, and no error.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    with suppress(OSError):  # only what could not be written before is left, and that has been told
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
