"""Vectors of word pieces from a sentence-embedding teacher: what the phrase encoder reads. Run once, before training.

    python -m scripts.train.piece_vectors runs/pieces.safetensors

The teacher (`sentence_teacher.py`) embeds every piece of its own vocabulary as a sentence of one word; principal
components keep 192 dimensions. Only the teacher's view of single words is taken: at search time no teacher is needed.
"""

import json
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import save_file

from fcln.word_pieces import PAD_PIECE, UNKNOWN_PIECE
from scripts.train.sentence_teacher import SentenceTeacher


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--size", default=192, show_default=True, help="Dimensions kept.")
def main(out: Path, size: int) -> None:
    teacher = SentenceTeacher()
    # Photographs are asked for in plain letters and digits: the other scripts' pieces would be a tenth of the file.
    pieces = [p for p in teacher.vocabulary if p.isascii() and not p.startswith("[")]
    vectors = teacher.embed([p.removeprefix("##") for p in pieces])
    vectors = vectors - vectors.mean(0)
    _, _, components = np.linalg.svd(
        vectors[np.random.default_rng(0).permutation(len(vectors))[:8000]], full_matrices=False
    )
    kept = vectors @ components[:size].T
    kept /= np.linalg.norm(kept, axis=1, keepdims=True) / np.sqrt(size)  # unit variance a dimension
    table = np.concatenate([np.zeros((2, size)), kept]).astype(np.float16)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"pieces": table}, out, metadata={"pieces": json.dumps([PAD_PIECE, UNKNOWN_PIECE, *pieces])})
    click.echo(f"{out}: {len(table)} pieces of {size} numbers")


if __name__ == "__main__":
    main()
