"""`indexer compact`: small files of features into large ones."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import collection_option
from indexer.cli.waiting import wait_option, when_unlocked

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@collection_option
@wait_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@plain_errors()
def compact(collection: "Location | None", wait: bool, as_json: bool) -> None:
    """Merge small files of features into large ones, and give back the room of photographs that are gone.

    Worth it after many small builds or removals. Needs free space for the features once more. Searches go on.
    A server cleans up by itself; this has it do so now.

    \b
    Examples:
      indexer compact --wait
    """
    from db import maintenance
    from db.location import default_collection
    from indexer import output

    location = collection or default_collection()
    report = when_unlocked(lambda: maintenance.compact(location), wait=wait)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else output.compaction(report))
