"""What describing costs, side by side with what one would use instead: a whole-picture CLIP tool.

\b
    python -m scripts.benchmark.peers
    python -m scripts.benchmark.peers --photos ~/Pictures --count 256 --rounds 5

Three ways through the same photographs, in turns, each in a process of its own that is loaded and warm before the clock
starts:

\b
    build     the whole of `indexer build`: read, decode, describe with phrases, commit
    clip      what rclip does: decode, ViT-B/32 at 256 pixels in ONNX Runtime, one vector a photograph, SQLite
              (random weights: the time is the same)
    backbone  the network's backbone alone, on pixels that wait in memory

With --runtime given several times, a build and a backbone of each; else of what the product chooses. Rates are medians
over --rounds with the least and the most; ratios are taken within a round, because computers have other work. Seconds
of a stage are those of its calls without the stages within it, divided by the threads that are at it side by side;
reading and decoding happen beside the network. --busy N: after each round the first build once more while N other
processes compute. Memory is looked at in a round that is not timed, with the processes that decode; a page that
processes share counts once (on Linux). `scripts.benchmark.avx2 -m scripts.benchmark.peers` measures the same as on a
processor without AVX-512.
"""

import io
import multiprocessing
import sqlite3
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from PIL import Image, ImageOps

import indexer.build.build as build_module
from commands import program
from fcln.backbone_runner import RUNTIMES, BackboneRunner
from fcln.checkpoint import load_checkpoint
from fcln.lanes import Lanes
from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape
from fcln.modeling.fcln import FCLN
from fcln.modeling.normalization import normalize
from fcln.predictor import Predictor
from indexer.build.decoders import Decoders
from indexer.build.options import BATCH_SIZE
from indexer.build.pending import Pending
from scripts.benchmark.build import (
    find_sources,
    finish,
    make_photographs,
    peak_memory,
    run_backbone,
    time_build,
)
from scripts.benchmark.memory import peak_with_children
from scripts.benchmark.stages import Place, Stages
from scripts.demo import copy_photographs
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.options import device_option, json_option, own_photos_option, rounds_option, weights_option

CLIP_SIDE, CLIP_BATCH = 256, 8  # rclip's model and its default batch
VIT_LAYERS = 12

STAGES: dict[str, list[Place]] = {
    "read": [(build_module, "read")],
    "decode": [(Decoders, "decode")],
    "resize": [(Predictor, "_features")],
    "backbone": [(BackboneRunner, "__call__")],
    "maps": [(FCLN, "maps")],
    "proposals": [(FCLN, "localize"), (FCLN, "proposals")],
    "regions": [(FCLN, "codes")],
    "phrases": [(Predictor, "_read")],
    "describe, rest": [(Predictor, "_describe")],
    "commit": [(Pending, "commit")],
}
_BESIDE = ("read", "decode", "commit")  # stages that are not in the network's threads


@dataclass(frozen=True)
class Round:
    """Once through all photographs."""

    seconds: float
    peak_memory: int  # bytes, of the process so far
    stages: dict[str, float] = field(default_factory=dict)  # seconds
    precision: str = ""


