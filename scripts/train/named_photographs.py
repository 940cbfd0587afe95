"""Photographs with the terms that are said of them (`scripts.data.terms`), as what is fitted in one go needs them."""

from collections.abc import Iterator, Sequence

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from decoding.errors import PhotoError
from decoding.files import decode_file
from fcln.errors import DatasetError
from fcln.training.annotations import AnnotatedImage
from fcln.training.terms import Terms


def decode_named(
    photographs: Sequence[AnnotatedImage], terms: Terms, *, at_once: int
) -> Iterator[tuple[list[Image.Image], list[set[int]]]]:
    """Those of which a term is said, decoded, and their terms: from at most `at_once` photographs at a time.

    Shows progress, and says which files cannot be decoded.
    """
    for start in tqdm(range(0, len(photographs), at_once), unit="photo", unit_scale=at_once, mininterval=5):
        images, said = [], []
        for photograph in photographs[start : start + at_once]:
            found = terms_of(photograph, terms)
            if not found:
                continue
            try:
                images.append(decode_file(photograph.path).image)
            except PhotoError as error:
                click.echo(f"Left out: {photograph.path}: {error}", err=True)
                continue
            said.append(found)
        yield images, said


def terms_of(photograph: AnnotatedImage, terms: Terms) -> set[int]:
    """The terms of a photograph's names and of its regions' phrases, and what is broader than they."""
    found = set(terms.of_image.get(photograph.image_id, []))
    for phrases in photograph.phrases:
        found.update(term for term in map(terms.of_phrase, phrases) if term is not None)
    return terms.closure(found)


def shown_terms(said: Sequence[set[int]], terms: Terms) -> np.ndarray:
    """Which of T terms each of P photographs shows: (P, T) bool. Raises DatasetError if there is no photograph."""
    if not said:
        raise DatasetError("No term is said of any of these photographs.")
    rows = np.zeros((len(said), len(terms)), bool)
    for row, found in zip(rows, said, strict=True):
        row[sorted(found)] = True
    return rows
