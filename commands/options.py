"""Options that both programs have."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable)

# The same name as `db.location` has, which is not imported for `--help`.
ROOTS_VARIABLE = "DENSECAP_SEARCH_ROOT_AS"

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}

version_option = click.version_option(
    package_name="densecap-search", message="%(package)s %(version)s", help="Show name and version."
)


class PathType(click.Path):
    """A Path. "" is none, though Path() is the folder that one is in: `indexer remove "$NOT_SET"` forgets nothing."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if value == "":
            self.fail('"" names no file and no folder; "." is the folder that you are in.', parameter, context)
        return super().convert(value, parameter, context)


class LocationType(PathType):
    """A folder as a Path; the URL of a server as it was typed."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return value if "://" in os.fspath(value) else super().convert(value, parameter, context)


class NumberType(click.FloatRange):
    """A number in a range; "nan" is none, though it is not outside of it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, parameter, context)
        if number != number:
            self.fail(f"{value} is no number.", parameter, context)
        return number


_collection_option = click.option(
    "--collection",
    type=LocationType(),
    metavar="PATH|URL",
    help="The folder that holds the collection, or a server (postgresql://user@host/database?schema=name). Default: "
    "$DENSECAP_SEARCH_COLLECTION, or a folder in your data folder (`indexer status` prints it).",
)


def _remember_roots(context: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    """Whoever opens the collection reads them from the environment, other processes too."""
    if value:
        os.environ[ROOTS_VARIABLE] = os.pathsep.join(value)


_root_as_option = click.option(
    "--root-as",
    multiple=True,
    metavar="NAME=PATH",
    expose_value=False,
    callback=_remember_roots,
    help="On a server: where a folder of photographs is on this computer, by its name or path in `indexer status`. "
    "Repeatable. Default: $DENSECAP_SEARCH_ROOT_AS.",
)


def collection_option(command: Command) -> Command:
    """--collection, and what belongs to it."""
    return _collection_option(_root_as_option(command))


weights_option = click.option(
    "--weights",
    type=PathType(),
    metavar="FILE",
    help="The network's weights, if not those that come with the program. A collection is searched with the weights "
    "that described it.",
)
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network runs; auto: on the GPU if there is one.",
)


def with_options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, shown by --help in the order given."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
