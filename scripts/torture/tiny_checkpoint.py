"""A weights file of a small network with random weights: real in everything but what it knows. For tests and torture.

python -m scripts.torture.tiny_checkpoint tiny.safetensors
"""

from pathlib import Path

import click
import torch

from fcln.checkpoint import Checkpoint, new_model, save_checkpoint
from fcln.modeling.anchors import scaled_anchors
from fcln.modeling.fcln import FCLNConfig
from fcln.scoring import Scoring
from fcln.vocabulary import Vocabulary
from fcln.word_pieces import WordPieces
from fcln.word_uses import count_word_uses

WORDS = ("a", "the", "dog", "couch", "red", "lamp", "man", "brown", "two", "on", "in")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
CAPTIONS = (
    "a dog on the couch",
    "the man on a red couch",
    "two dogs in a lamp",
    "a dog in the couch",
    "a man on a couch",
)
NOUNS = {"a dog": 2, "the couch": 2, "the man": 1, "a red couch": 1, "a lamp": 1, "a man": 1, "a couch": 1}


@click.command(help=__doc__)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=7, show_default=True)
def main(path: Path, seed: int) -> None:
    write_tiny_checkpoint(path, seed=seed)


def write_tiny_checkpoint(path: Path, *, seed: int = 7) -> None:
    """Write the weights file; the same for the same seed."""
    config = FCLNConfig(
        backbone="resnet18", image_size=96, anchors=scaled_anchors(96), neck_channels=16, localization_channels=8,
        roi_channels=4, hidden_size=32, code_size=24, word_size=16, lstm_size=16, max_words=4, piece_size=8,
        phrase_hidden_size=8, embedding_size=16, post_nms_top_n=30,
    )  # fmt: skip
    pieces = WordPieces(["[PAD]", "[UNK]", *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)])
    vocabulary = Vocabulary(list(WORDS))
    torch.manual_seed(seed)
    model = new_model(config, vocabulary, pieces)
    torch.nn.init.normal_(model.phrases.pieces)
    torch.nn.init.normal_(model.localization.score.weight)  # else all proposals of the random network score alike
    torch.nn.init.normal_(model.recognition.score.weight)
    uses = count_word_uses(CAPTIONS, NOUNS, min_count=1)
    save_checkpoint(path, Checkpoint(model, vocabulary, pieces, uses, Scoring()))


if __name__ == "__main__":
    main()
