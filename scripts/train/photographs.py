"""The photographs of several data sets, as programs of training are given them."""

from collections.abc import Sequence
from pathlib import Path

import click

from fcln.training.annotations import AnnotatedImage, load_annotations


def read_photographs(
    photos: Sequence[Path], annotations: Sequence[Path], *, weak_labels: bool, names: bool
) -> list[AnnotatedImage]:
    """Of all pairs of folders together: see `read_sets`."""
    sets = read_sets(photos, annotations, weak_labels=weak_labels, names=names)
    return [photo for one in sets for photo in one]


def read_sets(
    photos: Sequence[Path], annotations: Sequence[Path], *, weak_labels: bool, names: bool
) -> list[list[AnnotatedImage]]:
    """Of each pair of folders, see `load_annotations`. Raises click.UsageError if they are no pairs."""
    if len(photos) != len(annotations):
        raise click.UsageError("--photos and --annotations belong together: each as often as the other.")
    return [load_annotations(*folders, weak_labels=weak_labels, names=names) for folders in zip(photos, annotations)]
