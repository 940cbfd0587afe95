"""`indexer remove`: photographs forgotten."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import PathType, collection_option
from commands.text import counted
from indexer.cli.waiting import wait_option, when_unlocked

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@click.argument("paths", nargs=-1, required=True, type=PathType())
@collection_option
@wait_option
@plain_errors()
def remove(paths: tuple[Path, ...], collection: "Location | None", wait: bool) -> None:
    """Forget the photographs at or below PATHS. No file on the disk is touched.

    PATHS are photographs, folders or whole roots; they need not exist any more. A later `indexer build` of a folder
    around them describes them again, unless `--exclude` keeps them out.

    \b
    Examples:
      indexer remove ~/Pictures/scans /media/old-disk
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output, removal

    location = collection or default_collection()
    with when_unlocked(lambda: open_collection(location, write=True), wait=wait) as opened:
        removed = removal.remove(opened, paths)
        click.echo(f"{counted(removed.photographs, 'photograph')} and {counted(removed.failed, 'failed file')} removed")
        click.echo(output.contents(opened))
