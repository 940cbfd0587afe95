"""End-to-end training (paper 3.5), resumable after a kill to the same result."""

import json
import math
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcln.errors import TrainingError
from fcln.modeling.backbone import freeze_first_layers
from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.modeling.normalization import normalize
from fcln.precision import autocast
from fcln.training.annotations import AnnotatedImage, read_pixels
from fcln.training.augmentation import tint
from fcln.training.batch import Batch
from fcln.training.distributed import World
from fcln.training.feature_cache import FeatureCache
from fcln.training.loader import SMALLEST_WINDOW, BatchLoader
from fcln.training.losses import (
    CONTRASTIVE_WEIGHTS,
    DETECTION_LOSSES,
    DISTILLATION_WEIGHTS,
    NAMING_WEIGHTS,
    PAPER_WEIGHTS,
    TEACHER_WEIGHTS,
    AuxiliaryLosses,
    training_losses,
)
from fcln.training.mosaic import mosaic
from fcln.training.schedule import rate

# The last of a run's steps see photographs as test time does.
_MOSAICS_END = 0.8


@dataclass(frozen=True)
class TrainingConfig:
    """How a run trains; a resumed run must have the same one."""

    epochs: int = 6
    batch_size: int = 16
    learning_rate: float = 1e-3  # of everything above the backbone, at its height
    backbone_learning_rate: float = 1e-4  # 0: the backbone stays as it is, and its features are cached
    warmup: int = 100  # steps
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    detection_weight: float = 1.0  # multiplies the paper's 0.1 of the four losses of scores and boxes
    seed: int = 1
    bfloat16: bool = True  # where the machine has it
    flip: bool = True
    augment: bool = False  # see BatchLoader
    smallest_window: float = SMALLEST_WINDOW  # see BatchLoader
    mosaics: float = 0.0  # this share of the steps shows mosaics of four photographs each; none the last fifth
    stochastic_depth: float = 0.0  # of an EfficientNet's blocks, see EfficientNetLite2.leave_out
    frozen_stages: int = 0  # of a ResNet's four, from below: learnt on ImageNet, and half of a step's time
    minutes: float = 0.0  # 0: all epochs; else the rate falls to nothing, and the run ends, after so long
    average: float = 0.0  # how much of the running mean of the weights a step keeps; 0: the last weights are the result

    def rate(self, step: int, done: float) -> float:
        """Share of the learning rate at a step, see `schedule.rate`; done: share of the run after its warm-up."""
        return rate(step, warmup=self.warmup, done=done)


