"""`indexer errors`: files that could not be described."""

import json
from typing import TYPE_CHECKING, Any

import click

from commands.errors import plain_errors
from commands.options import collection_option

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location


@click.command()
@collection_option
@click.option("--json", "as_json", is_flag=True, help="One JSON list, with each file's size and digest.")
@plain_errors()
def errors(collection: "Location | None", as_json: bool) -> None:
    """List the files that could not be described, and why; and those that were, though a part of them is missing.

    They are tried again once they change, or with `indexer build --retry`.

    \b
    Examples:
      indexer errors
      indexer errors --json | jq -r '.[].path'
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output

    with open_collection(collection or default_collection()) as opened:
        failures = list_failures(opened)
    if as_json:
        click.echo(json.dumps(failures, indent=2))
    else:
        for failure in failures:
            click.echo(output.failure(failure))


def list_failures(opened: "Collection") -> list[dict[str, Any]]:
    """Every file that is remembered as failed, or as described though incomplete, as JSON says it."""
    return [
        {
            "path": str(root / stat.path),
            "reason": stat.reason or stat.incomplete,
            "described": not stat.failed,
            "size": stat.size,
            "digest": stat.digest,
        }
        for root_id, root in opened.roots().items()
        for stat in opened.known(root_id).values()
        if stat.failed or stat.incomplete
    ]
