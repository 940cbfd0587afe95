"""What describing costs, side by side with what one would use instead: a whole-picture CLIP tool.

    python -m scripts.benchmark.peers
    python -m scripts.benchmark.peers --photos ~/Pictures --count 256 --rounds 5

Three ways through the same photographs, in turns, each in a process of its own that is loaded and warm before the clock
starts:

    build     the whole of `indexer build`: read, decode, describe with phrases, commit
    clip      what rclip does: decode, ViT-B/32 at 256 pixels in ONNX Runtime, one vector a photograph, SQLite
              (random weights: the time is the same)
    backbone  the network's backbone alone, on pixels that wait in memory

Rates are medians over --rounds with the least and the most; ratios are taken within a round, because computers have
other work. Seconds of a stage are those of its calls without the stages within it; reading and decoding happen beside
the network. --avx2 measures build, clip and backbone once more with instruction sets limited, and says what was.
"""

import ctypes
import io
import multiprocessing
import os
import platform
import sqlite3
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from PIL import Image, ImageOps

import indexer.build.build as build_module
from fcln.backbone_runner import BackboneRunner
from fcln.checkpoint import load_checkpoint
from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape
from fcln.modeling.fcln import FCLN
from fcln.modeling.normalization import normalize
from fcln.predictor import Predictor
from indexer.build.decoders import Decoders
from indexer.build.pending import Pending
from scripts.benchmark.build import BATCH_SIZE, find_sources, finish, make_photographs, peak_memory, time_build
from scripts.benchmark.stages import Place, Stages
from scripts.demo import copy_photographs
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.labelled_collection import EvaluationError

CLIP_SIDE, CLIP_BATCH = 256, 8  # rclip's model and its default batch
VIT_LAYERS = 12
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
_ARCH_PRCTL, _ARCH_SET_CPUID, _ARCH_GET_CPUID = 158, 0x1012, 0x1011  # Linux on x86-64

STAGES: dict[str, list[Place]] = {
    "read": [(build_module, "read")],
    "decode": [(Decoders, "decode")],
    "resize": [(Predictor, "_features")],
    "backbone": [(BackboneRunner, "__call__")],
    "maps": [(FCLN, "maps")],
    "proposals": [(FCLN, "localize"), (FCLN, "proposals")],
    "regions": [(FCLN, "codes")],
    "phrases": [(Predictor, "_read")],
    "describe, rest": [(Predictor, "describe")],
    "commit": [(Pending, "commit")],
}


@dataclass(frozen=True)
class Round:
    """Once through all photographs."""

    seconds: float
    peak_memory: int  # bytes, of the process so far
    stages: dict[str, float] = field(default_factory=dict)  # seconds


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
    stage_ms: dict[str, float]  # a photograph, medians
    stage_share: dict[str, float]  # of the build's time
    peak_memory_gb: dict[str, float]  # 10^9 bytes, of each process without those that decode
    device: str
    threads: int


class Build:
    """The product."""

    def __init__(self, photographs: Sequence[Path], weights: Path | None, device: str, scratch: Path):
        self._folder = photographs[0].parent
        self._scratch = scratch
        self._predictor = Predictor.load(weights, device=device)
        self._predictor.describe([Image.open(path) for path in photographs[:BATCH_SIZE]])
        self._rounds = 0

    def __call__(self) -> Round:
        stages = Stages()
        self._rounds += 1
        with stages.measured(STAGES):
            seconds = time_build(self._folder, self._scratch / f"collection-{self._rounds}", self._predictor)
        return Round(seconds, peak_memory(), dict(stages.seconds))


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

    def __init__(self, photographs: Sequence[Path], weights: Path | None, device: str, scratch: Path):
        where = Predictor.load(weights, device=device, describes=False).device
        model = load_checkpoint(weights).model.eval().to(where)
        self._backbone = BackboneRunner(model, where)
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
        for batch in self._batches:
            self._backbone(batch)
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

    def __init__(self, make: Callable[..., Callable[[], Round]], args: tuple, environment: dict[str, str]):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            self._process = context.Process(target=_serve, args=(there, make, args), daemon=False)
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        there.close()
        self._answer()

    def __call__(self) -> Round:
        self._here.send("go")
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
            pipe.recv()
            pipe.send(contestant())
    except EOFError:  # nobody asks any more
        pass
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


