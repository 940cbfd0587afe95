"""Fit what a network's embeddings say of the photograph around a region, and store it in a weights file.

\b
    python -m scripts.train.scene WEIGHTS --photos PHOTOS --annotations TRAIN --terms TERMS \\
        --photos WIDE_PHOTOS --annotations WIDE_TRAIN

`fcln.training.scene` has the method. A photograph shows the terms (`scripts.data.terms`) of its names and of the
phrases of its regions, and all that is broader. Nothing else of the network changes, codes and phrases stay. About
fifteen photographs a second on two CPU cores.

Writing it into a weights file makes it another file: collections that it described need `indexer build --redescribe`.
What is fitted to embeddings is to be fitted again: scripts.train.term_vectors, which it leaves out, then
calibrate_answers, choose_confidence.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch

from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.errors import FclnError
from fcln.predictor import Predictor
from fcln.term_vectors import TermVectors
from fcln.training.annotations import AnnotatedImage
from fcln.training.scene import SceneMap, Shown, fit_scene
from fcln.training.terms import Terms
from scripts.options import device_option
from scripts.train.named_photographs import decode_named, shown_terms
from scripts.train.photographs import read_sets

# Photographs of which codes are made at a time: in memory together.
_AT_ONCE = 32
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("weights", type=_FILE)
@click.option("--photos", type=_FOLDER, required=True, multiple=True)
@click.option("--annotations", type=_FOLDER, required=True, multiple=True)
@click.option("--terms", "terms_file", type=_FILE, required=True, help="From scripts.data.terms.")
@device_option
def main(weights: Path, photos: tuple[Path, ...], annotations: tuple[Path, ...], terms_file: Path,
         device: str) -> None:  # fmt: skip
    try:
        terms = Terms(terms_file)
        sets = read_sets(photos, annotations, weak_labels=False, names=True)
        predictor = Predictor.load(weights, device=device)
        shown = [look(photographs, predictor, terms) for photographs in sets]
        checkpoint = replace(load_checkpoint(weights), terms=TermVectors())
        vectors = predictor.encode_phrases([forms[0] for forms in terms.forms], term_share=0)
        save_checkpoint(weights, with_scene(checkpoint, fit_scene(shown, vectors)))
        click.echo(f"{weights}: fitted on {sum(len(each.codes) for each in shown)} photographs")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def look(photographs: Sequence[AnnotatedImage], predictor: Predictor, terms: Terms) -> Shown:
    """What the network sees of whole photographs, and what is said of them. Raises DatasetError if it is nothing."""
    codes, named = [], []
    for images, said in decode_named(photographs, terms, at_once=_AT_ONCE):
        codes.append(predictor.image_codes(images))
        named += said
    shown = shown_terms(named, terms)
    return Shown(np.concatenate(codes), shown)


def with_scene(checkpoint: Checkpoint, scene: SceneMap) -> Checkpoint:
    """The same network, whose embeddings say what the photograph around a region shows."""
    model = new_model(replace(checkpoint.model.config, scene=True), checkpoint.vocabulary, checkpoint.pieces)
    fitted = {"scene.weight": torch.from_numpy(scene.weight), "scene.bias": torch.from_numpy(scene.bias)}
    model.load_state_dict(checkpoint.model.state_dict() | fitted)
    return replace(checkpoint, model=model)


if __name__ == "__main__":
    main()
