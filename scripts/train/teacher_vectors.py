"""Vectors of whole phrases and captions from a sentence-embedding teacher, for `scripts.train --teacher`. Run once.

    python -m scripts.train.teacher_vectors runs/teacher.h5 --annotations TRAIN --text TEXT

The phrase encoder learns from photographs what their phrases look like, and from the teacher
(`sentence_teacher.py`) which phrases mean alike, words among them that no photograph here was described with. All
phrases and captions of the annotations are embedded, and of the text folder all phrases and some captions. At search
time no teacher is needed.
"""

import json
import random
from pathlib import Path

import click

from fcln.training.distillation import TeacherVectors, plain
from scripts.data.text_folder import captions, counted_phrases
from scripts.train.sentence_teacher import SentenceTeacher

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--annotations", type=_FOLDER, required=True, help="Folder of region_descriptions.json, captions.json.")
@click.option("--text", type=_FOLDER, help="Folder of phrases.tsv.gz and captions.txt.gz.")
@click.option("--captions", "count", default=20_000, show_default=True, help="How many of the text folder's captions.")
def main(out: Path, annotations: Path, text: Path | None, count: int) -> None:
    texts = _annotated(annotations) | (_more(text, count) if text else set())
    ordered = sorted(texts)
    vectors = SentenceTeacher().embed(ordered)
    TeacherVectors.write(out, ordered, vectors)
    click.echo(f"{out}: {len(ordered)} phrases and captions, {vectors.shape[1]} numbers each")


def _annotated(annotations: Path) -> set[str]:
    regions = json.loads((annotations / "region_descriptions.json").read_text(encoding="utf-8"))
    texts = {plain(region["phrase"]) for image in regions for region in image["regions"]}
    captions = annotations / "captions.json"
    if captions.exists():
        described = json.loads(captions.read_text(encoding="utf-8"))
        texts |= {plain(caption) for image in described for caption in image["captions"]}
    objects = annotations / "objects.json"
    if objects.exists():
        weak = json.loads(objects.read_text(encoding="utf-8"))
        texts |= {plain(thing["name"]) for image in weak for thing in image["objects"]}
    return texts - {""}


def _more(text: Path, count: int) -> set[str]:
    texts = {plain(phrase) for phrase, _ in counted_phrases(text)}
    others = sorted({plain(caption) for caption in captions(text)})
    return texts | set(random.Random(0).sample(others, min(count, len(others)))) - {""}


if __name__ == "__main__":
    main()
