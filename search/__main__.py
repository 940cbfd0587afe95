"""The command `search`; as `python -m search` whatever stands first on PATH."""

import os
import sys

from search.cli import main


def run() -> None:
    """Run the command."""
    # Closed by whoever started the program (`>&-`): what is said there is lost, and no error.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        main()
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # told before, and Python would tell it again at its end
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115


if __name__ == "__main__":
    run()