@click.command(help=__doc__)
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Your own folder.")
@click.option("--count", type=click.IntRange(1), default=96, show_default=True, help="Photographs.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--weights", type=click.Path(path_type=Path), help="Weights file; default: the embedded one.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--avx2", is_flag=True, help="Once more with AVX2 as the best instruction set, as far as that can be.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def main(
    photos: Path | None, count: int, rounds: int, weights: Path | None, device: str, avx2: bool, as_json: bool
) -> None:
    with errors_as_sentences(), TemporaryDirectory(prefix="densecap-benchmark-") as temporary:
        folder = Path(temporary)
        sources = find_sources(photos or copy_photographs(folder / "sources"))
        made = make_photographs(sources, folder / "photos", count)
        compared = {"all instructions": compare(made, weights, device, folder / "all", rounds, {})}
        if avx2:
            compared["AVX2"] = compare(made, weights, device, folder / "avx2", rounds, AVX2)
    limits = limited() if avx2 else ""
    document = {"limited": limits, **{name: asdict(of_one) for name, of_one in compared.items()}}
    show(document, lambda: "\n\n".join([table(name, of_one) for name, of_one in compared.items()] + [limits]).strip(),
         as_json=as_json)  # fmt: skip


def compare(
    photographs: Sequence[Path],
    weights: Path | None,
    device: str,
    scratch: Path,
    rounds: int,
    environment: dict[str, str],
) -> Comparison:
    """All contestants in turns, over the same photographs of one folder."""
    scratch.mkdir()
    workers: dict[str, Worker] = {}
    try:
        for name, make in CONTESTANTS.items():
            workers[name] = Worker(make, (photographs, weights, device, scratch), environment)
        done = [{name: worker() for name, worker in workers.items()} for _ in range(rounds)]
    finally:
        for worker in workers.values():
            worker.close()
    return summary(done, len(photographs), device)


def summary(rounds: Sequence[dict[str, Round]], photographs: int, device: str) -> Comparison:
    """What the rounds of all contestants say together."""
    names = list(rounds[0])
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
        stage_ms={stage: 1e3 * seconds / photographs for stage, seconds in stages.items()},
        stage_share={stage: seconds / whole for stage, seconds in stages.items()},
        peak_memory_gb={name: max(each[name].peak_memory for each in rounds) / 1e9 for name in names},
        device=device,
        threads=torch.get_num_threads(),
    )


def limited() -> str:
    """What --avx2 limits here, in a sentence or two."""
    told = (
        "AVX2: torch, oneDNN and MKL were limited by environment variables, which do not reach ONNX Runtime: what runs "
        "in it (clip; the backbone of the default network on a CPU) used every instruction there is."
    )
    if can_fault_cpuid():
        return f"{told} This kernel could hide instructions from ONNX Runtime too (arch_prctl ARCH_SET_CPUID)."
    return f"{told} This kernel and processor cannot hide instructions from it (no CPUID faulting)."


def can_fault_cpuid() -> bool:
    """Can this computer make the CPUID instruction fail, so that a program sees another processor?"""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    # Asking is harmless: what is switched on is on already.
    libc = ctypes.CDLL(None)
    return libc.syscall(_ARCH_PRCTL, _ARCH_GET_CPUID, 0) == 1 and libc.syscall(_ARCH_PRCTL, _ARCH_SET_CPUID, 1) == 0


def table(name: str, compared: Comparison) -> str:
    """The result for people."""
    lines = [
        f"{compared.photographs} photographs, {compared.device}, {compared.threads} threads, {name}",
        "",
        "photographs/s: median (least to most), peak memory",
    ]
    for contestant, rate in compared.rates.items():
        lines.append(f"  {contestant:16} {rate}  {compared.peak_memory_gb[contestant]:6.2f} GB")
    lines += [
        "",
        f"  build to clip    {compared.build_to_clip}  (above 1: the build is faster)",
        f"  build/backbone   {compared.build_in_backbones}  backbones a build",
        "",
        "of the build: ms a photograph, share of its time (read and decode beside the rest)",
    ]
    lines += [
        f"  {stage:16} {ms:8.2f}  {100 * compared.stage_share[stage]:6.1f} %" for stage, ms in compared.stage_ms.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