@dataclass(frozen=True)
class Spread:
    """The median of several rounds, the least and the most."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:8.2f}  ({self.least:.2f} to {self.most:.2f})"


@dataclass(frozen=True)
class Comparison:
    """The result, as its JSON says it; rates in photographs a second."""

    photographs: int
    rates: dict[str, Spread]
    build_to_clip: Spread  # rates: above 1, the build is the faster one
    build_in_backbones: Spread  # times: how many backbones a build costs
    runtimes_to_clip: dict[str, Spread]  # of further builds, see --runtime
    busy_to_quiet: Spread | None  # the build's rates, see --busy
    precisions: dict[str, str]  # how each build describes
    stage_ms: dict[str, float]  # a photograph, medians
    stage_share: dict[str, float]  # of the build's time
    peak_memory_gb: dict[str, float]  # 10^9 bytes, see peak_with_children
    device: str
    threads: int


class Build:
    """The product."""

    def __init__(
        self, photographs: Sequence[Path], weights: Path | None, device: str, scratch: Path, runtime: str = "auto"
    ):
        self._folder = photographs[0].parent
        self._scratch = scratch / f"build-{runtime}"
        self._scratch.mkdir()
        self._predictor = Predictor.load(weights, device=device, runtime=runtime)
        self._lanes = torch.get_num_threads() if self._predictor.device.type == "cpu" else 1
        self._predictor.describe([Image.open(path) for path in photographs[:BATCH_SIZE]])
        self._rounds = 0

    def __call__(self) -> Round:
        stages = Stages()
        self._rounds += 1
        with stages.measured(STAGES):
            seconds = time_build(self._folder, self._scratch / f"collection-{self._rounds}", self._predictor)
        shared = {stage: each / (1 if stage in _BESIDE else self._lanes) for stage, each in stages.seconds.items()}
        return Round(seconds, peak_memory(), shared, str(self._predictor.precision))


class Clip:
    """A whole-picture tool: one vector a photograph."""

    def __init__(self, photographs: Sequence[Path], weights: Path | None, device: str, scratch: Path):
        import onnxruntime

        self._photographs = photographs
        self._scratch = scratch
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        found = ["CPUExecutionProvider"]
        if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            found = ["CUDAExecutionProvider"]
        self._session = onnxruntime.InferenceSession(clip_graph(), options, providers=found)
        self._session.run(None, {"images": np.stack([clip_pixels(path) for path in photographs[:CLIP_BATCH]])})
        self._rounds = 0

    def __call__(self) -> Round:
        self._rounds += 1
        path = self._scratch / f"clip-{self._rounds}.db"
        started = time.perf_counter()
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE image (path TEXT PRIMARY KEY, size INTEGER, vector BLOB)")
        batches = [
            self._photographs[start : start + CLIP_BATCH] for start in range(0, len(self._photographs), CLIP_BATCH)
        ]
        # One batch ahead of the network. Better than the tools we know, which decode in between.
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_clip_batch, batches[0])
            for number, batch in enumerate(batches):
                pixels = waiting.result()
                if number + 1 < len(batches):
                    waiting = pool.submit(_clip_batch, batches[number + 1])
                (vectors,) = self._session.run(None, {"images": pixels})
                vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
                rows = [
                    (str(path), path.stat().st_size, vector.tobytes())
                    for path, vector in zip(batch, vectors, strict=True)
                ]
                with database:
                    database.executemany("INSERT INTO image VALUES (?, ?, ?)", rows)
        database.close()
        return Round(time.perf_counter() - started, peak_memory())


class Backbone:
    """The forward pass that no build can do without."""

    def __init__(
        self, photographs: Sequence[Path], weights: Path | None, device: str, scratch: Path, runtime: str = "auto"
    ):
        where = Predictor.load(weights, device=device, describes=False).device
        model = load_checkpoint(weights).model.eval().to(where)
        self._backbone = BackboneRunner(model, where, runtime=runtime)
        self._lanes = Lanes(torch.get_num_threads()) if where.type == "cpu" else None
        by_size: dict[tuple[int, int], list[torch.Tensor]] = {}
        for path in photographs:
            with Image.open(path) as image:
                size = resize_shape(*image.size, model.config.image_size, STRIDE)
                pixels = torch.from_numpy(np.array(image.convert("RGB").resize(size)))
            by_size.setdefault(size, []).append(pixels)
        self._batches = [
            normalize(torch.stack(same[start : start + BATCH_SIZE]).to(where).permute(0, 3, 1, 2))
            for same in by_size.values()
            for start in range(0, len(same), BATCH_SIZE)
        ]
        self._device = where
        self()

    @torch.inference_mode()
    def __call__(self) -> Round:
        finish(self._device)
        started = time.perf_counter()
        run_backbone(self._backbone, self._batches, self._lanes)
        finish(self._device)
        return Round(time.perf_counter() - started, peak_memory())


def _clip_batch(paths: Sequence[Path]) -> np.ndarray:
    return np.stack([clip_pixels(path) for path in paths])


def clip_pixels(path: Path) -> np.ndarray:
    """A photograph as CLIP takes it: (3, 256, 256) float32; the middle square, what lies beside it is not seen."""
    with Image.open(path) as image:
        square = ImageOps.fit(image.convert("RGB"), (CLIP_SIDE, CLIP_SIDE), Image.Resampling.BICUBIC)
    return normalize(torch.from_numpy(np.array(square)).permute(2, 0, 1)[None])[0].numpy()


def clip_graph() -> bytes:
    """ViT-B/32 at 256 pixels with random weights, as ONNX."""
    from torchvision.models.vision_transformer import VisionTransformer

    model = VisionTransformer(
        image_size=CLIP_SIDE, patch_size=32, num_layers=VIT_LAYERS, num_heads=12, hidden_dim=768, mlp_dim=3072,
        num_classes=512,
    ).eval()  # fmt: skip
    torch.nn.init.normal_(model.heads.head.weight)  # torchvision's are zeros
    written = io.BytesIO()
    torch.backends.mha.set_fastpath_enabled(False)  # which ONNX has no operator for
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (torch.zeros(2, 3, CLIP_SIDE, CLIP_SIDE),), written,  # type: ignore[arg-type]  # a stream will do
            dynamo=False, opset_version=17,
            input_names=["images"], output_names=["vectors"], dynamic_axes={"images": {0: "B"}, "vectors": {0: "B"}},
        )  # fmt: skip
    return written.getvalue()


CONTESTANTS: dict[str, Callable[..., Callable[[], Round]]] = {"build": Build, "clip": Clip, "backbone": Backbone}


class Worker:
    """A contestant in a process of its own, which does a round whenever it is asked."""

    def __init__(self, make: Callable[..., Callable[[], Round]], args: tuple):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make, args), daemon=False)
        self._process.start()
        there.close()
        self._answer()

    def __call__(self) -> Round:
        self._here.send("go")
        return self._answer()

    def memory(self) -> int:
        """The most bytes that a round takes, see `peak_with_children`."""
        self._here.send("memory")
        return self._answer()

    def close(self) -> None:
        self._here.close()
        self._process.join()

    def _answer(self) -> Any:
        try:
            answer = self._here.recv()
        except EOFError:
            self._process.join()
            raise EvaluationError(f"a contestant ended with exit code {self._process.exitcode}.") from None
        if isinstance(answer, str):
            raise EvaluationError(f"a contestant failed: {answer}")
        return answer


def _serve(pipe: Any, make: Callable[..., Callable[[], Round]], args: tuple) -> None:
    try:
        contestant = make(*args)
        pipe.send(None)
        while True:
            looking = pipe.recv() == "memory"
            pipe.send(peak_with_children(contestant) if looking else contestant())
    except EOFError:  # nobody asks any more
        pass
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


@click.command(help=__doc__)
@own_photos_option
@click.option("--count", type=click.IntRange(1), default=96, show_default=True, help="Photographs.")
@rounds_option
@weights_option
@device_option
@click.option("--runtime", "runtimes", type=click.Choice(RUNTIMES), multiple=True, help="May be given several times.")
@click.option("--busy", type=click.IntRange(1), help="The build once more beside so many busy processes.")
@json_option
def main(
    photos: Path | None,
    count: int,
    rounds: int,
    weights: Path | None,
    device: str,
    runtimes: tuple[str, ...],
    busy: int | None,
    as_json: bool,
) -> None:
    program.sleep_while_waiting()  # as `indexer` does
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        folder = Path(temporary)
        sources = find_sources(photos or copy_photographs(folder / "sources"))
        made = make_photographs(sources, folder / "photos", count)
        args = (made, weights, device)
        compared = compare(*args, folder / "contestants", rounds, runtimes=runtimes, busy=busy)
    show(asdict(compared), lambda: table(compared), as_json=as_json)


def compare(
    photographs: Sequence[Path],
    weights: Path | None,
    device: str,
    scratch: Path,
    rounds: int,
    *,
    runtimes: Sequence[str] = (),
    busy: int | None = None,
) -> Comparison:
    """All contestants in turns, over the same photographs of one folder.

    runtimes: of builds and backbones, the first of which is the one that ratios are of; none: what the product chooses.
    busy: how many other processes compute while the build is timed once more in each round.
    """
    scratch.mkdir()
    args = (photographs, weights, device, scratch)
    contestants: list[tuple[str, Callable[..., Callable[[], Round]], tuple[Any, ...]]]
    contestants = [(name, make, args) for name, make in CONTESTANTS.items()]
    if runtimes:
        contestants = [("build", Build, (*args, runtimes[0])), ("clip", CONTESTANTS["clip"], args)]
        contestants += [(f"build {each}", Build, (*args, each)) for each in runtimes[1:]]
        contestants += [("backbone", Backbone, (*args, runtimes[0]))]
        contestants += [(f"backbone {each}", Backbone, (*args, each)) for each in runtimes[1:]]
    workers: dict[str, Worker] = {}
    done, among_others = [], []
    try:
        for name, make, given in contestants:
            workers[name] = Worker(make, given)
        for _ in range(rounds):
            done.append({name: worker() for name, worker in workers.items()})
            if busy:
                with busy_processes(busy):
                    among_others.append(workers["build"]())
        memory = {name: worker.memory() for name, worker in workers.items()}
    finally:
        for worker in workers.values():
            worker.close()
    return summary(done, len(photographs), device, busy=among_others, memory=memory)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many other processes that compute all the time."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_compute, daemon=True) for _ in range(count)]
    try:
        for each in others:
            each.start()
        yield
    finally:
        for each in others:
            each.terminate()
            each.join()


def _compute() -> None:
    while True:
        sum(range(100_000))


def summary(
    rounds: Sequence[dict[str, Round]],
    photographs: int,
    device: str,
    *,
    busy: Sequence[Round] = (),
    memory: dict[str, int] | None = None,
) -> Comparison:
    """What the rounds of all contestants say together.

    busy: the build's rounds among busy processes, one a round. memory: bytes; None: what the rounds say.
    """
    names = list(rounds[0])
    if memory is None:
        memory = {name: max(each[name].peak_memory for each in rounds) for name in names}
    stages = {
        stage: statistics.median(each["build"].stages.get(stage, 0.0) for each in rounds)
        for stage in STAGES
        if any(stage in each["build"].stages for each in rounds)
    }
    whole = statistics.median(each["build"].seconds for each in rounds)
    return Comparison(
        photographs=photographs,
        rates={name: Spread.of([photographs / each[name].seconds for each in rounds]) for name in names},
        build_to_clip=Spread.of([each["clip"].seconds / each["build"].seconds for each in rounds]),
        build_in_backbones=Spread.of([each["build"].seconds / each["backbone"].seconds for each in rounds]),
        runtimes_to_clip={
            name: Spread.of([each["clip"].seconds / each[name].seconds for each in rounds])
            for name in names
            if name.startswith("build ")
        },
        busy_to_quiet=Spread.of([quiet["build"].seconds / each.seconds for quiet, each in zip(rounds, busy)])
        if busy
        else None,
        precisions={name: rounds[0][name].precision for name in names if rounds[0][name].precision},
        stage_ms={stage: 1e3 * seconds / photographs for stage, seconds in stages.items()},
        stage_share={stage: seconds / whole for stage, seconds in stages.items()},
        peak_memory_gb={name: each / 1e9 for name, each in memory.items()},
        device=device,
        threads=torch.get_num_threads(),
    )


def table(compared: Comparison) -> str:
    """The result for people."""
    lines = [
        f"{compared.photographs} photographs, {compared.device}, {compared.threads} threads",
        "",
        "photographs/s: median (least to most), peak memory",
    ]
    for contestant, rate in compared.rates.items():
        lines.append(f"  {contestant:16} {rate}  {compared.peak_memory_gb[contestant]:6.2f} GB")
    lines += [
        "",
        f"  build to clip    {compared.build_to_clip}  (above 1: the build is faster)",
        *(f"  {name} to clip   {each}" for name, each in compared.runtimes_to_clip.items()),
        f"  build/backbone   {compared.build_in_backbones}  backbones a build",
        *([f"  busy to quiet    {compared.busy_to_quiet}"] if compared.busy_to_quiet else []),
        *(f"  {name}: {precision}" for name, precision in compared.precisions.items()),
        "",
        "of the build: ms a photograph, share of its time (read and decode beside the rest)",
    ]
    lines += [
        f"  {stage:16} {ms:8.2f}  {100 * compared.stage_share[stage]:6.1f} %" for stage, ms in compared.stage_ms.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
