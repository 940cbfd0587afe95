"""Weights files: one safetensors file holds the weights and, in its metadata, everything needed to use them.

No pickle: a weights file from a stranger cannot run code.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from fcln.errors import CheckpointError
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.modeling.phrase_encoder import WordPieces
from fcln.noun_phrases import NounPhrases, WordUse
from fcln.vocabulary import Vocabulary
from fcln.weights_file import DEFAULT_WEIGHTS, FORMAT, damaged, pack_texts, read_texts


@dataclass(frozen=True)
class Confidence:
    """How likely a region shows what a phrase names: the weights of two logistic functions (`search.calibration`)."""

    presence: tuple[float, float, float]  # that the photograph shows it: constant, closest region, best placed region
    place: tuple[float, float, float, float]  # where: constant, similarity, objectness, share
    prevalence: float  # share of a collection's photographs that show what a phrase names


@dataclass(frozen=True)
class Scoring:
    """Which score ranks best on validation data, the weight of the likelihood in the fused one; how sure a box is."""

    default: str = "embedding"  # likelihood, embedding or fused
    fused_weight: float = 0.05
    confidence: Confidence | None = None  # None: not fitted, `python -m scripts.train.choose_confidence` does it


@dataclass(frozen=True)
class Checkpoint:
    """A network with all that its words mean."""

    model: FCLN
    vocabulary: Vocabulary
    pieces: WordPieces
    noun_phrases: NounPhrases
    scoring: Scoring


def new_model(config: FCLNConfig, vocabulary: Vocabulary, pieces: WordPieces, *, backbone: bool = True) -> FCLN:
    """A network with fresh weights; without its backbone it scores phrases but describes nothing."""
    return FCLN(config, vocabulary=len(vocabulary), pieces=len(pieces), backbone=backbone)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a weights file, whole or not at all; weights as float16."""
    texts = {
        "format": FORMAT,
        "config": json.dumps(checkpoint.model.config.to_json()),
        "vocabulary": json.dumps(checkpoint.vocabulary.words, ensure_ascii=False),
        "pieces": json.dumps(checkpoint.pieces.pieces, ensure_ascii=False),
        "noun_phrases": json.dumps(
            {w: [u.inside, u.opens, u.opener] for w, u in checkpoint.noun_phrases.words.items()}, ensure_ascii=False
        ),
        "scoring": json.dumps(asdict(checkpoint.scoring)),
    }
    state = checkpoint.model.state_dict()
    weights = {name: tensor.detach().half().cpu().contiguous() for name, tensor in state.items()}
    texts["checksum"] = _checksum(texts, weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    save_file(weights, temporary, metadata=pack_texts(texts))
    os.replace(temporary, path)


def load_checkpoint(path: Path | None = None, *, backbone: bool = True) -> Checkpoint:
    """Read a weights file (None: the embedded default), weights as float32 on the CPU.

    backbone: False leaves it out (see new_model); the whole file is checked all the same.

    Raises CheckpointError if it is missing, damaged, or not one of this version's.
    """
    path = path or DEFAULT_WEIGHTS
    texts = read_texts(path)
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damaged(path, str(error)) from error
    if texts.pop("checksum", "") != _checksum(texts, weights):
        raise damaged(path, "its checksum is wrong")
    try:
        config = FCLNConfig.from_json(json.loads(texts["config"]))
        vocabulary = Vocabulary(json.loads(texts["vocabulary"]))
        pieces = WordPieces(json.loads(texts["pieces"]))
        noun_phrases = NounPhrases({w: WordUse(*use) for w, use in json.loads(texts["noun_phrases"]).items()})
        scoring = _read_scoring(json.loads(texts["scoring"]))
        # Not on the meta device: that would spare 0.2 s of random numbers and import torch._dynamo, 1.5 s.
        model = new_model(config, vocabulary, pieces, backbone=backbone)
        kept = {n: tensor.float() for n, tensor in weights.items() if backbone or not n.startswith("backbone.")}
        model.load_state_dict(kept, assign=True)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"The weights file {path} does not fit this version ({reason}).") from error
    return Checkpoint(model.eval(), vocabulary, pieces, noun_phrases, scoring)


def _read_scoring(values: dict[str, Any]) -> Scoring:
    """The inverse of dataclasses.asdict; files from before there was a confidence have none."""
    numbers = values.pop("confidence", None)
    if numbers is None:
        return Scoring(**values)
    presence, place = (tuple(map(float, numbers[name])) for name in ("presence", "place"))
    if (len(presence), len(place)) != (3, 4):
        raise ValueError(f"a confidence of {len(presence)} and {len(place)} numbers")
    return Scoring(**values, confidence=Confidence(presence, place, float(numbers["prevalence"])))  # type: ignore[arg-type]


def _checksum(texts: dict[str, str], weights: dict[str, torch.Tensor]) -> str:
    """crc32 of everything in the file, hexadecimal: safetensors itself notices only a damaged layout."""
    value = 0
    for key in sorted(texts):
        value = zlib.crc32(f"{key}\0{texts[key]}\0".encode(), value)
    for name in sorted(weights):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(weights[name].numpy().tobytes(), value)
    return f"{value:08x}"
