"""What keeping the books of a large collection costs, without the network: time, memory, bytes.

\b
    python -m scripts.benchmark.collection
    python -m scripts.benchmark.collection --photographs 10000 --json

Writes small files, one for each photograph, and fills a collection with made-up regions of them through
`Collection.commit`. Then everything that happens to a collection later, each in a fresh process, whose peak memory is
reported: a build that finds nothing new (against the time that listing the folder and asking for each file's size and
time take), opening and asking, verifying, compacting, rebuilding FAISS. The defaults need 20 GB of disk.
"""

import hashlib
import json
import math
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from db.errors import DbError
from db.local.collection import LocalCollection
from db.local.maintenance import compaction
from db.local.maintenance.reindexing import rebuild_index
from db.local.maintenance.verification import verify
from db.records import ModelIdentity, NewPhoto, PhotoHeaders
from indexer.scan.plan import find_changes
from scripts.options import json_option, regions_option

EMBEDDING_SIZE, CODE_SIZE = 256, 512  # of the embedded weights
FILES_A_FOLDER = 1000
CLUSTERS, SPREAD = 2000, 0.8  # embeddings of one kind of thing are alike by a cosine of 1 / (1 + SPREAD^2)
ASKED_REGIONS, ASKED_PHOTOS = 1000, 100  # of FAISS and of segments, as a search does


@dataclass(frozen=True)
class Cost:
    """What one job took."""

    seconds: float
    cpu_seconds: float  # of all threads and of the system for it: what a busy computer does not change
    peak_memory_mb: float  # of the process that did it, with Python and all libraries; 10^6 bytes
    details: dict[str, Any]


class Stopwatch:
    """The time that parts of a job take together."""

    def __init__(self) -> None:
        self.seconds = self.cpu_seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        seconds, cpu_seconds = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - seconds
        self.cpu_seconds += time.process_time() - cpu_seconds


@click.command(help=__doc__)
@click.option("--photographs", type=click.IntRange(10), default=100_000, show_default=True)
@regions_option
@click.option(
    "--commit-photographs",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    help="In one commit: on a CPU, `indexer build` describes about as many in the 5 seconds between two.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to put photographs and collection, which stay there; default: a temporary folder.",
)
@json_option
def main(photographs: int, regions: int, commit_photographs: int, folder: Path | None, as_json: bool) -> None:
    with TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        place = folder or Path(temporary)
        photos, path = place / "photos", place / "collection"
        if path.exists():
            raise click.ClickException(f"{path} exists: name another --folder.")
        make_files(photos, photographs)
        try:
            costs = {
                "fill": measure(fill, path, photos, regions, commit_photographs),
                "list and stat": measure(list_and_stat, photos),
                "build without changes": measure(build_nothing, path, photos),
                "open and ask": measure(ask, path),
                "verify": measure(check, path),
                "compact": measure(compact, path),
                "rebuild": measure(rebuild, path),
                "ask again": measure(ask, path),
            }
        except DbError as error:
            raise click.ClickException(str(error)) from error
    result = {"photographs": photographs, "regions": regions, "cores": os.cpu_count()}
    if as_json:
        click.echo(json.dumps({**result, "costs": {job: asdict(cost) for job, cost in costs.items()}}, indent=1))
    else:
        click.echo(table(photographs, regions, costs))


def measure(job: Callable[..., dict[str, Any]], *arguments: Any) -> Cost:
    """Do a job in a process of its own. A `watch` among its details counts in the place of its whole time."""
    print(f"{job.__name__} ...", file=sys.stderr)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_do, job, *arguments).result()


def _do(job: Callable[..., dict[str, Any]], *arguments: Any) -> Cost:
    whole = Stopwatch()
    with whole.running():
        details = job(*arguments)
    watch = details.pop("watch", whole)
    return Cost(watch.seconds, watch.cpu_seconds, peak_memory() / 1e6, details)


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    try:  # Linux: what getrusage says begins with the memory of the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def anonymous_memory() -> int | float:
    """The bytes of memory that this process holds without mapped files; nan where the system does not say."""
    try:
        return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) * 1024
    except FileNotFoundError:
        return math.nan


def make_files(folder: Path, count: int) -> None:
    """Write `count` files with names of photographs, no two alike."""
    for number in range(count):
        path = folder / f"{number // FILES_A_FOLDER:04}" / f"{number:07}.jpg"
        if number % FILES_A_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"photograph {number}")


# -- the jobs


