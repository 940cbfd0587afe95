"""`indexer rebuild`: the search index from the features."""

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
def rebuild(collection: "Location | None", wait: bool, as_json: bool) -> None:
    """Rebuild the search index from the features, of the kind that suits their number, and measure its recall.

    The network is not needed. On a server each partition of 20,000 regions or more gets an index; questions and builds
    go on meanwhile. Recall: of the best regions for a vector, those that exact search finds, the share that the index
    finds, on vectors drawn from the collection.

    \b
    Examples:
      indexer rebuild
      indexer rebuild --json --collection work/
    """
    from db import maintenance
    from db.location import default_collection
    from indexer import output

    location = collection or default_collection()
    report = when_unlocked(lambda: maintenance.rebuild(location), wait=wait)
    click.echo(json.dumps(asdict(report), indent=2) if as_json else output.rebuild(report))
