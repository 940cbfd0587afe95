"""How much memory `indexer build` takes, together with the processes that decode (on Linux).

\b
    python -m scripts.benchmark.memory
    python -m scripts.benchmark.memory --without-fast --photos ~/Pictures

Runs the command itself over --count JPEGs of 26 shapes, every 16th of 12 or 48 megapixels, made out of the photographs
of --photos (default: those that scikit-image and scikit-learn carry in their wheels), and adds up what its processes
hold: all of the one that describes, libraries included, and what the others have for themselves.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from scripts.benchmark.build import peak_memory
from scripts.benchmark.photographs import find_sources, make_photographs, many_shapes
from scripts.demo import copy_photographs
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.options import own_photos_option

_SECONDS = 0.1  # between two looks
# The command, and the same as if OpenVINO were not installed.
_BUILD = "from indexer.__main__ import run; run()"
_PLAIN_BUILD = f"import sys; sys.modules['openvino'] = None; {_BUILD}"


@dataclass(frozen=True)
class BuildMemory:
    """The result, as its JSON says it."""

    photographs: int
    peak_memory_gb: float  # 10^9 bytes
    cpu_seconds: float  # of all processes of the build
    runtime: str  # which installation: "fast" or "plain"


@click.command(help=__doc__)
@own_photos_option
@click.option("--count", type=click.IntRange(1), default=320, show_default=True, help="Photographs.")
@click.option("--without-fast", is_flag=True, help="As if the extra `fast` were not installed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a line.")
def main(photos: Path | None, count: int, without_fast: bool, as_json: bool) -> None:
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        folder = Path(temporary)
        sources = find_sources(photos or copy_photographs(folder / "sources"))
        make_photographs(sources, folder / "photos", count, size_of=many_shapes)
        found = measure(folder / "photos", folder / "collection", count, fast=not without_fast)
    show(
        asdict(found),
        lambda: f"{count} photographs of many shapes, {found.runtime}: {found.peak_memory_gb:.2f} GB at most, "
        f"{1e3 * found.cpu_seconds / count:.0f} ms of CPU a photograph",
        as_json=as_json,
    )


def measure(photographs: Path, collection: Path, count: int, *, fast: bool = True) -> BuildMemory:
    """What `indexer build` takes for a folder of `count` photographs, into a new collection.

    Raises EvaluationError if the build fails, or where there is no /proc.
    """
    if not _can_look():
        raise EvaluationError("the memory of several processes can be added up on Linux only.")
    command = [sys.executable, "-c", _BUILD if fast else _PLAIN_BUILD, "build", "--quiet", "--device", "cpu"]
    before = os.times()
    with subprocess.Popen(
        [*command, str(photographs), "--collection", str(collection)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        peak = _peak(process.pid, process.communicate, _held)
    if process.returncode:
        raise EvaluationError("the build failed; `indexer build` on the same photographs says why.")
    after = os.times()
    seconds = after.children_user - before.children_user + after.children_system - before.children_system
    return BuildMemory(count, peak / 1e9, seconds, "fast" if fast else "plain")


def peak_with_children(work: Callable[[], object]) -> int:
    """The most bytes that this process and those below it held at one moment of the work.

    On Linux proportional: a page that several share counts once. Elsewhere what this process alone has held so far.
    Looking takes a few milliseconds each time: not for work that is timed.
    """
    if _can_look():
        return _peak(os.getpid(), work, lambda processes: sum(_proportional(each) for each in processes))
    work()
    return peak_memory()


def _can_look() -> bool:
    return sys.platform == "linux" and Path("/proc/self/smaps_rollup").exists()


def _peak(process: int, work: Callable[[], object], held: Callable[[list[int]], int]) -> int:
    """The most bytes that a process and those below it held at one moment of the work. held: of processes, bytes."""
    done = threading.Event()
    most = [0]

    def look() -> None:
        while True:
            most[0] = max(most[0], held(_with_descendants(process)))
            if done.wait(_SECONDS):
                return

    watching = threading.Thread(target=look)
    watching.start()
    try:
        work()
    finally:
        done.set()
        watching.join()
    return most[0]


def _with_descendants(process: int) -> list[int]:
    found = [process]
    for one in found:  # grows meanwhile
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += [int(each) for each in children.read_text().split()]
            except OSError:  # it has just ended
                continue
    program = _program(process)
    # A child that has not started its program yet shows its parent's memory a second time.
    return [process, *(each for each in found[1:] if _program(each) != program)]


def _program(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _proportional(process: int) -> int:
    """Bytes, shared pages divided by those who share them."""
    return _bytes(process, "Pss")


def _held(processes: list[int]) -> int:
    """Bytes, shared pages once, whoever else on this computer shares them.

    Of the processes below the first without what they share: libraries, nearly all of which the first one has too.
    """
    first, *others = processes
    return _bytes(first, "Rss") + sum(_bytes(each, "Private_Clean", "Private_Dirty") for each in others)


def _bytes(process: int, *kinds: str) -> int:
    """The sum of some lines of smaps_rollup; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.split(":")[0] in kinds)


if __name__ == "__main__":
    main()
