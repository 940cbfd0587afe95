"""What the evaluation programs have in common: options, errors in one sentence, a result as a table or as JSON."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from commands.errors import plain_errors
from commands.options import with_options
from fcln.scoring import SCORINGS
from scripts.evaluate.errors import EvaluationError
from scripts.options import device_option, json_option, weights_option

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

_NETWORK_OPTIONS = (
    click.option(
        "--photos", type=_FOLDER, required=True, help="Folder of <image_id>.jpg, or of VG_100K and VG_100K_2."
    ),
    click.option("--annotations", type=_FOLDER, required=True, help="Folder in Visual Genome's format."),
    weights_option,
    device_option,
    json_option,
)
_COLLECTION_OPTIONS = (
    click.option(
        "--collection",
        type=click.Path(path_type=Path),
        help="Keep the collection here and use it again; default: a temporary one.",
    ),
    click.option("--max-regions", type=click.IntRange(1), default=50, show_default=True, help="Of a photograph."),
)
_SCORING_OPTIONS = (
    click.option(
        "--scoring", type=click.Choice(SCORINGS), help="Default: the one that the weights name as their best."
    ),
    click.option(
        "--exact", is_flag=True, help="Let the language model judge every region, not only the closest ones (slow)."
    ),
)


def network_options(command: Callable[..., None]) -> Callable[..., None]:
    """Which photographs, which network, which form of result."""
    return with_options(*_NETWORK_OPTIONS)(command)


def collection_options(command: Callable[..., None]) -> Callable[..., None]:
    """The same, and what collection the photographs are indexed into."""
    return with_options(*_NETWORK_OPTIONS + _COLLECTION_OPTIONS)(command)


def scoring_options(command: Callable[..., None]) -> Callable[..., None]:
    """How regions are scored."""
    return with_options(*_SCORING_OPTIONS)(command)


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """What the packages refuse, as a usage error without a traceback."""
    with plain_errors(EvaluationError, failure=click.ClickException):
        yield


def show(result: dict[str, Any] | list[dict[str, Any]], table: Callable[[], str], *, as_json: bool) -> None:
    """Print a result to stdout."""
    click.echo(json.dumps(result, indent=1, ensure_ascii=False) if as_json else table())
