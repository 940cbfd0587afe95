"""`indexer duplicates`: photographs that are there more than once."""

import json
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import collection_option

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@collection_option
@click.option("--near", is_flag=True, help="Also photographs that look the same: other sizes, bursts, slight crops.")
@click.option("--json", "as_json", is_flag=True, help="One JSON list of groups.")
@plain_errors()
def duplicates(collection: "Location | None", near: bool, as_json: bool) -> None:
    """List the photographs that are there more than once. No file is touched.

    Groups are set apart by empty lines; of a group, the file that was added first comes first. With --near, photographs
    that only look the same are marked with "~". A file that is not there any more is marked so: to delete what stands
    beside it would lose the photograph.

    \b
    Examples:
      indexer duplicates
      indexer duplicates --near --json
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output
    from indexer.duplicates import find_duplicates

    with open_collection(collection or default_collection()) as opened:
        groups = find_duplicates(opened, near=near)
    click.echo(json.dumps(output.duplicates_as_dicts(groups), indent=2) if as_json else output.duplicates(groups))
