"""How fast a GPU describes photographs, and what it waits for.

\b
    python -m scripts.benchmark.gpu
    python -m scripts.benchmark.gpu --profile --batch-size 128 --photos ~/Pictures

Five things, on JPEGs of 500x375 pixels made out of the photographs of --photos (default: those that scikit-image and
scikit-learn carry in their wheels):

\b
    files      from files to regions: the decode processes of `indexer build`, --workers of them, and the network
    decoded    photographs that wait in memory to regions
    shapes     the same of 26 shapes in turn: when they are met for the first time, and again (GPUs plan each new one)
    paper      the paper's configuration (VGG-16, 720 pixels, 300 proposals) with fresh weights, decoded photographs
               of 960x720 pixels, one by one and in batches
    stages     one batch in which each stage is waited for: who takes the time where nothing happens side by side

A rate is the median of --rounds; `cold` is the first batch of a process. With --profile also what torch.profiler and
cProfile say of one batch: the dearest operators on the GPU and on the processor, the dearest Python functions, how many
kernels were started and how often the program waited for the GPU. Needs neither a collection nor FAISS. On a computer
without a GPU it measures the processor, for what that is worth.
"""

import cProfile
import io
import pstats
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

import fcln.modeling.fcln as network_module
import fcln.predictor as predictor_module
from fcln.backbone_runner import BackboneRunner
from fcln.checkpoint import Checkpoint, load_checkpoint, new_model
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.modeling.language_model import LanguageModel
from fcln.naming import Naming
from fcln.predictor import Predictor
from indexer.build.decoders import Decoders
from indexer.build.waiting import mapped
from scripts.benchmark.photographs import find_sources, make_photographs, small_shapes
from scripts.benchmark.stages import Place, Stages
from scripts.demo import copy_photographs
from scripts.evaluate.command import errors_as_sentences, show
from scripts.options import device_option, json_option, own_photos_option, rounds_option, weights_option

PAPER_SIZE = (960, 720)
STAGES: dict[str, list[Place]] = {
    "resize": [(Predictor, "_resized")],
    "upload": [(Predictor, "_upload"), (predictor_module, "normalize")],
    "backbone": [(BackboneRunner, "__call__")],
    "maps": [(FCLN, "maps")],
    "anchors": [(FCLN, "localize")],
    "proposals": [(FCLN, "proposals")],
    "suppression": [(network_module, "nms_of_each")],
    "region codes": [(FCLN, "codes")],
    "box voting": [(network_module, "vote")],
    "detect, rest": [(FCLN, "detect")],
    "phrases": [(LanguageModel, "generate")],
    "embeddings": [(FCLN, "embed"), (FCLN, "embed_in_scene")],
    "encode phrases": [(Predictor, "encode_phrases")],
    "naming": [(Naming, "__call__")],
    "read, rest": [(Predictor, "_read")],
    "copy back, rest": [(Predictor, "_describe")],
}
# What the profiler counts: kernels that were started, and what makes the program wait for the GPU.
_COUNTED = {
    "kernels": ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx"),
    "copies": ("cudaMemcpyAsync",),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    "numbers read": ("aten::_local_scalar_dense",),
    "boolean masks": ("aten::nonzero",),
}
_SHOWN = 18  # operators and functions of a profile


@dataclass(frozen=True)
class Times:
    """The result, as its JSON says it; rates in photographs a second, times in ms a photograph."""

    device: str
    card: str
    torch: str
    photographs: int
    workers: int
    files: dict[int, float]  # by batch size
    cold: dict[int, float]  # of the first batch of files; of the smallest size: of the process
    decoded: dict[int, float]
    decoding: float  # photographs decoded a second, nothing else
    shapes: dict[str, float]  # "first" and "again", in the largest batches
    paper_ms: dict[int, float]
    stage_ms: dict[str, dict[str, float]]  # of the default network and of the paper's
    memory_gb: float  # the most that torch held on the GPU
    profiles: dict[str, str] = field(default_factory=dict)


@click.command(help=__doc__)
@own_photos_option
@click.option("--count", type=click.IntRange(1), default=1024, show_default=True, help="Photographs.")
@click.option("--batch-size", "sizes", type=click.IntRange(1), multiple=True, default=(32, 128, 256), show_default=True)
@click.option("--paper-batch", "paper_sizes", type=click.IntRange(1), multiple=True, default=(1, 16), show_default=True)
@click.option("--paper-count", type=click.IntRange(0), default=32, show_default=True, help="0: not at all.")
@click.option("--workers", type=click.IntRange(1), default=16, show_default=True, help="Processes that decode.")
@rounds_option
@weights_option
@device_option
@click.option("--profile", is_flag=True, help="Look into one batch with torch.profiler and cProfile.")
@json_option
def main(
    photos: Path | None,
    count: int,
    sizes: Sequence[int],
    paper_sizes: Sequence[int],
    paper_count: int,
    workers: int,
    rounds: int,
    weights: Path | None,
    device: str,
    profile: bool,
    as_json: bool,
) -> None:
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        folder = Path(temporary)
        sources = find_sources(photos or copy_photographs(folder / "sources"))
        made = make_photographs(sources, folder / "photos", count)
        mixed = make_photographs(sources, folder / "mixed", count, size_of=small_shapes)
        large = make_photographs(sources, folder / "large", paper_count, size=PAPER_SIZE)
        times = measure(
            made,
            mixed,
            large,
            sorted(set(sizes)),
            sorted(set(paper_sizes)),
            workers,
            rounds,
            weights,
            device,
            profile=profile,
        )
    show(asdict(times), lambda: table(times), as_json=as_json)