class Trainer:
    """Owns a run's folder: `state.safetensors` (weights, optimiser, step) and `log.jsonl`."""

    def __init__(self, model: FCLN, loader: BatchLoader, config: TrainingConfig, folder: Path, *, device: str = "cpu",
                 world: World | None = None):  # fmt: skip
        """Continues from the folder's state if it has one; TrainingError if that was made by another config.

        world: with others, of which the loader must know too; the first of them saves and logs.
        """
        self.model = model.to(device)
        self.model.backbone.to(memory_format=torch.channels_last)
        self.loader = loader
        self.config = config
        self.folder = folder
        self.world = world or World()
        self.device = torch.device(device)
        self.auxiliary = AuxiliaryLosses(loader.targets, code_size=model.config.code_size).to(device)
        self.weights = PAPER_WEIGHTS | CONTRASTIVE_WEIGHTS | TEACHER_WEIGHTS | NAMING_WEIGHTS | DISTILLATION_WEIGHTS
        for name in DETECTION_LOSSES:
            self.weights[name] *= config.detection_weight
        self.steps = config.epochs * len(loader)
        self._seconds = 0.0  # trained before this call of `run`
        self._began: float | None = None  # when this call of `run` began
        self._shared = 0.0  # seconds trained, as all processes agreed in the last step
        self.step = 0
        freeze_first_layers(model.backbone, model.config.backbone, stages=config.frozen_stages)
        if not config.backbone_learning_rate:
            model.backbone.requires_grad_(False)
        if config.stochastic_depth:
            cast(EfficientNetLite2, model.backbone).leave_out(config.stochastic_depth)
        self.parameters = {
            f"{prefix}.{name}": parameter
            for prefix, module in (("model", model), ("auxiliary", self.auxiliary))
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._average = {name: p.detach().clone() for name, p in self.parameters.items()} if config.average else {}
        self.optimizer = torch.optim.AdamW(_groups(self.parameters, config), betas=(0.9, 0.99), fused=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._state, self._log = folder / "state.safetensors", folder / "log.jsonl"
        if self._state.exists():
            self._resume()
        if self._log.exists() and self.world.rank == 0:
            self._trim_log()

    def run(
        self,
        *,
        window: int = 20,
        save_every: int = 200,
        report: Callable[[dict], None] = lambda line: None,
        until: int | None = None,
    ) -> None:
        """Train to the end (or to step `until`, if that comes first), saving every save_every steps and when done.

        report: called with the JSON line of each window of steps (mean losses, gradient norm, photographs/s), which is
        also appended to log.jsonl. Raises TrainingError, naming the photographs, when a loss is not finite.
        """
        if self._is_over():
            return
        end = sys.maxsize if self.config.minutes else self.steps
        self._began = time.perf_counter()
        try:
            self._run(end if until is None else min(until, end), window, save_every, report)
        finally:
            self._seconds, self._began = self._elapsed(), None

    def _run(self, until: int, window: int, save_every: int, report: Callable[[dict], None]) -> None:
        sums: dict[str, float] = defaultdict(float)
        began, count = time.perf_counter(), 0
        with open(self._log if self.world.rank == 0 else os.devnull, "a", encoding="utf-8") as log:
            for batch in self.loader.batches(self.step, until):
                for name, value in self._train_step(batch).items():
                    sums[name] += value
                self.step += 1
                count += 1
                is_over = self._is_over()
                if self.world.rank > 0:
                    if is_over:
                        return
                    continue
                if self.step % window == 0 or is_over:
                    seconds = time.perf_counter() - began
                    line = {"step": self.step, "steps": self.steps, "epoch": round(self.step / len(self.loader), 3)}
                    line |= {name: round(total / count, 5) for name, total in sums.items()}
                    line["photographs_per_second"] = round(
                        count * self.config.batch_size * self.world.size / seconds, 2
                    )
                    log.write(json.dumps(line) + "\n")
                    log.flush()
                    report(line)
                    sums.clear()
                    began, count = time.perf_counter(), 0
                if self.step % save_every == 0 or is_over or self.step >= until:
                    self.save()
                if is_over:
                    return

    def _done(self) -> float:
        """Share of the run after its warm-up that is over; of so many minutes, of all of them."""
        if self.config.minutes:
            elapsed = self._shared if self.world.size > 1 else self._elapsed()
            return elapsed / (60 * self.config.minutes)
        return (self.step - self.config.warmup) / max(1, self.steps - self.config.warmup)

    def _is_over(self) -> bool:
        return self._done() >= 1 if self.config.minutes else self.step >= self.steps

    def _elapsed(self) -> float:
        """Seconds that this run has trained, in all processes."""
        return self._seconds + (0.0 if self._began is None else time.perf_counter() - self._began)

    def _train_step(self, batch: Batch) -> dict[str, float]:
        # Everything drawn by chance in a step depends on the seed and the step alone, so a resumed run draws the same.
        seed = self.config.seed * 1_000_003 + self.step * self.world.size + self.world.rank
        torch.manual_seed(seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        self.model.train()
        share = self.config.rate(self.step, self._done())
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * share
        batch = batch.to(self.device)
        config = self.config
        mosaics = bool(config.mosaics) and self._done() < _MOSAICS_END and torch.rand(()).item() < config.mosaics
        losses = self._losses(batch, generator, mosaics=mosaics)
        if self.device.type == "cpu":  # there a backward pass through boxes that are NaN ends the process
            self._refuse_not_finite({name: loss.item() for name, loss in losses.items()}, batch)
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self._shared = self.world.share(self.parameters.values(), self._elapsed())
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip_norm)
        # One copy to the host a step: each would wait for the GPU.
        *values, total_, norm_ = torch.stack(
            [*(loss.detach() for loss in losses.values()), total.detach(), norm]
        ).tolist()
        self._refuse_not_finite(dict(zip(losses, values)), batch)
        if not math.isfinite(norm_):
            raise TrainingError(f"Step {self.step}: gradient not finite on {', '.join(batch.names)}.")
        self.optimizer.step()
        if self._average:
            # Short at first, else a long run's mean would remember the weights that it began with.
            kept = min(self.config.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self._average.values()), [p.detach() for p in self.parameters.values()], 1 - kept)
        return dict(zip(losses, values)) | {"loss": total_, "gradient_norm": norm_}

    def _refuse_not_finite(self, losses: dict[str, float], batch: Batch) -> None:
        worst = ", ".join(name for name, value in losses.items() if not math.isfinite(value))
        if worst:
            raise TrainingError(f"Step {self.step}: loss not finite ({worst}) on {self._culprits(batch)}.")

    def _losses(self, batch: Batch, generator: torch.Generator, *, mosaics: bool = False) -> dict[str, Tensor]:
        with autocast(self.device, enabled=self.config.bfloat16):
            if batch.images is not None:
                images = batch.images if batch.tints is None else tint(batch.images, batch.tints)
                if mosaics:
                    batch, images = mosaic(batch, images.float())
                features = self.model.features(normalize(images).to(memory_format=torch.channels_last))
            else:
                assert batch.features is not None
                features = [maps.float() for maps in batch.features]  # the cache keeps float16
            return training_losses(self.model, self.auxiliary, batch, features, generator)

    @torch.no_grad()
    def _culprits(self, batch: Batch) -> str:
        """The photographs whose losses are not finite each for itself; all of the batch if that takes several."""
        names = []
        for photo, name in enumerate(batch.names):
            losses = self._losses(batch.only(photo), torch.Generator(self.device).manual_seed(0))
            if not all(torch.isfinite(loss) for loss in losses.values()):
                names.append(name)
        return ", ".join(names or batch.names)

    def take_average(self) -> None:
        """Give the model the mean of its weights over the last steps (TrainingConfig.average): the result of a run."""
        for name, mean in self._average.items():
            self.parameters[name].data.copy_(mean)

    def save(self) -> None:
        """Write the state, whole or not at all. Tensors and JSON only, no pickle."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"auxiliary.{name}": value for name, value in self.auxiliary.state_dict().items()}
        for name, parameter in self.parameters.items():
            state = self.optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    tensors[f"optimizer.{key}.{name}"] = state[key]
        tensors |= {f"average.{name}": mean for name, mean in self._average.items()}
        metadata = {
            "recipe": json.dumps(asdict(self.config)),
            "config": json.dumps(self.model.config.to_json()),
            "photographs": str(len(self.loader.photographs)),
            "step": str(self.step),
            "seconds": str(self._elapsed()),
        }
        temporary = self._state.with_suffix(".tmp")
        save_file({name: t.detach().contiguous() for name, t in tensors.items()}, temporary, metadata=metadata)
        os.replace(temporary, self._state)

    def _resume(self) -> None:
        try:
            with safe_open(self._state, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{self._state} is damaged ({error}); delete it to start again.") from error
        recipe = json.loads(metadata.get("recipe", "null"))
        same = {
            # Fields that an older run's recipe lacks take today's defaults.
            "training configuration": recipe is not None and asdict(TrainingConfig()) | recipe == asdict(self.config),
            "network": "config" not in metadata
            or FCLNConfig.from_json(json.loads(metadata["config"])).trained() == self.model.config.trained(),
            "set of photographs": int(metadata.get("photographs", len(self.loader.photographs)))
            == len(self.loader.photographs),
        }
        for what, is_same in same.items():
            if not is_same:
                raise TrainingError(f"{self.folder} holds a run of another {what}: name another --out, or delete it.")
        for prefix, module in (("model", self.model), ("auxiliary", self.auxiliary)):
            own = {n.removeprefix(prefix + "."): t for n, t in tensors.items() if n.startswith(prefix + ".")}
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise TrainingError(
                    f"{self._state} is of another network or vocabulary; name another --out."
                ) from error
        for name, parameter in self.parameters.items():
            state = {k: tensors.get(f"optimizer.{k}.{name}") for k in ("exp_avg", "exp_avg_sq", "step")}
            if state["step"] is not None:
                # In the parameter's own memory format: the fused optimiser goes through memory, whatever the strides.
                self.optimizer.state[parameter] = {
                    k: v.to(parameter.device) if k == "step" else torch.empty_like(parameter).copy_(v)
                    for k, v in state.items()
                    if v is not None
                }
        for name, mean in self._average.items():
            mean.copy_(tensors[f"average.{name}"])
        self.step = int(metadata["step"])
        self._seconds = float(metadata.get("seconds", 0.0))

    def _trim_log(self) -> None:
        """Drop what a killed run logged after its last saved state: those steps are about to be done again."""
        kept = []
        for line in self._log.read_text(encoding="utf-8").splitlines(keepends=True):
            try:
                if json.loads(line)["step"] <= self.step:
                    kept.append(line)
            except ValueError:  # cut short by the kill
                continue
        temporary = self._log.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, self._log)


def _groups(parameters: dict[str, nn.Parameter], config: TrainingConfig) -> list[dict]:
    """Backbone and the rest at their own rates; biases and temperatures without weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        rate = config.backbone_learning_rate if name.startswith("model.backbone.") else config.learning_rate
        decay = config.weight_decay if parameter.ndim > 1 else 0.0
        groups[rate, decay].append(parameter)
    return [{"params": p, "lr": rate, "base": rate, "weight_decay": d} for (rate, d), p in groups.items()]


@torch.no_grad()
def fill_cache(
    model: FCLN,
    photographs: Sequence[AnnotatedImage],
    cache: FeatureCache,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Compute the backbone's features of every photograph that the cache lacks."""
    device = next(model.parameters()).device
    model.backbone.eval().to(memory_format=torch.channels_last)
    missing = set(cache.missing(p.image_id for p in photographs))
    for photo in progress([p for p in photographs if p.image_id in missing]):
        pixels, _ = read_pixels(photo, model.config.image_size)
        with autocast(device):
            features = model.features(normalize(pixels[None].to(device)).to(memory_format=torch.channels_last))
        cache.write(photo.image_id, [maps[0].float().cpu().numpy() for maps in features])
    cache.flush()


def seed_everything(seed: int) -> None:
    """Fresh weights that depend on the seed alone."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
