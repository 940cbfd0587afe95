"""Vectors of whole phrases and captions from a sentence-embedding teacher, for `scripts.train --teacher`. Run once.

\b
    python -m scripts.train.teacher_vectors runs/teacher.h5 --annotations TRAIN --terms runs/terms.json --text TEXT

The phrase encoder learns from photographs what their phrases look like, and from the teacher
(`sentence_teacher.py`) which phrases mean alike, words among them that no photograph here was described with. All
phrases and captions of the annotations are embedded, every term, and of the text folder all phrases and some captions.
At search time no teacher is needed.
"""

import json
import random
from pathlib import Path

import click

from fcln.errors import FclnError
from fcln.training.distillation import TeacherVectors, plain
from fcln.training.terms import Terms
from scripts.data.text_folder import captions, counted_phrases
from scripts.train.sentence_teacher import SentenceTeacher

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--annotations", type=_FOLDER, required=True, multiple=True,
    help="Folder of region_descriptions.json, captions.json; of several data sets, once for each.",
)  # fmt: skip
@click.option("--terms", type=_FILE, help="From scripts.data.terms: names of things, too.")
@click.option("--text", type=_FOLDER, help="Folder of phrases.tsv.gz and captions.txt.gz.")
@click.option("--captions", "count", default=20_000, show_default=True, help="How many of the text folder's captions.")
def main(out: Path, annotations: tuple[Path, ...], terms: Path | None, text: Path | None, count: int) -> None:
    texts = set().union(*map(_annotated, annotations))
    try:
        texts |= _asked_for(Terms(terms)) if terms else set()
    except FclnError as error:
        raise click.ClickException(str(error)) from error
    texts |= _more(text, count) if text else set()
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


def _asked_for(terms: Terms) -> set[str]:
    return {plain(form) for forms in terms.forms for form in forms}


def _more(text: Path, count: int) -> set[str]:
    texts = {plain(phrase) for phrase, _ in counted_phrases(text)}
    others = sorted({plain(caption) for caption in captions(text)})
    return texts | set(random.Random(0).sample(others, min(count, len(others)))) - {""}


if __name__ == "__main__":
    main()
