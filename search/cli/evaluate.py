"""`search evaluate`: how well one's own questions are answered on one's own photographs."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import PathType, collection_option, device_option, weights_option
from commands.text import printable
from fcln.scoring import SCORINGS
from search.one_thread import compute_in_one_thread

if TYPE_CHECKING:
    from db.location import Location
    from search.evaluation.question_file import Line


@click.command()
@click.argument("questions", type=PathType(), metavar="QUESTIONS.jsonl")
@click.option("--scoring", type=click.Choice(SCORINGS), help="As of `search query`.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document, with every question, the worst first.")
@click.option(
    "--html",
    type=PathType(),
    metavar="FILE.html",
    help="Also write a page of the questions answered worst: what answers, and what came first instead.",
)
@click.option("--draw", type=PathType(), metavar="FILE.png", help="The same as a picture.")
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="How many of the questions answered worst are shown.",
)
@collection_option
@weights_option
@device_option
def evaluate(
    questions: Path,
    scoring: str | None,
    as_json: bool,
    html: Path | None,
    draw: Path | None,
    worst: int,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Measure how well the questions of a file are answered on your photographs.

    A line of QUESTIONS.jsonl is a phrase, a photograph of the collection that answers it and, if you like, where in it:
    x, y, width, height in pixels of the upright photograph.

    \b
      {"phrase": "a dog on a couch", "photograph": "2019/IMG_2034.jpg", "box": [412, 530, 610, 388]}

    A phrase that several photographs answer has a line for each. A photograph is named by its path, from the folder of
    the file or from where you are or from a folder that was built; its file name alone does if only one has it.

    Every photograph is ranked for every question, which takes 2 KB of memory a region. recall@k is the share of
    questions with a right photograph among the first k; the rank is that of the first right one; AP (average precision)
    counts all of them; localization is the share of labelled boxes that the box found overlaps by half (IoU of at least
    0.5). In brackets: intervals of 95 %, what other questions of this kind would give. Copies of a photograph count
    once.

    \b
    Examples:
      search evaluate questions.jsonl
      search evaluate questions.jsonl --html worst.html --worst 20
      search evaluate questions.jsonl --json --collection work/

    Exit status: 0 measured, 2 an error, or no question could be asked, 130 interrupted.
    """
    compute_in_one_thread()
    with plain_errors():
        from db.collection import open_collection
        from db.location import default_collection
        from fcln.phrase_model import PhraseModel
        from search.errors import EvaluationError
        from search.evaluation import judge, question_file, report
        from search.searcher import Searcher

        lines = question_file.read_lines(questions)
        if html is not None:
            from search.web_page import check_page

            check_page(html)
        if draw is not None:
            from search import drawing

            drawing.check_target(draw)
        with open_collection(collection or default_collection()) as opened:
            matched = question_file.match(lines, opened, questions.absolute().parent)
            _tell_missing(matched.missing)
            if not matched.questions:
                where = printable(str(opened.location))
                raise EvaluationError(f"{where} has none of the photographs that {printable(questions)} names.")
            searcher = Searcher(opened, PhraseModel.load(weights, device=device))
            hidden = not sys.stderr.isatty() or len(matched.questions) < 10
            bar = {"label": "Asking", "file": sys.stderr, "hidden": hidden}
            with click.progressbar(matched.questions, **bar) as watched:  # type: ignore[arg-type]
                found = judge.evaluate(searcher, opened, matched.questions, scoring=scoring, progress=lambda _: watched)
            for phrase, reason in found.refused.items():
                click.echo(f"Left out {printable(phrase)}: {reason}", err=True)
            text = report.as_json(found, matched.missing, opened) if as_json else report.as_table(found, worst)
            click.echo(text)
            if html is not None and worst:
                from search.web_page import write_page

                write_page(report.worst_page(found, opened, searcher, worst), html)
                click.echo(f"Wrote a page of the worst: {printable(html)}", err=True)
            if draw is not None and worst:
                drawing.write_png(report.draw_worst(found, opened, searcher, worst), draw)
                click.echo(f"Drew the worst: {printable(draw)}", err=True)
        return 0


def _tell_missing(missing: "list[Line]") -> None:
    if missing:
        named = printable(os.fspath(missing[0].photograph))
        others = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        click.echo(f"Left out line {missing[0].number}{others}: the collection has no photograph {named}.", err=True)
