"""The options that say which photographs and regions may answer, and what there is to tell of them."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.next_commands import runnable
from commands.options import PathType, with_options
from commands.text import printable
from search.errors import FilterError

if TYPE_CHECKING:
    from db.location import Location
    from search.filters import Selection


class _Area(click.ParamType):
    """A share of a photograph: 0.05 or 5%."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            share = float(value[:-1]) / 100 if str(value).endswith("%") else float(value)
        except ValueError:
            share = -1
        if not 0 <= share <= 1:
            self.fail(f"{value} is no share of a photograph: 0.05 or 5% is a twentieth of it.", param, ctx)
        return share


class _Near(click.ParamType):
    """LAT,LON,KM."""

    name = "place"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, float]:
        try:
            latitude, longitude, km = map(float, str(value).split(","))
        except ValueError:
            self.fail(
                f"{value} is no place: degrees north, degrees east and kilometres, as in 52.52,13.40,10.", param, ctx
            )
        return latitude, longitude, km


_OPTIONS = (
    click.option(
        "--under",
        multiple=True,
        type=PathType(),
        metavar="DIR",
        help="Only photographs in this folder, or below. Given several times, as --camera and --format may be: one of "
        "them fits.",
    ),
    click.option("--here", is_flag=True, help="The same of the folder that you are in."),
    click.option("--camera", "cameras", multiple=True, metavar="WORDS", help='Words of make and model: "canon 5d".'),
    click.option(
        "--format",
        "formats",
        multiple=True,
        metavar="NAME",
        help="By file name: jpeg, png, heic, raw, tiff, ... or a suffix such as dng.",
    ),
    click.option("--after", metavar="DATE", help="Only taken on DATE or later: 2023, 2023-05, 2023-05-01."),
    click.option("--before", metavar="DATE", help="Only taken before DATE begins: --before 2024 is up to 2023."),
    click.option(
        "--orientation", type=click.Choice(["landscape", "portrait", "square"]), help="Only photographs of this shape."
    ),
    click.option(
        "--near", type=_Near(), metavar="LAT,LON,KM", help="Only taken within so many kilometres: 52.52,13.40,10."
    ),
    click.option(
        "--min-area",
        type=_Area(),
        metavar="SHARE",
        help="Only regions that cover at least this share of the photograph: 0.1 or 10%.",
    ),
    click.option("--max-area", type=_Area(), metavar="SHARE", help="Only regions that cover at most this share."),
)

sort_option = click.option(
    "--sort",
    type=click.Choice(["score", "date"]),
    default="score",
    show_default=True,
    help="The order of the photographs found; date: newest first.",
)


def filter_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options as one argument, `filters`: search.filters.Filters, None if none was given."""

    @functools.wraps(function)
    def with_filters(**values: Any) -> int:
        names = ("under", "cameras", "formats", "after", "before", "orientation", "near", "min_area", "max_area")
        given = {name: values.pop(name) for name in names}
        if values.pop("here"):
            given["under"] = (*given["under"], Path())
        filters = None
        if any(value is not None and value != () for value in given.values()):
            from search.filters import Filters  # imports numpy: `--help` is not to wait for it

            try:
                filters = Filters(**given)
            except FilterError as error:
                raise click.UsageError(str(error)) from error
            except OSError as error:
                raise click.UsageError("The folder that you are in is not there any more.") from error
        return function(filters=filters, **values)

    return with_options(*_OPTIONS)(with_filters)


def tell_selection(selection: "Selection", location: "Location") -> bool:
    """Note what filters leave out. False: they leave no photograph of a collection that holds some, which is said."""
    _tell_silent(selection)
    if not selection.photographs or selection.allowed:
        return True
    _tell_empty(selection, location)
    return False


def _tell_silent(selection: "Selection") -> None:
    """Note how many photographs are left out because they do not say what was asked."""
    for what, count in selection.silent.items():
        verb = "photographs tell" if count > 1 else "photograph tells"
        click.echo(f"Note: {count:,} {verb} no {what}, and {'are' if count > 1 else 'is'} left out.", err=True)
    if selection.unread:
        text = f"the headers of {selection.unread:,} of these were not read yet; `indexer build` reads them."
        click.echo(f"Note: {runnable(text)}", err=True)


def _tell_empty(selection: "Selection", location: "Location") -> None:
    """Say that no photograph may answer, and how many each condition would leave alone."""
    what = f"none of the {selection.photographs:,} photographs in {printable(str(location))}"
    said, *more = selection.alone
    if more:
        alone = ", ".join(f"{printable(said)} allows {count:,}" for said, count in selection.alone.items())
        click.echo(f"Nothing found: the filters together allow {what}; alone {alone}.", err=True)
    else:
        click.echo(f"Nothing found: the filter {printable(said)} allows {what}.", err=True)
