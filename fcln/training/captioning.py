"""Training of the language model alone (paper 3.4), on region codes that stay as they are; resumable after a kill."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcln.errors import TrainingError
from fcln.modeling.language_model import LanguageModel, next_words
from fcln.precision import autocast
from fcln.training.region_codes import RegionCodes
from fcln.training.schedule import rate
from fcln.vocabulary import PAD, UNK, Vocabulary


@dataclass(frozen=True)
class CaptioningConfig:
    """How a run trains; a resumed run must have the same one."""

    epochs: int = 4
    batch_size: int = 256  # regions
    learning_rate: float = 5e-4
    warmup: int = 100  # steps
    weight_decay: float = 0.01
    clip_norm: float = 5.0
    code_dropout: float = 0.3  # share of a code's numbers that a step does not see
    word_dropout: float = 0.1  # share of the words said before that the model sees as UNK
    label_smoothing: float = 0.1
    longer: float = 0.5  # of a region's phrases one of n words is drawn with a probability in proportion to n ** longer
    average: float = 0.999  # of the running mean of the weights, which is the result
    seed: int = 1
    bfloat16: bool = True  # where the machine has it


class CaptionTrainer:
    """Owns a run's folder: `state.safetensors` (weights, optimiser, step) and `log.jsonl`, a line an epoch."""

    def __init__(
        self,
        language: LanguageModel,
        vocabulary: Vocabulary,
        sets: Sequence[RegionCodes],
        config: CaptioningConfig,
        folder: Path,
        *,
        max_words: int,
        weights: Sequence[float] = (),
        device: str = "cpu",
    ):
        """Continues from the folder's state if it has one; TrainingError if that was made by another config.

        language: is trained in place. sets: each is a part of every epoch, whole by default, `weights` times as much
        if given. max_words: longer phrases are left out (paper: 10).
        """
        self.language = language.to(device).train()
        self.config = config
        self.device = torch.device(device)
        self.step = 0
        self._vocabulary, self._max_words = vocabulary, max_words
        regions = RegionCodes.joined(sets)
        self._words = [self._encode(said) for said in regions.phrases]
        self._codes = regions.codes
        spoken = np.array([bool(words) for words in self._words])
        starts = np.cumsum([0, *map(len, sets)])
        self._sets = [np.flatnonzero(spoken[a:b]) + a for a, b in pairwise(starts)]
        shares = list(weights) or [1.0] * len(sets)
        self._counts = [round(share * len(rows)) for share, rows in zip(shares, self._sets, strict=True)]
        self.steps_an_epoch = sum(self._counts) // config.batch_size
        if not self.steps_an_epoch:
            raise TrainingError(f"{sum(self._counts)} regions an epoch: fewer than a batch of {config.batch_size}.")
        self.parameters = dict(language.named_parameters())
        self._average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._optimizer = torch.optim.AdamW(_groups(self.parameters, config), lr=0.0, betas=(0.9, 0.99), fused=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._state, self._log = folder / "state.safetensors", folder / "log.jsonl"
        if self._state.exists():
            self._resume()

    @property
    def steps(self) -> int:
        return self.config.epochs * self.steps_an_epoch

    def run(self, *, report: Callable[[dict], None] = lambda line: None) -> None:
        """Train to the end; the state is saved after every epoch. The language model is then the running mean."""
        while self.step < self.steps:
            epoch, began = self.step // self.steps_an_epoch, time.perf_counter()
            losses = [self._train_step(rows, epoch) for rows in self._batches(epoch)]
            line = {"epoch": epoch + 1, "loss": round(float(np.mean(losses)), 5)}
            line["regions_per_second"] = round(len(losses) * self.config.batch_size / (time.perf_counter() - began), 1)
            with open(self._log, "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            self._save()
            report(line)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(self._average[name])
        self.language.eval()

    def _encode(self, phrases: Sequence[str]) -> list[tuple[list[int], float]]:
        """The word ids of those that are short enough, and how likely each is drawn."""
        ids = [self._vocabulary.encode(phrase) for phrase in phrases]
        return [(words, len(words) ** self.config.longer) for words in ids if 0 < len(words) <= self._max_words]

    def _batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Rows of each step of an epoch; the last, smaller one is left out."""
        rng = np.random.default_rng([self.config.seed, epoch])
        drawn: list[np.ndarray] = []
        for rows, count in zip(self._sets, self._counts, strict=True):
            full, rest = divmod(count, max(1, len(rows)))
            drawn += [rows] * full + [rng.permutation(rows)[:rest]]
        mixed = rng.permutation(np.concatenate(drawn))
        size = self.config.batch_size
        for start in range(0, self.steps_an_epoch * size, size):
            yield mixed[start : start + size]

    def _train_step(self, rows: np.ndarray, epoch: int) -> float:
        config = self.config
        # Everything drawn by chance in a step depends on the seed and the step alone, so a resumed run draws the same.
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([config.seed, epoch, self.step])
        done = (self.step - config.warmup) / max(1, self.steps - config.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * rate(self.step, warmup=config.warmup, done=done)
        tokens = _padded([self._drawn(self._words[row], rng) for row in rows]).to(self.device)
        codes = torch.from_numpy(self._codes[rows].astype(np.float32)).to(self.device)
        with autocast(self.device, enabled=config.bfloat16):
            loss = caption_loss(self.language, codes, tokens, config)
        if not torch.isfinite(loss):
            raise TrainingError(f"Step {self.step}: loss not finite.")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), config.clip_norm)
        self._optimizer.step()
        self.step += 1
        # Short at first, else a long run's mean would remember the weights that it began with.
        kept = min(config.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self._average.values()), [p.detach() for p in self.parameters.values()], 1 - kept)
        return loss.item()

    @staticmethod
    def _drawn(phrases: Sequence[tuple[list[int], float]], rng: np.random.Generator) -> list[int]:
        shares = np.array([share for _, share in phrases])
        return phrases[rng.choice(len(phrases), p=shares / shares.sum())][0]

    def _save(self) -> None:
        """Write the state, whole or not at all. Tensors and JSON only, no pickle."""
        tensors = {f"model.{name}": p.detach() for name, p in self.parameters.items()}
        tensors |= {f"average.{name}": mean for name, mean in self._average.items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"optimizer.{key}.{name}": v for key, v in self._optimizer.state[parameter].items()}
        metadata = {"recipe": json.dumps(self._recipe()), "step": str(self.step)}
        temporary = self._state.with_suffix(".tmp")
        save_file({name: t.contiguous().clone() for name, t in tensors.items()}, temporary, metadata=metadata)
        os.replace(temporary, self._state)

    def _recipe(self) -> dict:
        return asdict(self.config) | {"regions": self._counts}

    def _resume(self) -> None:
        try:
            with safe_open(self._state, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            step, recipe = int(metadata["step"]), json.loads(metadata["recipe"])
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise TrainingError(f"{self._state} is damaged ({error}); delete it to start again.") from error
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        fits = all(shapes.get(f"model.{name}") == p.shape for name, p in self.parameters.items())
        if recipe != self._recipe() or not fits:
            raise TrainingError(f"{self._state.parent} holds another run: name another --out, or delete it.")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"model.{name}"])
                self._average[name].copy_(tensors[f"average.{name}"])
                self._optimizer.state[parameter] = {
                    key: tensors[f"optimizer.{key}.{name}"].to(parameter.device)
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }
        self.step = step


def caption_loss(language: LanguageModel, codes: Tensor, tokens: Tensor, config: CaptioningConfig) -> Tensor:
    """Cross-entropy of the words, END among them (paper 3.5), a mean over the words; drawn by torch's generator.

    codes: (N, code) float32. tokens: (N, T) int64 word ids, PAD after the end.
    """
    unseen = (torch.rand(tokens.shape, device=tokens.device) < config.word_dropout) & (tokens != PAD)
    states = language.states(F.dropout(codes, config.code_dropout), tokens.masked_fill(unseen, UNK))
    targets = next_words(tokens)
    spoken = targets != PAD
    logits, right = language.output(states[spoken]).float(), targets[spoken]  # (W, words), (W,)
    normalizer = logits.logsumexp(1)
    likely = logits.gather(1, right[:, None])[:, 0] - normalizer
    # Of label smoothing: the mean over all words.
    loss = (1 - config.label_smoothing) * likely + config.label_smoothing * (logits.mean(1) - normalizer)
    return -loss.mean()


def _padded(phrases: Sequence[Sequence[int]]) -> Tensor:
    """Word ids of N phrases as (N, T) int64, PAD after each one's end."""
    tokens = torch.full((len(phrases), max(map(len, phrases))), PAD)
    for row, words in enumerate(phrases):
        tokens[row, : len(words)] = torch.tensor(words)
    return tokens


def _groups(parameters: dict[str, nn.Parameter], config: CaptioningConfig) -> list[dict]:
    """Biases without weight decay."""
    decayed = [p for p in parameters.values() if p.ndim > 1]
    plain = [p for p in parameters.values() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
