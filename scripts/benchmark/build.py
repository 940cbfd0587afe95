"""How fast photographs are described, against the time of the backbone alone, and in how much memory.

\b
    python -m scripts.benchmark.build
    python -m scripts.benchmark.build --against other.safetensors

Makes JPEGs of 500x375 pixels out of the photographs of --photos (default: those that scikit-image and scikit-learn
carry in their wheels), each a little different, and indexes them with the product's own pipeline: read, decode,
describe, commit. The network is loaded and warm before the clock starts. The backbone's forward pass is timed alone, on
the same photographs at the size the network sees, in batches as large as the pipeline's. Times are medians over
--rounds; memory is the most that the process held at any time up to the last build's end.

--against builds with another weights file too, in turns with the first, and says how many times as fast the first one
is: rates of two runs say little on a computer that has other work. Memory is then that of both networks.
"""

import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity
from fcln.backbone_runner import BackboneRunner
from fcln.checkpoint import load_checkpoint
from fcln.lanes import Lanes
from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape
from fcln.modeling.normalization import normalize
from fcln.precision import autocast
from fcln.predictor import CPU_BATCH, Predictor
from indexer.build.build import build
from indexer.build.options import BATCH_SIZE, BuildOptions
from scripts.benchmark.photographs import SIZE, find_sources, make_photographs
from scripts.demo import copy_photographs
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.options import device_option, json_option, own_photos_option, rounds_option, weights_option


@dataclass(frozen=True)
class BuildTimes:
    """The result, as its JSON says it."""

    photographs: int
    photographs_per_second: float  # decode to commit
    build_seconds: float  # a photograph, decode to commit
    backbone_seconds: float  # a photograph, its forward pass alone
    ratio: float  # of the two
    peak_memory_gb: float  # 10^9 bytes
    device: str
    threads: int  # of torch
    against_seconds: float | None = None  # a photograph, decode to commit, with the weights of --against
    speedup: float | None = None  # how many times as fast as those


@click.command(help=__doc__)
@own_photos_option
@click.option("--count", type=click.IntRange(1), default=128, show_default=True, help="Photographs to index.")
@rounds_option
@weights_option
@click.option("--against", type=click.Path(path_type=Path), help="Another weights file, to be compared with.")
@device_option
@json_option
def main(
    photos: Path | None,
    count: int,
    rounds: int,
    weights: Path | None,
    against: Path | None,
    device: str,
    as_json: bool,
) -> None:
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        folder = Path(temporary)
        sources = find_sources(photos or copy_photographs(folder / "sources"))
        made = make_photographs(sources, folder / "photos", count)
        predictors = [Predictor.load(path, device=device) for path in ([weights, against] if against else [weights])]
        predictor = predictors[0]
        for each in predictors:
            each.describe([Image.open(path) for path in made[:BATCH_SIZE]])
        seconds = [
            [
                time_build(folder / "photos", folder / f"collection-{number}-{which}", each) / count
                for which, each in enumerate(predictors)
            ]
            for number in range(rounds)
        ]
        build_seconds, *others = (statistics.median(of_one) for of_one in zip(*seconds, strict=True))
        peak = peak_memory()
        backbone_seconds = time_backbone(made, weights, predictor.device, rounds) / count
    times = BuildTimes(
        photographs=count,
        photographs_per_second=1 / build_seconds,
        build_seconds=build_seconds,
        backbone_seconds=backbone_seconds,
        ratio=build_seconds / backbone_seconds,
        peak_memory_gb=peak / 1e9,
        device=str(predictor.device),
        threads=torch.get_num_threads(),
        against_seconds=others[0] if others else None,
        speedup=others[0] / build_seconds if others else None,
    )
    show(asdict(times), lambda: table(times), as_json=as_json)


def time_build(folder: Path, collection: Path, predictor: Predictor) -> float:
    """Seconds from finding a folder's photographs to the last commit, into a new collection."""
    model = ModelIdentity(predictor.digest, predictor.embedding_size, predictor.code_size)
    with open_collection(collection, write=True, create=True, model=model) as opened:
        started = time.perf_counter()
        report = build(opened, [folder], predictor, BuildOptions(batch_size=BATCH_SIZE))
        seconds = time.perf_counter() - started
    if report.failed:
        raise EvaluationError(f"{report.failed} photographs could not be indexed: the time means nothing.")
    return seconds


def peak_memory() -> int:
    """The most bytes of memory that this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@torch.inference_mode()
def time_backbone(photographs: Sequence[Path], weights: Path | None, device: torch.device, rounds: int) -> float:
    """Median seconds of the backbone's forward pass over all photographs, in the way that `Predictor` runs it."""
    model = load_checkpoint(weights).model.to(device)
    backbone = BackboneRunner(model, device)
    size = resize_shape(*SIZE, model.config.image_size, STRIDE)
    pixels = np.stack([np.asarray(Image.open(path).resize(size)) for path in photographs])
    batches = [
        normalize(torch.from_numpy(pixels[start : start + BATCH_SIZE]).to(device).permute(0, 3, 1, 2))
        for start in range(0, len(pixels), BATCH_SIZE)
    ]
    seconds = []
    lanes = Lanes(torch.get_num_threads()) if device.type == "cpu" else None
    with autocast(device):
        backbone(batches[0])
        for _ in range(rounds):
            finish(device)
            started = time.perf_counter()
            run_backbone(backbone, batches, lanes)
            finish(device)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def run_backbone(backbone: BackboneRunner, batches: Sequence[torch.Tensor], lanes: Lanes | None) -> None:
    """The backbone's forward pass over batches, as `Predictor` runs it: on a CPU a few photographs in each thread."""
    if lanes is None:
        for batch in batches:
            backbone(batch)
        return

    def run(few: torch.Tensor) -> None:
        with torch.inference_mode():
            backbone(few)

    lanes.run(run, [(few,) for batch in batches for few in batch.split(CPU_BATCH)])


def finish(device: torch.device) -> None:
    """Wait for a GPU, which runs behind the program."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(times: BuildTimes) -> str:
    """The result for people."""

    def speed(seconds: float) -> str:
        return f"{1 / seconds:8.1f} photographs/s  {1e3 * seconds:8.1f} ms each"

    lines = [
        f"{times.photographs} photographs of {SIZE[0]}x{SIZE[1]} on {times.device}, {times.threads} threads",
        "",
        f"decode to commit  {speed(times.build_seconds)}",
        f"backbone alone    {speed(times.backbone_seconds)}",
        f"ratio             {times.ratio:8.2f}",
        f"peak memory       {times.peak_memory_gb:8.2f} GB",
    ]
    if times.against_seconds is not None:
        lines += [f"the other weights {speed(times.against_seconds)}", f"times as fast     {times.speedup:8.2f}"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