def measure(
    made: Sequence[Path],
    mixed: Sequence[Path],
    large: Sequence[Path],
    sizes: Sequence[int],
    paper_sizes: Sequence[int],
    workers: int,
    rounds: int,
    weights: Path | None,
    device: str,
    *,
    profile: bool = False,
) -> Times:
    """Everything, one thing after the other.

    mixed: photographs of many shapes. large: photographs for the paper's configuration, or none.
    """
    predictor = Predictor.load(weights, device=device)
    files, cold, decoded, profiles = {}, {}, {}, {}
    with Decoders() as decoders, ThreadPoolExecutor(workers) as pool:
        list(pool.map(decoders.decode, made[: 4 * workers]))  # the processes start
        started = time.perf_counter()
        images = [photo.image for photo in pool.map(decoders.decode, made)]
        decoding = len(made) / (time.perf_counter() - started)
        for size in sizes:
            cold[size] = min(size, len(images)) / timed(lambda: predictor.describe(images[:size]), predictor.device)  # noqa: B023
            files[size] = rate(
                lambda: [len(each) for each in described(predictor, batches(decoders, pool, made, size))],  # noqa: B023
                len(made), rounds, predictor.device,
            )  # fmt: skip
            decoded[size] = rate(
                lambda: describe_all(predictor, images, size),  # noqa: B023
                len(images), rounds, predictor.device,
            )  # fmt: skip
    some = [decode(path) for path in mixed]
    shapes = {
        when: len(some) / timed(lambda: describe_all(predictor, some, sizes[-1]), predictor.device)
        for when in ("first", "again")
    }
    stage_ms = {"default": stages(predictor, images[: sizes[-1]])}
    if profile:
        profiles["default"] = profiled(predictor, images[: sizes[-1]])
    paper_ms = {}
    if large:
        predictor = paper_predictor(weights, device)
        images = [decode(path) for path in large]
        for size in paper_sizes:
            predictor.describe(images[:size])
            some = images[: max(size, 8)] if size == 1 else images
            paper_ms[size] = 1e3 / rate(
                lambda: describe_all(predictor, some, size),  # noqa: B023
                len(some), rounds, predictor.device,
            )  # fmt: skip
        stage_ms["paper"] = stages(predictor, images[: paper_sizes[-1]])
        if profile:
            profiles["paper"] = profiled(predictor, images[: paper_sizes[-1]])
    on_gpu = predictor.device.type == "cuda"
    return Times(
        device=str(predictor.device),
        card=torch.cuda.get_device_name(predictor.device) if on_gpu else f"{torch.get_num_threads()} threads",
        torch=torch.__version__,
        photographs=len(made),
        workers=workers,
        files=files,
        cold=cold,
        decoded=decoded,
        decoding=decoding,
        shapes=shapes,
        paper_ms=paper_ms,
        stage_ms=stage_ms,
        memory_gb=torch.cuda.max_memory_reserved(predictor.device) / 1e9 if on_gpu else 0.0,
        profiles=profiles,
    )


def paper_predictor(weights: Path | None, device: str, *, config: FCLNConfig | None = None) -> Predictor:
    """The paper's configuration with fresh weights and the words of a weights file: the time is that of trained ones.

    config: another configuration in its place.
    """
    words = load_checkpoint(weights, backbone=False)
    torch.manual_seed(3)
    model = new_model(config or FCLNConfig.paper(), words.vocabulary, words.pieces)
    torch.nn.init.normal_(model.localization.score.weight)  # else all proposals score alike
    checkpoint = Checkpoint(model, words.vocabulary, words.pieces, words.word_uses, words.scoring, words.names)
    return Predictor(checkpoint, "fresh weights", device=device)


def describe_all(predictor: Predictor, images: Sequence[Image.Image], size: int) -> None:
    """Photographs that wait in memory, in batches of that size."""
    for start in range(0, len(images), size):
        predictor.describe(images[start : start + size])


def decode(path: Path) -> Image.Image:
    """A photograph, decoded."""
    with Image.open(path) as image:
        return Image.fromarray(np.asarray(image.convert("RGB")))


