"""The first photograph of each of the first questions, whatever it is, with its boxes, on one sheet.

\b
    python -m scripts.evaluate.drawn_hits SHEET.png --photos PHOTOS --annotations VAL --first 10

Which questions: the first ones of `questions.json`, as `scripts.evaluate.questions` reads them. Below each photograph
stands whether it answers by what is known of it. --mosaic draws photographs that may not be shown as so many coloured
fields a row; boxes, phrases and probabilities are the same.
"""

import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from PIL import Image

from commands.text import counted
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from scripts.evaluate.command import collection_options, errors_as_sentences
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledCollection, labelled_collection
from scripts.evaluate.questions import Question, find_answers, read_questions
from search import drawing
from search.drawing.photo import open_photo
from search.hits import Hit
from search.searcher import Searcher


@click.command(help=__doc__)
@click.argument("sheet", type=click.Path(dir_okay=False, path_type=Path))
@collection_options
@click.option("--first", "count", type=click.IntRange(1, drawing.MAX_DRAWN), default=10, show_default=True)
@click.option("--mosaic", type=click.IntRange(4), metavar="N", help="N fields a row in place of the photographs.")
def main(sheet: Path, photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None,
         max_regions: int, as_json: bool, count: int, mosaic: int | None) -> None:  # fmt: skip
    with errors_as_sentences():
        drawing.check_target(sheet)
        questions = read_questions(annotations / "questions.json")[:count]
        listed = any(question.answers is not None for question in questions)
        photographs = load_annotations(photos, annotations, unlabelled=listed)
        predictor = Predictor.load(weights, device=device)
        with (
            labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled,
            tempfile.TemporaryDirectory() as folder,
        ):
            searcher = Searcher(labelled.collection, predictor)
            hits = first_hits(questions, searcher, labelled, Path(folder), mosaic)
            if not hits:
                raise EvaluationError(f"{annotations / 'questions.json'} asks nothing that finds a photograph.")
            answer = replace(
                searcher.search([questions[0].text], k=1),
                query=[f"The first photograph of each of {len(hits)} questions"],
                hits=hits,
            )
            target = sheet.absolute()
            with contextlib.chdir(folder):
                drawing.write_png(drawing.draw_hits(answer), target)
    click.echo(f"Drew {counted(len(hits), 'photograph')}: {sheet}")


def first_hits(
    questions: Sequence[Question], searcher: Searcher, labelled: LabelledCollection, folder: Path, mosaic: int | None
) -> list[Hit]:
    """The best hit of each question; its path, that of a file in the folder, says whether it answers."""
    found = []
    for number, question in enumerate(questions, 1):
        for hit in searcher.search([question.text], k=1).hits:
            right = hit.photo_id in find_answers(question, labelled.photos)
            name = f"{question.text.replace('/', ' ')}: {'right' if right else 'not a known answer'}"
            if mosaic is None:
                (folder / name).symlink_to(hit.path.resolve())
            else:
                draw_mosaic(hit, mosaic).save(folder / name, "PNG")
            found.append(replace(hit, rank=number, path=Path(name)))
    return found


def draw_mosaic(hit: Hit, fields: int) -> Image.Image:
    """A hit's photograph as coloured fields, so many a row, in its own size."""
    photo = open_photo(hit.path, (hit.width, hit.height), side=max(hit.width, hit.height)).image
    rows = max(1, round(fields * hit.height / hit.width))
    fine = photo.resize((fields, rows), Image.Resampling.BOX)
    return fine.resize((hit.width, hit.height), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
