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
import numpy as np
import torch
from tqdm import tqdm

from decoding.errors import PhotoError
from decoding.files import decode_file
from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.errors import DatasetError, FclnError
from fcln.predictor import Predictor
from fcln.term_vectors import TermVectors
from fcln.training.annotations import AnnotatedImage
from fcln.training.term_vectors import ShownRegions, fit_term_vectors
from fcln.training.terms import Terms
from scripts.options import device_option
from scripts.train.photographs import read_sets
from scripts.train.scene import terms_of
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
        checkpoint = replace(load_checkpoint(weights), terms=TermVectors())
        # What the phrase encoder says: without the vectors that the file may hold already.
        encoder = Predictor(checkpoint, predictor.digest, device="cpu")
        fitted = fit_terms(shown, terms, encoder)
        save_checkpoint(weights, replace(checkpoint, terms=fitted))
        count = sum(len(each.counts) for each in shown)
        click.echo(f"{weights}: vectors of {len(fitted.forms)} terms, fitted on {count} photographs")
    except FclnError as error:
        raise click.ClickException(str(error)) from error


def look(photographs: Sequence[AnnotatedImage], predictor: Predictor, terms: Terms) -> ShownRegions:
    """The regions that the network finds, and what is said of their photographs.

    Raises DatasetError if it is nothing.
    """
    said = [(photograph, terms_of(photograph, terms)) for photograph in photographs]
    said = [(photograph, found) for photograph, found in said if found]
    embeddings = torch.zeros(len(said), MAX_REGIONS, predictor.embedding_size, dtype=torch.float16)
    counts, named = torch.zeros(len(said), dtype=torch.int64), []
    kept: list[int] = []
    at_once = predictor.batch_size
    for start in tqdm(range(0, len(said), at_once), unit="photo", unit_scale=at_once, mininterval=5):
        images = {}  # by their rows
        for row, (photograph, found) in enumerate(said[start : start + at_once], start):
            try:
                images[row] = decode_file(photograph.path).image
            except PhotoError as error:
                click.echo(f"Left out: {photograph.path}: {error}", err=True)
                continue
            named.append(found)
        described = predictor.describe(list(images.values()), max_regions=MAX_REGIONS)
        for row, regions in zip(images, described, strict=True):
            embeddings[row, : len(regions.boxes)] = torch.from_numpy(regions.embeddings)
            counts[row] = len(regions.boxes)
        kept += images
    if not kept:
        raise DatasetError("No term is said of any of these photographs.")
    shows = np.zeros((len(kept), len(terms)), bool)
    for place, found in zip(shows, named, strict=True):
        place[sorted(found)] = True
    return ShownRegions(embeddings[kept], counts[kept], shows)


def fit_terms(shown: Sequence[ShownRegions], terms: Terms, encoder: Predictor) -> TermVectors:
    """The vectors of the terms that enough photographs show, with all forms that ask for the term and no other."""
    known, vectors = fit_term_vectors(shown, encoder.encode_phrases([forms[0] for forms in terms.forms]))
    forms = [tuple(dict.fromkeys(form for form in terms.forms[term] if terms.exactly(form) == term)) for term in known]
    asked = [place for place, its_forms in enumerate(forms) if its_forms]
    return TermVectors(tuple(forms[place] for place in asked), vectors[asked])


if __name__ == "__main__":
    main()
