"""Turn the official files of Flickr30k Entities into Visual Genome's format, which scripts.train reads.

\b
    python -m scripts.data.flickr30k_entities --entities flickr30k_entities --out data/train --ids train.txt

The folder of --entities holds `Annotations/*.xml` (boxes) and `Sentences/*.txt` (five captions each, their phrases
marked), as https://github.com/BryanPlummer/flickr30k_entities publishes them. A chain, Flickr30k's word for the phrases
that name the same thing, becomes a region for each of its boxes and phrases. Phrases without a box (scenes, and things
that cannot be seen) are left out.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import click
from tqdm import tqdm

from fcln.errors import DatasetError, FclnError
from scripts.data.visual_genome_format import AnnotatedImage, write_annotations

# [/EN#18/people A child], with one or more types; chain 0 is "not visual".
_MARKED = re.compile(r"\[/EN#(\d+)(?:/\w+)+ ([^\]]+)\]")
_NOT_VISUAL = 0

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.option("--entities", type=_FOLDER, required=True, help="Folder of Annotations and Sentences.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--ids",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the images of this file, an id a line: the data set's train.txt, val.txt or test.txt.",
)
def main(entities: Path, out: Path, ids: Path | None) -> None:
    try:
        wanted = read_ids(ids) if ids else None
        images = list(tqdm(read_entities(entities, wanted), desc="images", mininterval=2))
    except FclnError as error:
        raise click.ClickException(str(error)) from error
    write_annotations(out, images)
    click.echo(f"{out}: {len(images)} images, {sum(len(image.regions) for image in images)} regions")


def read_ids(path: Path) -> set[int]:
    """The image ids of a text file, one a line. Raises DatasetError if a line is something else."""
    try:
        return {int(line) for line in path.read_text(encoding="utf-8").split()}
    except ValueError as error:
        raise DatasetError(f"{path} should hold an image id a line ({error}).") from error


def read_entities(folder: Path, wanted: set[int] | None = None) -> Iterator[AnnotatedImage]:
    """The images of a folder of `Annotations` and `Sentences`, in the order of their file names.

    wanted: only these. Region ids count from 1 through all of them. Raises DatasetError if a file is missing or
    malformed, or there is none.
    """
    annotations = sorted(
        path
        for path in (folder / "Annotations").glob("*.xml")
        if path.stem.isdecimal() and (wanted is None or int(path.stem) in wanted)
    )
    if not annotations:
        raise DatasetError(f"{folder / 'Annotations'} holds none of the .xml files that are wanted.")
    region_id = 0
    for annotation in annotations:
        width, height, boxes = read_boxes(annotation)
        captions, phrases = read_sentences(folder / "Sentences" / f"{annotation.stem}.txt")
        regions = []
        for chain, (x, y, w, h) in boxes:
            for phrase in (text for of_chain, text in phrases if of_chain == chain):
                region_id += 1
                region = {"region_id": region_id, "x": x, "y": y, "width": w, "height": h}
                regions.append({**region, "phrase": phrase, "chain": chain})
        image_id = int(annotation.stem)
        size = {"image_id": image_id, "width": width, "height": height}
        yield AnnotatedImage({**size, "url": None, "coco_id": None, "flickr_id": image_id}, regions, captions)


def read_boxes(path: Path) -> tuple[int, int, list[tuple[int, tuple[int, int, int, int]]]]:
    """Width and height of an image, and its boxes as (chain, (x, y, width, height)), chain by chain.

    The file counts pixels from 1 and names the last pixel inside; here pixels count from 0 and width is x2 - x1.
    Raises DatasetError.
    """
    boxes: dict[int, list[tuple[int, int, int, int]]] = {}
    try:
        root = ElementTree.parse(path).getroot()
        width, height = (_number(root, f"size/{side}") for side in ("width", "height"))
        for thing in root.iter("object"):
            box = thing.find("bndbox")
            if box is None:  # a scene, or marked as having no box
                continue
            x1, y1, x2, y2 = (_number(box, side) for side in ("xmin", "ymin", "xmax", "ymax"))
            for name in thing.iter("name"):  # several: chains that share the box
                boxes.setdefault(int(name.text or ""), []).append((x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1))
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f"{path} is not an annotation of Flickr30k Entities ({error}).") from error
    return width, height, [(chain, box) for chain, chain_boxes in boxes.items() for box in chain_boxes]


def _number(element: ElementTree.Element, name: str) -> int:
    text = element.findtext(name)
    if text is None:
        raise ValueError(f"no {name}")
    return int(text)


def read_sentences(path: Path) -> tuple[list[str], list[tuple[int, str]]]:
    """The plain captions of an image, and its marked phrases as (chain, phrase), both in the order of the file.

    Raises DatasetError if the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}).") from error
    captions = [_MARKED.sub(r"\2", line).strip() for line in lines if line.strip()]
    phrases = [(int(chain), phrase) for line in lines for chain, phrase in _MARKED.findall(line)]
    return captions, [(chain, phrase) for chain, phrase in phrases if chain != _NOT_VISUAL]


if __name__ == "__main__":
    main()
