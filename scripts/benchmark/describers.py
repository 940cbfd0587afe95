"""Many describers of one collection on a server: what a second one brings, what the server takes of a build, Ray.

\b
    python -m scripts.benchmark.describers
    python -m scripts.benchmark.describers --photographs 1000 --ray

The first measures commits a second of one and of two describers whose network costs nothing (constant answers: 50
regions a photograph), and then the processor time of the server beside that of a build with the weights that come with
the program. With --ray: describes the photographs by a small network with random weights on a Ray of this computer and
without, and compares the two collections to the last bit. Photographs are generated; the server is one of its own
(extra `server-test`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity
from indexer.build.build import build
from indexer.build.options import BuildOptions
from scripts.temporary_server import temporary_server
from scripts.torture.state import difference, state
from scripts.torture.tiny_checkpoint import write_tiny_checkpoint

MODEL = ModelIdentity("c" * 64, 256, 512)
REGIONS = 50
BATCH = 4  # photographs a commit
REPOSITORY = Path(__file__).parents[2]
# Where a describer of no cost gets what it is to do.
_ENVIRONMENT = "DENSECAP_SEARCH_BENCHMARK"


@dataclass(frozen=True)
class Regions:
    """Of one photograph, as the network gives them."""

    boxes: np.ndarray
    scores: np.ndarray
    codes: np.ndarray
    embeddings: np.ndarray
    phrases: list[str]


class ConstantNetwork:
    """Costs nothing."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        embeddings = rng.normal(size=(REGIONS, MODEL.embedding_size)).astype(np.float32)
        corners = rng.integers(0, 20, (REGIONS, 2))
        self._regions = Regions(
            np.concatenate([corners, corners + 20], axis=1).astype(np.float32),
            np.linspace(1, 0, REGIONS, dtype=np.float32),
            rng.normal(size=(REGIONS, MODEL.code_size)).astype(np.float16),
            embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True),
            ["a man in a red shirt"] * REGIONS,
        )

    def describe(self, images: list[Image.Image], *, max_regions: int = REGIONS) -> list[Regions]:
        return [self._regions] * len(images)

    def describe_boxes(self, image: Image.Image, boxes: np.ndarray) -> Regions:
        return self._regions


@click.command(help=__doc__)
@click.option("--photographs", type=click.IntRange(8), default=400, show_default=True)
@click.option("--ray", is_flag=True, help="Compare a build on a local Ray with one alone, instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of lines.")
def main(photographs: int, ray: bool, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = compare_with_ray(Path(folder), photographs) if ray else measure(Path(folder), photographs)
    click.echo(json.dumps(measured, indent=1) if as_json else "\n".join(f"{k}  {v}" for k, v in measured.items()))


def measure(folder: Path, photographs: int) -> dict[str, float]:
    """Commits a second, and the server's share of a real build."""
    write_photographs(folder / "photos", photographs, (64, 48))
    with temporary_server() as server:
        one, two = (commits_per_second(f"{server.url}&schema=many_{n}", folder / "photos", n) for n in (1, 2))
        write_photographs(folder / "large", 24, (800, 600))
        url = f"{server.url}&schema=real"
        before = server.cpu_seconds()
        spent = _children_seconds()
        _run("build", folder / "large", "--collection", url, "--device", "cpu", "--quiet")
        spent, of_server = _children_seconds() - spent, server.cpu_seconds() - before
    return {
        "commits_per_second_of_one": one,
        "commits_per_second_of_two": two,
        "times": two / one,
        "build_cpu_seconds": spent,
        "server_cpu_seconds": of_server,
        "server_share": of_server / (spent + of_server),
    }


def commits_per_second(url: str, photos: Path, describers: int) -> float:
    """From the first commit to the last."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", _ENVIRONMENT: json.dumps([url, str(photos)])}
    open_collection(url, write=True, create=True, model=MODEL).close()
    code = "from scripts.benchmark.describers import describe; describe()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=environment) for _ in range(describers)
    ]
    times = []
    with open_collection(url) as collection:
        while any(process.poll() is None for process in processes):
            collection.refresh()
            times.append((time.monotonic(), collection.revision))
            time.sleep(0.02)
    if any(process.returncode for process in processes):
        raise click.ClickException("A describer ended badly.")
    started = next(when for when, revision in times if revision)
    ended = next(when for when, revision in times if revision == times[-1][1])
    return times[-1][1] / (ended - started)


def describe() -> None:
    """One describer of no cost."""
    url, photos = json.loads(os.environ[_ENVIRONMENT])
    options = BuildOptions(batch_size=BATCH, threads=1, commit_seconds=0)
    with open_collection(url, write=True, model=MODEL) as collection:
        build(collection, [Path(photos)], ConstantNetwork(), options)  # type: ignore[arg-type]


def compare_with_ray(folder: Path, photographs: int) -> dict[str, float]:
    """Raises ClickException if they differ."""
    write_photographs(folder / "photos", photographs, (96, 72))
    write_tiny_checkpoint(folder / "tiny.safetensors")
    seconds = []
    for name, more in (("alone", ["--device", "cpu"]), ("ray", ["--ray", "local"])):
        started = time.monotonic()
        weights = ["--weights", str(folder / "tiny.safetensors"), "--batch-size", "1", "--quiet"]
        _run("build", folder / "photos", "--collection", str(folder / name), *weights, *more)
        seconds.append(time.monotonic() - started)
    if fault := difference(state(folder / "ray"), state(folder / "alone")):
        raise click.ClickException(f"The collections differ: {fault}")
    return {"photographs": len(state(folder / "ray")), "differences": 0, "alone_s": seconds[0], "ray_s": seconds[1]}


def write_photographs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Generated ones, each another."""
    folder.mkdir()
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.png")


def _run(*arguments: object) -> None:
    command = [sys.executable, "-m", "indexer", *map(str, arguments)]
    subprocess.run(command, cwd=REPOSITORY, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdout=sys.stderr)


def _children_seconds() -> float:
    """Processor time of the processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    main()
