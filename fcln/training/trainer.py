"""End-to-end training (paper 3.5), resumable after a kill to the same result."""

import json
import math
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcln.errors import TrainingError
from fcln.modeling.backbone import STRIDE, freeze_first_layers, normalize
from fcln.modeling.boxes import fit
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.precision import autocast
from fcln.training.dataset import BatchLoader, Photograph, read_photo
from fcln.training.feature_cache import FeatureCache
from fcln.training.losses import (
    CONTRASTIVE_WEIGHTS,
    DETECTION_LOSSES,
    PAPER_WEIGHTS,
    TEACHER_WEIGHTS,
    Batch,
    ContrastiveLoss,
    training_losses,
)


@dataclass(frozen=True)
class Recipe:
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
    frozen_stages: int = 0  # of a ResNet's four, from below: learnt on ImageNet, and half of a step's time
    average: float = 0.0  # how much of the running mean of the weights a step keeps; 0: the last weights are the result

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rate at a step: linear warm-up, then half a cosine down to nothing."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, steps - self.warmup)))


class Trainer:
    """Owns a run's folder: `state.safetensors` (weights, optimiser, step) and `log.jsonl`."""

    def __init__(self, model: FCLN, loader: BatchLoader, recipe: Recipe, folder: Path, *, device: str = "cpu"):
        """Continues from the folder's state if it has one; TrainingError if that was made by another recipe."""
        self.model = model.to(device)
        self.loader = loader
        self.recipe = recipe
        self.folder = folder
        self.device = torch.device(device)
        self.contrastive = ContrastiveLoss().to(device)
        self.weights = PAPER_WEIGHTS | CONTRASTIVE_WEIGHTS | TEACHER_WEIGHTS
        for name in DETECTION_LOSSES:
            self.weights[name] *= recipe.detection_weight
        self.steps = recipe.epochs * len(loader)
        self.step = 0
        freeze_first_layers(model.backbone, model.config.backbone, stages=recipe.frozen_stages)
        if not recipe.backbone_learning_rate:
            model.backbone.requires_grad_(False)
        self.parameters = {
            f"{prefix}.{name}": parameter
            for prefix, module in (("model", model), ("contrastive", self.contrastive))
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self._average = {name: p.detach().clone() for name, p in self.parameters.items()} if recipe.average else {}
        self.optimizer = torch.optim.AdamW(_groups(self.parameters, recipe), betas=(0.9, 0.99), fused=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._state, self._log = folder / "state.safetensors", folder / "log.jsonl"
        if self._state.exists():
            self._resume()
        if self._log.exists():
            self._trim_log()

    def run(
        self,
        *,
        window: int = 20,
        save_every: int = 200,
        report: Callable[[dict], None] = lambda line: None,
        until: int | None = None,
    ) -> None:
        """Train to the end (or to step `until`), saving every save_every steps and when done.

        report: called with the JSON line of each window of steps (mean losses, gradient norm, photographs/s), which is
        also appended to log.jsonl. Raises TrainingError, naming the photographs, when a loss is not finite.
        """
        until = self.steps if until is None else until
        sums: dict[str, float] = defaultdict(float)
        began, count = time.perf_counter(), 0
        with open(self._log, "a", encoding="utf-8") as log:
            while self.step < until:
                epoch, start = divmod(self.step, len(self.loader))
                for batch in self.loader.epoch(epoch, start=start):
                    for name, value in self._train_step(batch).items():
                        sums[name] += value
                    self.step += 1
                    count += 1
                    if self.step % window == 0 or self.step == self.steps:
                        seconds = time.perf_counter() - began
                        line = {"step": self.step, "steps": self.steps, "epoch": round(self.step / len(self.loader), 3)}
                        line |= {name: round(total / count, 5) for name, total in sums.items()}
                        line["photographs_per_second"] = round(count * self.recipe.batch_size / seconds, 2)
                        log.write(json.dumps(line) + "\n")
                        log.flush()
                        report(line)
                        sums.clear()
                        began, count = time.perf_counter(), 0
                    if self.step % save_every == 0 or self.step >= until:
                        self.save()
                    if self.step >= until:
                        return

    def _train_step(self, batch: Batch) -> dict[str, float]:
        # Everything drawn by chance in a step depends on the seed and the step alone, so a resumed run draws the same.
        torch.manual_seed(self.recipe.seed * 1_000_003 + self.step)
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        self.model.train()
        rate = self.recipe.rate(self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * rate
        batch = _to(batch, self.device)
        losses = self._losses(batch, generator)
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        if not torch.isfinite(total):
            worst = ", ".join(name for name, loss in losses.items() if not torch.isfinite(loss))
            raise TrainingError(f"Step {self.step}: loss not finite ({worst}) on {self._culprits(batch)}.")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.clip_norm)
        if not torch.isfinite(norm):
            raise TrainingError(f"Step {self.step}: gradient not finite on {', '.join(batch.names)}.")
        self.optimizer.step()
        if self._average:
            # Short at first, else a long run's mean would remember the weights that it began with.
            kept = min(self.recipe.average, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self._average.values()), [p.detach() for p in self.parameters.values()], 1 - kept)
        return {name: loss.item() for name, loss in losses.items()} | {
            "loss": total.item(),
            "gradient_norm": norm.item(),
        }

    def _losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        with autocast(self.device, enabled=self.recipe.bfloat16):
            if batch.images is not None:
                features = self.model.features(normalize(batch.images).to(memory_format=torch.channels_last))
            else:
                assert batch.features is not None
                features = batch.features.float()  # the cache keeps float16
            return training_losses(self.model, self.contrastive, batch, features, generator)

    @torch.no_grad()
    def _culprits(self, batch: Batch) -> str:
        """The photographs whose losses are not finite each for itself; all of the batch if that takes several."""
        names = []
        for photo, name in enumerate(batch.names):
            losses = self._losses(batch.only(photo), torch.Generator().manual_seed(0))
            if not all(torch.isfinite(loss) for loss in losses.values()):
                names.append(name)
        return ", ".join(names or batch.names)

    def take_average(self) -> None:
        """Give the model the mean of its weights over the last steps (Recipe.average): the result of a run."""
        for name, mean in self._average.items():
            self.parameters[name].data.copy_(mean)

    def save(self) -> None:
        """Write the state, whole or not at all. Tensors and JSON only, no pickle."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"contrastive.{name}": value for name, value in self.contrastive.state_dict().items()}
        for name, parameter in self.parameters.items():
            state = self.optimizer.state.get(parameter, {})
            for key in ("exp_avg", "exp_avg_sq", "step"):
                if key in state:
                    tensors[f"optimizer.{key}.{name}"] = state[key]
        tensors |= {f"average.{name}": mean for name, mean in self._average.items()}
        metadata = {
            "recipe": json.dumps(asdict(self.recipe)),
            "config": json.dumps(self.model.config.to_json()),
            "photographs": str(len(self.loader.photographs)),
            "step": str(self.step),
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
        same = {
            "recipe": json.loads(metadata.get("recipe", "null")) == asdict(self.recipe),
            "config": "config" not in metadata
            or FCLNConfig.from_json(json.loads(metadata["config"])) == self.model.config,
            "set of photographs": int(metadata.get("photographs", len(self.loader.photographs)))
            == len(self.loader.photographs),
        }
        for what, is_same in same.items():
            if not is_same:
                raise TrainingError(f"{self.folder} holds a run of another {what}: name another --out, or delete it.")
        for prefix, module in (("model", self.model), ("contrastive", self.contrastive)):
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
                self.optimizer.state[parameter] = {
                    k: (v if k == "step" else v.to(self.device)) for k, v in state.items() if v is not None
                }
        for name, mean in self._average.items():
            mean.copy_(tensors[f"average.{name}"])
        self.step = int(metadata["step"])

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


def _groups(parameters: dict[str, nn.Parameter], recipe: Recipe) -> list[dict]:
    """Backbone and the rest at their own rates; biases and temperatures without weight decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters.items():
        rate = recipe.backbone_learning_rate if name.startswith("model.backbone.") else recipe.learning_rate
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups[rate, decay].append(parameter)
    return [{"params": p, "lr": rate, "base": rate, "weight_decay": d} for (rate, d), p in groups.items()]


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    values = {}
    for name, value in vars(batch).items():
        if isinstance(value, Tensor):
            value = value.to(device, non_blocking=True)
        elif isinstance(value, list) and value and isinstance(value[0], Tensor):
            value = [tensor.to(device, non_blocking=True) for tensor in value]
        values[name] = value
    return Batch(**values)


@torch.no_grad()
def fill_cache(
    model: FCLN,
    photographs: Sequence[Photograph],
    cache: FeatureCache,
    *,
    progress: Callable[[Iterable], Iterable] = iter,
) -> None:
    """Compute the backbone's features of every photograph that the cache lacks."""
    device = next(model.parameters()).device
    model.backbone.eval().to(memory_format=torch.channels_last)
    missing = set(cache.missing(p.image_id for p in photographs))
    for photo in progress([p for p in photographs if p.image_id in missing]):
        pixels = torch.from_numpy(
            read_photo(photo.path, fit(photo.width, photo.height, model.config.image_size, STRIDE))
        ).permute(2, 0, 1)[None]
        with autocast(device):
            features = model.features(normalize(pixels.to(device)).to(memory_format=torch.channels_last))
        cache.write(photo.image_id, features[0].float().cpu().numpy())
    cache.flush()


def seed_everything(seed: int) -> None:
    """Fresh weights that depend on the seed alone."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
