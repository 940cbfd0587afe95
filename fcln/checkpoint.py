"""A network in and out of its weights file (`fcln.weights_file`)."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.scoring import Scoring
from fcln.term_vectors import TermVectors
from fcln.vocabulary import Vocabulary
from fcln.weights_file import (
    DEFAULT_WEIGHTS,
    FORMAT,
    PHRASE_SIDE,
    Checksum,
    Words,
    pack_texts,
    read_tensors,
    read_texts,
    read_words,
    unfit,
)
from fcln.word_pieces import WordPieces
from fcln.word_uses import WordUse

# Beside the phrase encoder's tensors: a question needs both and nothing else.
TERMS = f"{PHRASE_SIDE}terms"


@dataclass(frozen=True)
class Checkpoint:
    """A network with all that its words mean."""

    model: FCLN
    vocabulary: Vocabulary
    pieces: WordPieces
    word_uses: dict[str, WordUse]
    scoring: Scoring
    names: tuple[str, ...] = ()  # phrases that name what a region may be called, see `fcln.naming`
    terms: TermVectors = field(default_factory=TermVectors)  # fitted to embeddings: who moves these leaves them out


def new_model(config: FCLNConfig, vocabulary: Vocabulary, pieces: WordPieces, *, backbone: bool = True) -> FCLN:
    """A network with fresh weights; without its backbone it scores phrases but describes nothing."""
    return FCLN(config, vocabulary=len(vocabulary), pieces=len(pieces), backbone=backbone)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a weights file, whole or not at all; weights as float16."""
    words = Words(
        checkpoint.vocabulary,
        checkpoint.pieces,
        checkpoint.word_uses,
        checkpoint.scoring,
        checkpoint.names,
        checkpoint.terms.forms,
    )
    texts = {"format": FORMAT, "config": json.dumps(checkpoint.model.config.to_json()), **words.to_texts()}
    state = checkpoint.model.state_dict()
    weights = {name: tensor.detach().half().cpu().contiguous().numpy() for name, tensor in state.items()}
    if checkpoint.terms.vectors is not None:
        weights[TERMS] = checkpoint.terms.vectors.astype(np.float16)
    checksum = Checksum(texts)
    for name in sorted(weights):
        checksum.add(name, weights[name])
    texts["checksum"] = checksum.hexdigest()
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
    weights = read_tensors(path, texts)
    words = read_words(path, texts)
    try:
        config = FCLNConfig.from_json(json.loads(texts["config"]))
        terms = TermVectors.of(words.terms, weights.pop(TERMS, None), config.embedding_size)
        # Not on the meta device: that would spare 0.2 s of random numbers and import torch._dynamo, 1.5 s.
        model = new_model(config, words.vocabulary, words.pieces, backbone=backbone)
        kept = {
            name: torch.from_numpy(tensor).float()
            for name, tensor in weights.items()
            if backbone or not name.startswith("backbone.")
        }
        model.load_state_dict(kept, assign=True)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unfit(path, error) from error
    return Checkpoint(model.eval(), words.vocabulary, words.pieces, words.word_uses, words.scoring, words.names, terms)
