"""Filter Visual Genome's published files as the paper does, and split them into train, val and test.

\b
    python -m scripts.data.visual_genome --annotations visual_genome --out data --splits densecap_splits.json

The folder of --annotations holds `image_data.json` and `region_descriptions.json` of any version. The filters (paper 4,
"Dataset, Preprocessing"; each has an option): openers such as "there is" are cut off phrases, phrases of more than 10
words are dropped, then images with fewer than 20 or more than 50 phrases. `densecap_splits.json`
({"train": [ids], "val": [ids], "test": [ids]}) comes with the authors' code
(https://github.com/jcjohnson/densecap/blob/master/info/densecap_splits.json); without it, images are dealt at random.
Words that are rare are left to training (`scripts.train --min-count 15`).
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fcln.errors import DatasetError, FclnError, in_words
from fcln.vocabulary import words_of
from scripts.data.visual_genome_format import AnnotatedImage, write_annotations

SPLITS = ("train", "val", "test")

# The paper names "there is" and "this seems to be"; the same said of several things, of "it" and "that", and in the
# verbs' other forms. "there is no" is kept: without it the phrase would say the opposite.
_OPENER = re.compile(
    r"^\s*(?:there|this|that|these|those|it|they)"
    r"(?:\s+(?:is|are|was|were)|['’]s|['’]re|\s+(?:seems?|appears?|looks?)\s+to\s+be)\b\s*(?!no\b|not\b)(?=\S)",
    re.IGNORECASE,
)

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Filters:
    """What is left out (paper 4); None switches a limit off."""

    cut_openers: bool = True
    max_words: int | None = 10
    min_regions: int | None = 20
    max_regions: int | None = 50


@click.command(help=__doc__)
@click.option("--annotations", type=_FOLDER, required=True, help="Folder of image_data.json, region_descriptions.json.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Gets train, val, test.")
@click.option(
    "--splits", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Ids of each split; else at random."
)
@click.option("--val-images", default=5000, show_default=True, help="Images of val, if they are dealt at random.")
@click.option("--test-images", default=5000, show_default=True, help="Images of test, if they are dealt at random.")
@click.option("--seed", default=1, show_default=True, help="Of dealing at random.")
@click.option("--cut-openers/--keep-openers", default=True, show_default=True)
@click.option("--max-words", default=10, show_default=True, help="Longest phrase; 0: any length.")
@click.option("--min-regions", default=20, show_default=True, help="Fewest phrases of an image; 0: any number.")
@click.option("--max-regions", default=50, show_default=True, help="Most phrases of an image; 0: any number.")
def main(annotations: Path, out: Path, splits: Path | None, val_images: int, test_images: int, seed: int,
         cut_openers: bool, max_words: int, min_regions: int, max_regions: int) -> None:  # fmt: skip
    filters = Filters(cut_openers, max_words or None, min_regions or None, max_regions or None)
    try:
        images = read_visual_genome(annotations)
        kept = [image for image in (filter_phrases(image, filters) for image in images) if is_kept(image, filters)]
        click.echo(
            f"{len(kept)} of {len(images)} images and {_regions(kept)} of {_regions(images)} regions pass the filters",
            err=True,
        )
        if splits:
            parts = split_by_ids(kept, read_splits(splits))
        else:
            parts = split_at_random(kept, val_images, test_images, seed)
    except FclnError as error:
        raise click.ClickException(str(error)) from error
    for name, part in parts.items():
        write_annotations(out / name, part)
        click.echo(f"{out / name}: {len(part)} images, {_regions(part)} regions")


def _regions(images: Sequence[AnnotatedImage]) -> int:
    return sum(len(image.regions) for image in images)


def read_visual_genome(folder: Path) -> list[AnnotatedImage]:
    """All images of image_data.json, keys named as in the newest version. Raises DatasetError."""
    try:
        regions = {
            _image_id(entry): [_renamed(region) for region in entry["regions"]]
            for entry in _read(folder / "region_descriptions.json")
        }
        return [
            AnnotatedImage({"image_id": _image_id(entry), **_without_id(entry)}, regions.get(_image_id(entry), []))
            for entry in _read(folder / "image_data.json")
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder} is not in Visual Genome's format (an entry lacks {error}).") from error


def _image_id(entry: dict) -> int:
    """Visual Genome has called it both names, by file and by version."""
    return entry["image_id"] if "image_id" in entry else entry["id"]


def _without_id(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key not in ("id", "image_id")}


def _renamed(region: dict) -> dict:
    """A region with the keys of the newest version: version 1.0 said `id` and `image`."""
    identity = region["region_id"] if "region_id" in region else region["id"]
    return {"region_id": identity, **{key: region[key] for key in ("x", "y", "width", "height", "phrase")}}


def _read(path: Path) -> list[dict]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not readable JSON ({error}).") from error


def cut_opener(phrase: str) -> str:
    """Take "there is" and the like off a phrase: "There is a dog" -> "a dog"."""
    return _OPENER.sub("", phrase, count=1).strip()


def filter_phrases(image: AnnotatedImage, filters: Filters) -> AnnotatedImage:
    """The image with openers cut off its phrases, and without the phrases that are too long or hold no word."""
    regions = []
    for region in image.regions:
        phrase = cut_opener(region["phrase"]) if filters.cut_openers else region["phrase"].strip()
        words = len(words_of(phrase))
        if words and (filters.max_words is None or words <= filters.max_words):
            # Visual Genome has 5.4 million regions: one that stays as it is is not copied.
            regions.append(region if phrase == region["phrase"] else {**region, "phrase": phrase})
    return replace(image, regions=regions)


def is_kept(image: AnnotatedImage, filters: Filters) -> bool:
    """Whether the image has neither too few nor too many phrases."""
    count = len(image.regions)
    enough = filters.min_regions is None or count >= filters.min_regions
    return enough and (filters.max_regions is None or count <= filters.max_regions)


def read_splits(path: Path) -> dict[str, set[int]]:
    """Image ids of train, val and test. Raises DatasetError if the file says something else, or an image is in two."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        splits = {name: {int(image_id) for image_id in document[name]} for name in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} does not list the image ids of train, val and test ({in_words(error)}).") from error
    if sum(map(len, splits.values())) != len(set().union(*splits.values())):
        raise DatasetError(f"{path} has an image in two splits.")
    return splits


def split_by_ids(images: Sequence[AnnotatedImage], ids: Mapping[str, set[int]]) -> dict[str, list[AnnotatedImage]]:
    """The images of each split, in their order; images in none are left out."""
    return {name: [image for image in images if image.image_id in ids[name]] for name in SPLITS}


def split_at_random(
    images: Sequence[AnnotatedImage], val: int, test: int, seed: int
) -> dict[str, list[AnnotatedImage]]:
    """`val` and `test` images drawn with a fixed seed, the others in train; each in the order given.

    Raises DatasetError if nothing would be left to train on.
    """
    if val + test >= len(images):
        raise DatasetError(
            f"{len(images)} images are too few for {val} in val and {test} in test: "
            "lower --val-images and --test-images."
        )
    shuffled = sorted(image.image_id for image in images)
    random.Random(seed).shuffle(shuffled)
    ids = {"val": set(shuffled[:val]), "test": set(shuffled[val : val + test]), "train": set(shuffled[val + test :])}
    return split_by_ids(images, ids)


if __name__ == "__main__":
    main()
