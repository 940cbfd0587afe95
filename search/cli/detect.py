"""`search detect`: words -> boxes, in photographs given or in a collection."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.errors import plain_errors
from commands.many_values import ManyValuesCommand, ManyValuesOption
from commands.options import NumberType, PathType
from commands.text import printable
from search import output
from search.arguments import find_photos, has_photo_name, refuse_photos_among_phrases
from search.cli.answer_options import answer_options
from search.cli.answers import WRITERS, show_answer
from search.cli.delivery import Delivery, draw_sheet
from search.cli.filters import tell_selection
from search.errors import DetectError, DrawError
from search.one_thread import compute_in_one_thread

if TYPE_CHECKING:
    from db.location import Location
    from search.detector import Detections
    from search.filters import Filters
    from search.hits import Sort


@click.command(cls=ManyValuesCommand)
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option(
    "--in",
    "places",
    cls=ManyValuesOption,
    type=PathType(),
    metavar="PHOTO...",
    help="Photographs, or folders of them, to look at on the spot. Default: the collection.",
)
@click.option(
    "--threshold",
    type=NumberType(0, 1),
    metavar="P",
    help="The least confidence of a box, 0 to 1. Default: 0.25; over a collection 0.05, the best come first anyway.",
)
@click.option(
    "--prior",
    type=NumberType(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="The share of the photographs that you expect to show it. Default: 0.5; over a collection that of the "
    "labelled photographs which the confidence was fitted on, about 0.02.",
)
@click.option(
    "-k",
    "--top",
    type=click.IntRange(min=1),
    help="Photographs to show at most, the surest first. Default: all; over a collection 10.",
)
@answer_options(
    draw="Also draw the boxes: the best photographs on one sheet, or each of them into a folder.",
    metavar="FILE.png|FOLDER",
)
def detect(
    phrases: tuple[str, ...],
    places: tuple[Path, ...],
    threshold: float | None,
    prior: float | None,
    top: int | None,
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
    """Find where in photographs is what PHRASE, in English, names: boxes, each with a confidence.

    PHOTOs are files or folders; they are looked at on the spot and nothing is kept. Without any, the collection is
    searched. A photograph with a box for any PHRASE is shown.

    The confidence of a box is the probability that it overlaps (intersection over union at least 0.5) a thing that the
    phrase names. It depends on how many of the photographs show such a thing at all: see --prior.

    In a terminal the answer is a table; elsewhere one path a line. Boxes are x, y, width, height in pixels of the
    upright photograph (as a viewer shows it), counted from the top left corner.

    \b
    Examples:
      search detect "head of a dog" --in photo.jpg
      search detect "a red shirt" "a hat" --in photos/ --threshold 0.5 --json
      search detect "a dog" --in photos/*.jpg --draw drawn/
      search detect "a dog" -k 20 --draw dogs.png
      search detect "a dog" --after 2023 --max-area 20%
      search detect "a bicycle" --in photos/ --html bicycles.html

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, or no photograph could be read (single ones
    that cannot are named and skipped), 130 interrupted.
    """
    if not places:
        compute_in_one_thread()
    with plain_errors():
        refuse_photos_among_phrases(phrases, places)
        for phrase in map(printable, filter(os.path.exists, () if places else phrases)):
            click.echo(f"Note: {phrase} is read as words; `--in {phrase}` looks into what has that name.", err=True)
        if places and collection is not None:
            raise DetectError(
                f"Name photographs or a collection, not both: leave out --in {printable(places[0])}, or --collection."
            )
        if places and filters and not filters.of_regions_only:
            raise DetectError(
                "Photographs after --in are looked at as they are named: only --min-area and --max-area hold."
            )
        wanted: dict[str, Any] = {"threshold": threshold, "prior": prior, "k": top}
        options = {"as_typed": as_typed, **{name: value for name, value in wanted.items() if value is not None}}
        photos = find_photos(places)
        if places and not photos:
            raise DetectError(f"There is no photograph in {', '.join(map(printable, places))}.")
        _check_drawing(draw, photos)
        delivery.check()
        roots: list[Path] = []
        if photos:
            options["area"] = filters.area if filters else None
            answer = _detect_in_photos(phrases, photos, weights, device, options)
            looked_at = f"{answer.photographs} photograph{'s' if answer.photographs > 1 else ''}"
        else:
            from db.collection import open_collection
            from db.location import default_collection
            from fcln.phrase_model import PhraseModel
            from search.detector import Detector

            with open_collection(collection or default_collection()) as opened:
                roots = list(opened.roots().values())
                detector = Detector(PhraseModel.load(weights, device=device))
                options |= {"fold_similar": fold_similar, "filters": filters, "sort": sort}
                answer = detector.detect_in_collection(phrases, opened, **options)
            looked_at = printable(opened.location)
        show_answer(answer, form, {**WRITERS, "json": output.detections_as_json}, roots)
        if answer.selection is not None and not tell_selection(answer.selection, opened.location):
            return 1
        if not answer.hits:
            click.echo(f"Nothing found in {looked_at} with a {answer.scored}; --threshold lowers it.", err=True)
            return 1
        if draw is not None:
            _draw(answer, draw, photos)
        delivery.deliver(answer, drawn=draw)
        return 0


def _detect_in_photos(
    phrases: Sequence[str], photos: Sequence[Path], weights: Path | None, device: str, options: Mapping[str, Any]
) -> "Detections":
    """Detector.detect, its progress and the photographs that cannot be read shown.

    Raises DetectError if none can.
    """
    from fcln.predictor import Predictor
    from search.detector import Detector

    predictor = Predictor.load(weights, device=device)
    detector = Detector(predictor, describer=predictor)
    hidden = len(photos) == 1 or not sys.stderr.isatty()
    with click.progressbar(photos, label="Looking", file=sys.stderr, hidden=hidden) as watched:
        answer = detector.detect(phrases, watched, **options)
    told = [f"{output.shown(file.path)}: {printable(file.reason)}" for file in answer.unreadable]
    if len(photos) == 1 and told:
        raise DetectError(f"The photograph could not be read: {told[0]}.")
    for line in told:
        click.echo(f"Skipped {line}", err=True)
    if not answer.photographs:
        raise DetectError("No photograph could be read.")
    return answer


def _check_drawing(draw: Path | None, photos: Sequence[Path]) -> None:
    """Raise DrawError if the drawing cannot be written, or would overwrite a photograph."""
    from search import drawing

    if draw is None:
        return
    if draw.suffix.lower() != ".png" or draw.is_dir():
        if has_photo_name(draw) and not draw.is_dir():
            raise DrawError(f"A drawing is a PNG, or each in a folder: {printable(draw)} names neither.")
        drawing.check_folder(draw)
        return
    if draw.exists() and any(photo.exists() and draw.samefile(photo) for photo in photos):
        raise DrawError(f"The picture would overwrite the photograph {printable(draw)}.")
    drawing.check_target(draw)


def _draw(answer: "Detections", target: Path, photos: Sequence[Path]) -> None:
    from search import drawing

    if not target.is_dir():
        draw_sheet(answer, target)
        return
    drawing.draw_each(answer, target, photos)
    click.echo(f"Drew the best {len(answer.hits)} of {len(answer.hits)}: {printable(target)}", err=True)
