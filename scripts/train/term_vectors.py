"""Fit vectors to things that many training photographs show, and store them in a weights file.

\b
    python -m scripts.train.term_vectors WEIGHTS --photos PHOTOS --annotations TRAIN --terms TERMS \\
        --photos WIDE_PHOTOS --annotations WIDE_TRAIN

`fcln.training.term_vectors` has the method, `fcln.term_vectors` what they are for. A photograph shows the terms
(`scripts.data.terms`) of its names and of the phrases of its regions, and all that is broader. After
`scripts.train.scene`: the vectors are of embeddings as they are then. All photographs are described, 17 a second on two
CPU cores with AVX2, and two minutes go into 1,800 vectors. What is calibrated on embeddings should be fitted again:
scripts.train.calibrate_answers, choose_confidence.

Boxes and embeddings of regions stay what they are, a few regions are called otherwise (`fcln.naming`). The weights file
becomes another one: collections that it described need `indexer build --redescribe`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.errors import FclnError
from fcln.predictor import Predictor
from fcln.term_vectors import TermVectors
from fcln.training.annotations import AnnotatedImage
from fcln.training.term_vectors import ShownRegions, fit_term_vectors
from fcln.training.terms import Terms
from scripts.options import device_option
from scripts.train.named_photographs import decode_named, shown_terms
from scripts.train.photographs import read_sets
from search.file_description import MAX_REGIONS

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
        fitted = fit_terms(shown, terms, predictor)
        save_checkpoint(weights, replace(load_checkpoint(weights), terms=fitted))
        count = sum(len(each.counts) for each in shown)
        click.echo(f"{weights}: vectors of {len(fitted.forms)} terms, fitted on {count} photographs")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def look(photographs: Sequence[AnnotatedImage], predictor: Predictor, terms: Terms) -> ShownRegions:
    """The regions that the network finds, and what is said of their photographs.

    Raises DatasetError if it is nothing.
    """
    parts, counts, named = [], [], []
    for images, said in decode_named(photographs, terms, at_once=predictor.batch_size):
        part = torch.zeros(len(images), MAX_REGIONS, predictor.embedding_size, dtype=torch.float16)
        for row, regions in zip(part, predictor.describe(images, max_regions=MAX_REGIONS), strict=True):
            row[: len(regions.boxes)] = torch.from_numpy(regions.embeddings)
            counts.append(len(regions.boxes))
        parts.append(part)
        named += said
    shown = shown_terms(named, terms)
    return ShownRegions(torch.cat(parts), torch.tensor(counts), shown)


def fit_terms(shown: Sequence[ShownRegions], terms: Terms, predictor: Predictor) -> TermVectors:
    """The vectors of the terms that enough photographs show, with all forms that ask for the term and no other."""
    encoded = predictor.encode_phrases([forms[0] for forms in terms.forms], term_share=0)
    known, vectors = fit_term_vectors(shown, encoded)
    forms = [tuple(dict.fromkeys(form for form in terms.forms[term] if terms.exactly(form) == term)) for term in known]
    asked = [place for place, its_forms in enumerate(forms) if its_forms]
    return TermVectors(tuple(forms[place] for place in asked), vectors[asked])


if __name__ == "__main__":
    main()
