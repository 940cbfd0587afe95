"""Damaged files of every format through a build's decoders: none may end the run, hang, or come out in a wrong size.

\b
    python -m scripts.torture.decoding --seed 1 --files 20000
    python -m scripts.torture.decoding --files 500 --json

The files are those of the fuzz test (`scripts.torture.hostile_files`), of all formats that are installed. Each is
decoded or refused with a reason. A size is right if Pillow, which only reads the header, says the same of the same
bytes (of TIFFs: of one of the pages), or if it is that of the sound file where only its end was damaged. Exits with 1
if a file hung, came out wrong, or ended with anything but a reason; these files are kept.
"""

import io
import json
import random
import sys
import tempfile
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image

from decoding.errors import PhotoError
from decoding.photos import PIXEL_LIMIT, OpenedPhoto, Photograph
from indexer.build.decoders import DECODE_SECONDS, Decoders
from scripts.options import json_option
from scripts.torture.hostile_files import damaged, originals

# Damages that leave the header of a file as it was.
_OF_THE_END = ("truncate",)


@dataclass(frozen=True)
class HostileFile:
    number: int
    suffix: str
    damage: str
    content: bytes
    size: tuple[int, int]  # of the sound file, upright


@dataclass(frozen=True)
class Outcome:
    file: HostileFile
    kind: str  # decoded, incomplete, refused, crashed
    detail: str
    fault: str | None  # what should not be
    seconds: float


@click.command(help=__doc__)
@click.option("--seed", default=1, show_default=True, help="Of the files and their damage.")
@click.option("--files", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=2, show_default=True, help="Files decoded at one time.")
@click.option("--seconds", type=float, default=DECODE_SECONDS, show_default=True, help="That one file may take.")
@json_option
def main(seed: int, files: int, threads: int, seconds: float, as_json: bool) -> None:
    folder = Path(tempfile.mkdtemp(prefix="densecap-torture-"))
    started = time.monotonic()
    counts: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    faults, slowest = [], 0.0
    with Decoders(seconds=seconds) as decoders, ThreadPoolExecutor(threads) as pool:

        def attack(file: HostileFile) -> Outcome:
            return decoded(decoders, folder, file)

        for done, outcome in enumerate(_in_turn(pool, attack, hostile_files(seed, files), 4 * threads), start=1):
            counts[outcome.file.suffix, outcome.kind] += 1
            slowest = max(slowest, outcome.seconds)
            if outcome.kind == "refused":
                reasons[outcome.detail.split("(")[0].translate({ord(digit): "#" for digit in "0123456789"})] += 1
            if outcome.fault:
                faults.append(outcome)
                print(f"{outcome.file.number}{outcome.file.suffix}: {outcome.fault}", file=sys.stderr, flush=True)
            if done % 1000 == 0:
                print(f"{done:,} of {files:,}", file=sys.stderr, flush=True)
    took = time.monotonic() - started
    if as_json:
        kinds = {f"{suffix} {kind}": count for (suffix, kind), count in sorted(counts.items())}
        document = {"seed": seed, "files": files, "seconds": took, "slowest": slowest, "outcomes": kinds}
        click.echo(json.dumps({**document, "faults": [fault.fault for fault in faults], "reasons": reasons}, indent=1))
    else:
        click.echo(table(counts, files, took, slowest))
    if faults:
        click.echo(f"{len(faults)} faults; their files are in {folder}.", err=True)
        sys.exit(1)
    folder.rmdir()


def table(counts: Counter[tuple[str, str]], files: int, seconds: float, slowest: float) -> str:
    """The result for people."""
    kinds = ("decoded", "incomplete", "refused", "crashed")
    lines = ["        " + "".join(f"{kind:>12}" for kind in kinds)]
    for suffix in [*sorted({suffix for suffix, _ in counts}), "all"]:
        numbers = [sum(n for (of, k), n in counts.items() if k == kind and suffix in (of, "all")) for kind in kinds]
        lines.append(f"{suffix:<8}" + "".join(f"{number:>12,}" for number in numbers))
    return "\n".join([*lines, "", f"{files:,} files in {seconds:.0f} s, the slowest took {slowest:.1f} s"])


def hostile_files(seed: int, count: int) -> Iterator[HostileFile]:
    """So many damaged files."""
    rng = random.Random(seed)
    kinds = [(suffix, content) for suffix, contents in originals(seed).items() for content in contents]
    sizes = []
    for _, content in kinds:
        photo = OpenedPhoto(io.BytesIO(content)).decode()
        sizes.append((photo.width, photo.height))
    everything = [content for _, content in kinds]
    for number in range(count):
        (suffix, content), size = kinds[number % len(kinds)], sizes[number % len(kinds)]
        harmed, damage = damaged(rng, content, everything)
        yield HostileFile(number, suffix, damage, harmed, size)


def decoded(decoders: Decoders, folder: Path, file: HostileFile) -> Outcome:
    """What becomes of a file, which is left in the folder if it should not be."""
    path = folder / f"{file.number}{file.suffix}"
    path.write_bytes(file.content)
    started = time.monotonic()
    fault = None
    try:
        photo = decoders.decode(path)
        kind, detail = ("incomplete", photo.incomplete) if photo.incomplete else ("decoded", "")
        fault = wrong_size(photo, file)
    except PhotoError as error:
        kind, detail = "refused", str(error)
        if "crashed" in detail:
            kind = "crashed"
        if "takes longer" in detail or not detail:
            fault = detail or "no reason"
    except Exception as error:
        kind, detail, fault = "refused", "", f"{type(error).__name__}: {error}"
    if fault is None:
        path.unlink()
    return Outcome(file, kind, detail, fault, time.monotonic() - started)


def wrong_size(photo: Photograph, file: HostileFile) -> str | None:
    """What is wrong with the size of a decoded photograph, in words."""
    width, height, scale = photo.width, photo.height, photo.scale
    if not (min(width, height) >= 16 and width * height <= PIXEL_LIMIT):
        return f"{width}x{height} is beyond the limits"
    if photo.image.size != (-(-width // scale), -(-height // scale)):
        return f"an image of {photo.image.size} for {width}x{height} at 1/{scale}"
    if file.damage in _OF_THE_END and (width, height) != file.size and {width, height} != {*file.size}:
        # A PNG or WebP whose notes stand behind its pixels loses its orientation with them.
        return f"{width}x{height} instead of {file.size}"
    expected = header_sizes(file.content)
    if expected and tuple(sorted((width, height))) not in expected:
        return f"{width}x{height}, but its header says {sorted(expected)}"
    return None


def header_sizes(content: bytes) -> set[tuple[int, int]]:
    """What Pillow reads in a file's header, the smaller side first; nothing where it reads nothing."""
    sizes = set()
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(content)) as image:
            sizes.add(tuple(sorted(image.size)))
            if image.format == "TIFF":
                for page in range(1, 100):
                    image.seek(page)
                    sizes.add(tuple(sorted(image.size)))
    except Exception:  # damaged further on
        pass
    return {(small, large) for small, large in sizes}


def _in_turn(
    pool: ThreadPoolExecutor, function: Callable[[HostileFile], Outcome], items: Iterable[HostileFile], ahead: int
) -> Iterator[Outcome]:
    """The results of a function in the order of its items, so many of which are in work at one time."""
    waiting: deque[Future[Outcome]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


if __name__ == "__main__":
    main()
