"""`indexer relocate`: photographs that are in another folder now."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import PathType, collection_option
from commands.text import counted, printable
from indexer.cli.waiting import wait_option, when_unlocked

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@click.argument("old", type=PathType())
@click.argument("new", type=PathType())
@collection_option
@wait_option
@plain_errors()
def relocate(old: Path, new: Path, collection: "Location | None", wait: bool) -> None:
    """The photographs of folder OLD are in folder NEW now: nothing is described again.

    `indexer build NEW` finds this out by itself where OLD is not there any more and most of its photographs are in
    NEW. OLD may be a folder within one that was built, and need not exist.

    \b
    Examples:
      indexer relocate /media/old-disk/photos ~/Pictures
    """
    from db.collection import open_collection
    from db.location import default_collection
    from indexer import output, relocation

    location = collection or default_collection()
    with when_unlocked(lambda: open_collection(location, write=True), wait=wait) as opened:
        moved = relocation.relocate(opened, old, new)
        are = "is" if moved.photographs == 1 else "are"
        text = f"{counted(moved.photographs, 'photograph')} {are} known in {printable(new)}"
        click.echo(text + (f", {moved.replaced:,} of them were there already" if moved.replaced else ""))
        click.echo(output.contents(opened))
