"""Fixtures that several test files use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of a small network with random weights: real in everything but what it knows."""
    import torch

    from fcln.anchors import scaled_anchors
    from fcln.checkpoint import Checkpoint, Scoring, new_model, save_checkpoint
    from fcln.model import FCLNConfig
    from fcln.noun_phrases import NounPhrases
    from fcln.phrases import WordPieces
    from fcln.vocabulary import Vocabulary

    words = ["a", "the", "dog", "couch", "red", "lamp", "man", "brown", "two", "on", "in"]
    config = FCLNConfig(
        backbone="resnet18", image_size=96, anchors=scaled_anchors(96), neck_channels=16, localization_channels=8,
        roi_channels=4, hidden_size=32, code_size=24, word_size=16, lstm_size=16, max_words=4, piece_size=8,
        phrase_hidden_size=8, embedding_size=16, proposals=30,
    )  # fmt: skip
    torch.manual_seed(7)
    pieces = WordPieces(
        ["[PAD]", "[UNK]", *words, *"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    )
    vocabulary = Vocabulary(words)
    model = new_model(config, vocabulary, pieces)
    torch.nn.init.normal_(model.phrases.pieces)
    torch.nn.init.normal_(model.localization.score.weight)  # else all proposals of the random network score alike
    torch.nn.init.normal_(model.recognition.score.weight)
    captions = [
        "a dog on the couch",
        "the man on a red couch",
        "two dogs in a lamp",
        "a dog in the couch",
        "a man on a couch",
    ]
    nouns = {"a dog": 2, "the couch": 2, "the man": 1, "a red couch": 1, "a lamp": 1, "a man": 1, "a couch": 1}
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(
        path, Checkpoint(model, vocabulary, pieces, NounPhrases.learn(captions, nouns, min_count=1), Scoring())
    )
    return path


@pytest.fixture(scope="session")
def tiny_predictor(tiny_checkpoint: Path):
    """The Predictor of `tiny_checkpoint`."""
    from fcln.predictor import Predictor

    return Predictor.load(tiny_checkpoint, device="cpu")