def batches(
    decoders: Decoders, pool: ThreadPoolExecutor, paths: Sequence[Path], size: int
) -> Iterator[list[Image.Image]]:
    """Photographs decoded ahead, in batches. Raises PhotoError for one that cannot be decoded."""
    batch: list[Image.Image] = []
    for _, photograph in mapped(pool, decoders.decode, paths, 2 * size, lambda: None, lambda: False):
        batch.append(photograph.image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def described(predictor: Predictor, waiting: Iterator[list[Image.Image]]) -> Iterator[list[Any]]:
    """The regions of each batch; the next one is in the network while one is looked at, as in a build."""
    with ThreadPoolExecutor(1) as network:
        running = None
        for batch in waiting:
            following = network.submit(predictor.describe, batch)
            if running is not None:
                yield running.result()
            running = following
        if running is not None:
            yield running.result()


def rate(work: Callable[[], object], photographs: int, rounds: int, device: torch.device) -> float:
    """Photographs a second, the median of several rounds."""
    return photographs / statistics.median(timed(work, device) for _ in range(rounds))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds, until the GPU has done all."""
    started = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - started


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def stages(predictor: Predictor, images: Sequence[Image.Image]) -> dict[str, float]:
    """Milliseconds a photograph of each stage, one batch of photographs of one size, each stage waited for."""
    size, numbers = largest_group(predictor, images)
    group = [images[n] for n in numbers]
    measured = Stages(lambda: synchronize(predictor.device))
    with torch.inference_mode():
        predictor._describe(group, size, 50)
        with measured.measured(STAGES):
            predictor._describe(group, size, 50)
    return {stage: 1e3 * measured.seconds[stage] / len(group) for stage in STAGES if stage in measured.seconds}


def largest_group(predictor: Predictor, images: Sequence[Image.Image]) -> tuple[tuple[int, int], list[int]]:
    """The photographs that the network sees at one size, the most there are: the size, and their places."""
    return max(predictor._by_size(images).items(), key=lambda item: len(item[1]))


def profiled(predictor: Predictor, images: Sequence[Image.Image]) -> str:
    """What the profilers say of one batch, as text."""
    size, numbers = largest_group(predictor, images)
    group = [images[n] for n in numbers]
    activities = [torch.profiler.ProfilerActivity.CPU]
    if predictor.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.inference_mode():
        predictor._describe(group, size, 50)
        with torch.profiler.profile(activities=activities) as profiler:
            predictor._describe(group, size, 50)
            synchronize(predictor.device)
        python = cProfile.Profile()
        with python:
            predictor._describe(group, size, 50)
    averages = profiler.key_averages()
    calls: dict[str, int] = defaultdict(int)
    for event in averages:
        calls[event.key] += event.count
    counted = {name: sum(calls[key] for key in keys) for name, keys in _COUNTED.items()}
    lines = [f"{len(group)} photographs: " + ", ".join(f"{count:,} {name}" for name, count in counted.items())]
    on_gpu = predictor.device.type == "cuda"
    orders = (("on the GPU", "self_device_time_total"),) if on_gpu else ()
    for where, key in (*orders, ("on the processor", "self_cpu_time_total")):
        lines.append(f"{where}: ms, calls")
        dearest = sorted(averages, key=lambda event: getattr(event, key), reverse=True)[:_SHOWN]
        lines += [f"  {getattr(e, key) / 1e3:9.2f} {e.count:6}  {e.key[:90]}" for e in dearest]
    text = io.StringIO()
    pstats.Stats(python, stream=text).strip_dirs().sort_stats("tottime").print_stats(_SHOWN)
    functions = [line for line in text.getvalue().splitlines() if line.strip()]
    return "\n".join([*lines, "Python functions", *(line[:100] for line in functions[4:])])


def table(times: Times) -> str:
    """The result for people."""
    lines = [
        f"{times.photographs} photographs, {times.card}, torch {times.torch}, {times.workers} decode processes",
        *(f"\nprofile, {name}: {text}" for name, text in times.profiles.items()),
        "",
        f"decoding alone {times.decoding:8.1f} photographs/s; GPU memory {times.memory_gb:.1f} GB",
        "batch   from files   decoded    cold   photographs/s",
        *(
            f"{size:5} {times.files[size]:12.1f} {times.decoded[size]:9.1f} {times.cold[size]:7.1f}"
            for size in times.files
        ),
    ]
    first, again = times.shapes["first"], times.shapes["again"]
    lines.append(f"of 26 shapes, batches of {max(times.files)}: {first:.1f} photographs/s at first, {again:.1f} again")
    lines += [f"paper's configuration, batches of {size}: {ms:.2f} ms" for size, ms in times.paper_ms.items()]
    for network, of_one in times.stage_ms.items():
        lines.append(f"stages, {network}, ms a photograph (sum {sum(of_one.values()):.2f})")
        lines += [f"  {stage:16} {ms:8.3f}" for stage, ms in of_one.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
