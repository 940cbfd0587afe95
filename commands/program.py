"""A command line as a process of its own."""

import ctypes
import os
import sys
from collections.abc import Callable

EXIT_INTERRUPTED = 130

_M_ARENA_MAX = -8  # malloc.h


def run(main: Callable[[], object]) -> None:
    """Run a program's command line, whatever its standard streams are."""
    sleep_while_waiting()
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
    except KeyboardInterrupt:  # while it was being loaded
        os._exit(EXIT_INTERRUPTED)
    finally:
        _flush()


def sleep_while_waiting() -> None:
    """Have threads of OpenMP (torch's, FAISS's) that wait for each other sleep, unless the environment says otherwise.

    To be called before torch or FAISS is imported; processes that are started from here do so, too. By default they
    spin: where other programs want the same cores, a thread spins while the one that it waits for has none. With 15
    other programs on two cores a build of 96 photographs took 60 s of processor time and more than 260 s, so 13 and 45.
    `scripts.train`, beside two other programs, put 12.6 photographs a second through its backbone in place of 2.6.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def share_one_heap() -> None:
    """Have all threads take memory from one heap. To be called before they start; only glibc has more than one.

    It gives threads heaps of their own, up to eight a processor, and each keeps what its busiest moment took: 0.1 to
    0.2 GB of 1.5 in a build of 320 photographs. Without them a build takes 4 % longer.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):  # musl has none
        libc.mallopt(_M_ARENA_MAX, 1)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:  # told before, and Python would tell it again at its end
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
