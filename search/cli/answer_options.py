"""The options that `search query`, `search like` and `search detect` have in common."""

from collections.abc import Callable

import click

from commands.options import PathType, collection_option, device_option, weights_option, with_options
from search.cli.delivery import delivery_options
from search.cli.filters import filter_options, sort_option
from search.cli.options import as_typed_option, fold_option, form_options

Command = Callable[..., int]


def answer_options(*, draw: str, metavar: str = "FILE.png") -> Callable[[Command], Command]:
    """How words are read, what may answer, how an answer is printed, drawn and taken along, and what is asked.

    draw, metavar: of --draw.
    """
    return with_options(
        as_typed_option,
        filter_options,
        sort_option,
        form_options,
        fold_option,
        click.option("--draw", type=PathType(), metavar=metavar, help=draw),
        delivery_options,
        collection_option,
        weights_option,
        device_option,
    )
