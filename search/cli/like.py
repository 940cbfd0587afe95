"""`search like`: a photograph, or a part of one -> photographs that are like it, and where in them."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.errors import plain_errors
from commands.text import printable
from search import output
from search.cli.answer_options import answer_options
from search.cli.answers import WRITERS, show_answer, tell_excluded
from search.cli.delivery import Delivery, draw_sheet
from search.cli.filters import tell_selection
from search.one_thread import compute_in_one_thread

if TYPE_CHECKING:
    from db.location import Location
    from fcln.predictor import Predictor
    from search.example import Example
    from search.filters import Filters
    from search.hits import Sort

# A phrase after a photograph is often begun as one says it: "and a red car".
_AND = re.compile(r"(?:and|with|but with)\s+", re.IGNORECASE)
# A region that overlaps the box asked for by less is told.
_POOR_OVERLAP = 0.5


class _BoxType(click.ParamType):
    """X,Y,WIDTH,HEIGHT as x1 y1 x2 y2."""

    name = "box"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float, float]:
        try:
            x, y, width, height = map(float, str(value).split(","))
        except ValueError:
            x = y = width = height = 0
        if not (width > 0 and height > 0):
            self.fail(f"{value} is no box: x, y, width and height in pixels, as in 120,80,200,150.", param, ctx)
        return x, y, x + width, y + height


@click.command()
@click.argument("words", nargs=-1, metavar="[PHOTO] [PHRASE]...")
@click.option(
    "--box",
    type=_BoxType(),
    metavar="X,Y,W,H",
    help="The part of the photograph that is meant, in pixels of the upright photograph. Default: all of it.",
)
@click.option(
    "--photo-id",
    type=click.IntRange(min=1),
    metavar="ID",
    help="A photograph of the collection, in PHOTO's place; `search describe PHOTO --json` tells its id.",
)
@click.option("-k", "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Photographs to find.")
@click.option(
    "--not", "excluded", multiple=True, metavar="PHRASE", help="Leave out photographs that show this; as in `query`."
)
@answer_options(draw="Also draw the best photographs with the boxes that are alike.")
def like(
    words: tuple[str, ...],
    box: tuple[float, float, float, float] | None,
    photo_id: int | None,
    top: int,
    excluded: tuple[str, ...],
    as_typed: bool,
    filters: "Filters | None",
    sort: "Sort",
    fold_similar: bool,
    form: str | None,
    draw: Path | None,
    delivery: Delivery,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Find the photographs that are like PHOTO, or like a part of it, and where in them.

    PHOTO need not be in the collection. Without --box all of it is meant: its main regions, each compared with the most
    similar region of every photograph. A PHRASE counts as much as the photograph. PHOTO itself and its copies are not
    among the answers.

    A score is a cosine similarity, at most 1. Boxes are x, y, width, height in pixels of the upright photograph.

    \b
    Examples:
      search like beach.jpg
      search like street.jpg --box 120,80,200,150 -k 20 --draw cars.png
      search like sofa.jpg "and a dog" --under ~/Pictures/2024
      search like --photo-id 17 --json

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted.
    """
    if photo_id is None and not words:
        raise click.UsageError("Name a photograph, as in `search like photo.jpg`, or give --photo-id.")
    path = Path(os.path.expanduser(words[0])) if photo_id is None else None
    phrases = [_AND.sub("", phrase, count=1) if _AND.match(phrase) else phrase for phrase in words[path is not None :]]
    compute_in_one_thread()
    with plain_errors():
        from db.collection import open_collection
        from db.location import default_collection
        from fcln.phrase_model import PhraseModel
        from search.example import find_example
        from search.model import require_same_checkpoint
        from search.searcher import Searcher

        if draw is not None:
            from search import drawing

            drawing.check_target(draw)
        delivery.check()
        network: list[Predictor] = []

        def load() -> "Predictor":
            from fcln.predictor import Predictor

            network.append(Predictor.load(weights, device=device))
            require_same_checkpoint(opened, network[0])
            return network[0]

        with open_collection(collection or default_collection()) as opened:
            roots = list(opened.roots().values())
            example = find_example(opened, load, path=path, photo_id=photo_id, box=box)
            model: PhraseModel | Predictor = network[0] if network else PhraseModel.load(weights, device=device)
            answer = Searcher(opened, model).like(
                example,
                phrases,
                k=top,
                excluded=excluded,
                as_typed=as_typed,
                fold_similar=fold_similar,
                filters=filters,
                sort=sort,
            )
        _tell_overlap(example)
        show_answer(answer, form, WRITERS, roots)
        tell_excluded(answer)
        if answer.selection is not None and not tell_selection(answer.selection, opened.location):
            return 1
        if not answer.hits:
            where = printable(str(opened.location))
            click.echo(f"Nothing found: {where} holds no other photograph that may answer.", err=True)
            return 1
        if draw is not None:
            draw_sheet(answer, draw)
        delivery.deliver(answer, drawn=draw)
        return 0


def _tell_overlap(example: "Example") -> None:
    """Say if the region taken for the box is hardly it."""
    if example.overlap is not None and example.overlap < _POOR_OVERLAP:
        click.echo(
            f"Note: of {output.shown(example.path)} the collection knows no region like that box; "
            f"taken is the closest one, which overlaps it by {example.overlap:.0%}.",
            err=True,
        )
