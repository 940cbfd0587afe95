"""`search describe`: photographs -> all of their regions, each with what the network wrote about it."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import PathType, collection_option, device_option, weights_option
from commands.text import printable
from search import output
from search.arguments import find_photos
from search.errors import DetectError, DrawError

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location
    from search.file_description import Unreadable
    from search.hits import DescribedPhoto

# Regions in a picture, if nothing is said: more cover the photograph.
_DRAWN = 20


class _DrawingCommand(click.Command):
    """A command whose --draw takes the next argument for its value only if that is the name of a picture to make."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--draw" in args and not self._names_a_target(args[args.index("--draw") + 1 :]):
            args = [f"{argument}=" if argument == "--draw" else argument for argument in args]
        return super().parse_args(ctx, args)

    @staticmethod
    def _names_a_target(following: Sequence[str]) -> bool:
        if not following or following[0].startswith("-"):
            return False
        target = Path(following[0])
        if target.suffix.lower() != ".png":
            return target.is_dir() or following[0].endswith("/")
        from search import drawing

        return target.is_dir() or not drawing.is_foreign(target)


@click.command(cls=_DrawingCommand)
@click.argument("places", nargs=-1, required=True, type=PathType(), metavar="PHOTO...")
@click.option(
    "--regions",
    "count",
    type=click.IntRange(min=1),
    metavar="N",
    help="The N surest regions of each photograph. Default: all; in a picture those with a confidence of at least "
    f"{output.LEAST_SURE}, {_DRAWN} at most.",
)
@click.option(
    "--draw",
    metavar="[FILE.png|FOLDER]",
    help="Also draw each photograph with the boxes and phrases of its regions. Without a name: "
    "<photograph>.regions.png in the folder you are in.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document: photographs, regions.")
@collection_option
@weights_option
@device_option
def describe(
    places: tuple[Path, ...],
    count: int | None,
    draw: str | None,
    as_json: bool,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Tell everything that the network sees in PHOTOs: boxes, a phrase for each, and how sure it is of both.

    PHOTOs are files or folders. What is in the collection is told from there, at once; other photographs are looked at
    on the spot and nothing is kept. With --weights, all are looked at.

    Boxes are x, y, width, height in pixels of the upright photograph (as a viewer shows it), counted from the top left
    corner.

    \b
    Examples:
      search describe photo.jpg
      search describe photo.jpg --draw
      search describe holiday/ --draw pictures/ --regions 10
      search describe photo.jpg --json

    Exit status: 0 described, 2 an error, or no photograph could be read (single ones that cannot are named and
    skipped), 130 interrupted.
    """
    with plain_errors():
        photos = find_photos(places)
        if not photos:
            raise DetectError(f"There is no photograph in {', '.join(map(printable, places))}.")
        targets = _targets(draw, photos) if draw is not None else {}
        described, unreadable = _describe(photos, collection, weights, device, count)
        told = [f"{output.shown(file.path)}: {printable(file.reason)}" for file in unreadable]
        if len(photos) == 1 and told:
            raise DetectError(f"The photograph could not be read: {told[0]}.")
        for line in told:
            click.echo(f"Skipped {line}", err=True)
        if not described:
            raise DetectError("No photograph could be read.")
        if as_json:
            click.echo(output.descriptions_as_json(described, unreadable, count), nl=False)
        else:
            text = output.descriptions_as_table(described, count, encoding=sys.stdout.encoding)
            click.echo(text, nl=False)
        if targets:
            _draw(described, targets, count)
        return 0


def _describe(
    photos: Sequence[Path], location: "Location | None", weights: Path | None, device: str, count: int | None
) -> "tuple[list[DescribedPhoto], list[Unreadable]]":
    from search.file_description import MAX_REGIONS, Describer, Unreadable, describe_photos

    def load() -> Describer:
        from fcln.predictor import Predictor

        return Predictor.load(weights, device=device)

    def progress(others: Sequence[Path]) -> "AbstractContextManager[Iterable[Path]]":
        hidden = len(others) == 1 or not sys.stderr.isatty()
        return click.progressbar(others, label="Looking", file=sys.stderr, hidden=hidden)

    unreadable: list[Unreadable] = []
    most = max(count or 0, MAX_REGIONS)
    with ExitStack() as stack:
        opened = None if weights else _open(location)
        if opened is not None:
            stack.enter_context(opened)
        found = describe_photos(photos, opened, load, unreadable, max_regions=most, progress=progress)
    return found, unreadable


def _open(location: "Location | None") -> "Collection | None":
    """The collection, if there is one. The default one need not be there, nor in order, to look at a photograph."""
    from db.collection import open_collection
    from db.errors import CollectionMissing, DbError
    from db.location import default_collection

    if location is not None:
        return open_collection(location)
    try:
        return open_collection(default_collection())
    except CollectionMissing:
        return None
    except DbError as error:
        click.echo(f"Note: {error} The photographs are looked at again.", err=True)
        return None


def _targets(draw: str, photos: Sequence[Path]) -> dict[Path, Path]:
    """Photograph -> the picture to be made of it. Raises DrawError if one cannot be written."""
    from search import drawing

    if draw and Path(draw).suffix.lower() == ".png" and not Path(draw).is_dir():
        if len(photos) > 1:
            what = f"{len(photos)} photographs are drawn into a folder"
            raise DrawError(f"{what}: --draw FOLDER/, not {printable(draw)}.")
        drawing.check_target(Path(draw))
        return {photos[0].absolute(): Path(draw)}
    folder = Path(draw)  # "": where we are
    if draw:
        drawing.check_folder(folder)
    targets = drawing.free_targets(photos, folder, ".regions.png", keep=photos)
    return {photo.absolute(): target for photo, target in zip(photos, targets, strict=True)}


def _draw(described: "Sequence[DescribedPhoto]", targets: dict[Path, Path], count: int | None) -> None:
    from search import drawing

    for photo in described:
        target = targets[photo.path]
        sure = sum(confidence >= output.LEAST_SURE for _, confidence in photo.surest(_DRAWN))
        drawn, there = min(count or max(sure, 1), len(photo.phrases)), len(photo.phrases)
        drawing.write_png(drawing.draw_described(photo, drawn), target)
        more = f" (--regions {there} draws all)" if drawn < there else ""
        click.echo(f"Drew {drawn} of {there} regions{more}: {printable(target)}", err=True)