def fill(path: Path, photos: Path, regions: int, commit_photographs: int) -> dict[str, Any]:
    """Commit every file with made-up regions. Making them up does not count."""
    files = sorted(photos.rglob("*.jpg"))
    model = ModelIdentity("0" * 64, EMBEDDING_SIZE, CODE_SIZE)
    early_peak = 0
    watch, copying = Stopwatch(), Stopwatch()

    with watch.running():
        collection = LocalCollection.open(path, write=True, create=True, model=model)
        root_id = collection.add_root(photos)
    made = make_photographs(root_id, photos, files, regions)
    for start in range(0, len(files), commit_photographs):
        batch = list(islice(made, commit_photographs))
        with watch.running():
            collection.commit(new=batch)
        if start <= len(files) // 10:
            early_peak = peak_memory()
    with watch.running():
        with copying.running():
            collection.record_build({"new": len(files)}, seconds=watch.seconds)
        collection.close()
    size = {
        name: sum(file.stat().st_size for file in path.glob(name)) for name in ("photos.db", "features/*", "*.faiss")
    }
    return {
        "watch": watch,
        "photographs_per_second": len(files) / watch.seconds,
        "seconds_for_the_copy_of_photos_db": copying.seconds,
        "peak_memory_mb_after_a_tenth": early_peak / 1e6,
        "bytes_a_region": sum(size.values()) / (len(files) * regions),
        "of_them_database": size["photos.db"] / (len(files) * regions),
        "of_them_features": size["features/*"] / (len(files) * regions),
        "of_them_faiss": size["*.faiss"] / (len(files) * regions),
    }


def make_photographs(root_id: int, root: Path, files: list[Path], regions: int) -> Iterator[NewPhoto]:
    """The files as described photographs; the same every time."""
    rng = np.random.default_rng(1)
    centers = unit_length(rng.standard_normal((CLUSTERS, EMBEDDING_SIZE), np.float32))
    for file in files:
        stat = file.stat()
        clusters = centers[rng.integers(CLUSTERS, size=regions)]
        noise = unit_length(rng.standard_normal(clusters.shape, np.float32))
        low = rng.uniform(0, 400, (regions, 2))
        yield NewPhoto(
            root_id=root_id,
            path=file.relative_to(root).as_posix(),
            size=stat.st_size,
            mtime_ns=stat.st_mtime_ns,
            ctime_ns=stat.st_ctime_ns,
            headers=PhotoHeaders(),
            digest=hashlib.sha256(file.read_bytes()).hexdigest(),
            width=500,
            height=500,
            boxes=np.concatenate([low, low + rng.uniform(1, 100, (regions, 2))], axis=1).astype(np.float32),
            scores=rng.random(regions, np.float32),
            phrases=[f"a thing of kind {number}" for number in range(regions)],
            codes=np.maximum(rng.standard_normal((regions, CODE_SIZE), np.float32), 0).astype(np.float16),
            embeddings=unit_length(clusters + SPREAD * noise),
        )


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, E) scaled to length 1, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def list_and_stat(photos: Path) -> dict[str, Any]:
    """What no build can do without."""
    count = 0
    folders = [str(photos)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    entry.stat()
                    count += 1
    return {"files": count}


def build_nothing(path: Path, photos: Path) -> dict[str, Any]:
    """A build that finds everything as it was, but for loading the network."""
    started = time.perf_counter()
    with LocalCollection.open(path, write=True) as collection:
        opened = time.perf_counter() - started
        plan = find_changes(collection, [photos])
        collection.record_build({"unchanged": plan.unchanged}, seconds=time.perf_counter() - started)
    return {"opening_seconds": opened, "unchanged": plan.unchanged, "tasks": len(plan.tasks)}


def ask(path: Path) -> dict[str, Any]:
    """Open a collection and ask it, the first time and then again: FAISS, whose photographs, their features."""
    started = time.perf_counter()
    with LocalCollection.open(path) as collection:
        opened = time.perf_counter() - started
        queries = unit_length(np.random.default_rng(2).standard_normal((10, EMBEDDING_SIZE), np.float32))
        times = []
        for query in queries:
            begun = time.perf_counter()
            ((region_ids, _),) = collection.nearest(query[None], ASKED_REGIONS)
            photo_ids = np.unique(collection.reader.photo_ids_of(region_ids))
            collection.features(photo_ids[:ASKED_PHOTOS])
            times.append(time.perf_counter() - begun)
    return {
        "opening_seconds": opened,
        "first_answer_seconds": times[0],
        "later_answers_seconds": float(np.median(times[1:])),
        "memory_but_for_mapped_files_mb": anonymous_memory() / 1e6,
    }


def check(path: Path) -> dict[str, Any]:
    report = verify(path)
    return {"holds": report.holds, "problems": [problem.what for problem in report.problems]}


def compact(path: Path) -> dict[str, Any]:
    with LocalCollection.open(path, write=True) as collection:
        return asdict(compaction.compact(collection))


def rebuild(path: Path) -> dict[str, Any]:
    with LocalCollection.open(path, write=True) as collection:
        return asdict(rebuild_index(collection))


def table(photographs: int, regions: int, costs: dict[str, Cost]) -> str:
    """The result for people."""
    lines = [f"{photographs:,} photographs with {regions} regions each, {os.cpu_count()} cores", ""]
    for job, cost in costs.items():
        lines.append(f"{job:24}{cost.seconds:10.2f} s {cost.cpu_seconds:10.2f} s of CPU {cost.peak_memory_mb:10.0f} MB")
        for name, value in cost.details.items():
            shown = f"{value:,.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            lines.append(f"    {name.replace('_', ' '):40}{shown}")
    build, listing = costs["build without changes"], costs["list and stat"]
    ratio, cpu_ratio = build.seconds / listing.seconds, build.cpu_seconds / listing.cpu_seconds
    lines += [
        "",
        f"a build without changes takes {ratio:.2f} times as long as listing the files ({cpu_ratio:.2f} of CPU)",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
