"""`indexer copy`: a collection into another one, a folder to a server or back."""

import sys
from typing import TYPE_CHECKING

import click

from commands.errors import EXIT_INTERRUPTED, Failure, plain_errors
from commands.options import LocationType
from commands.text import printable
from indexer.cli.waiting import choose_progress

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@click.argument("source", metavar="FROM", type=LocationType())
@click.argument("target", metavar="TO", type=LocationType())
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@plain_errors()
def copy(source: "Location", target: "Location", quiet: bool) -> None:
    """Copy what the collection FROM holds into the collection TO, which is made if it is not there.

    Folders and servers, either way; nothing is described again. Interrupted, the same command goes on. At the end both
    are read again and compared, photograph by photograph. FROM stays as it is.

    \b
    Examples:
      indexer copy ~/.local/share/densecap-search/collection postgresql://me@server/photos
      indexer copy postgresql://me@server/photos /backup/collection
    """
    from db.collection import open_collection
    from db.copying import copy as copy_collection
    from db.location import collection_folder, is_server, option, without_password
    from indexer.interrupts import stop_on_signals

    if not is_server(source) and not is_server(target):
        original, copied = collection_folder(source).resolve(), collection_folder(target).resolve()
        if copied.is_relative_to(original):
            lies = "is the collection to be copied" if copied == original else f"lies in {printable(source)}"
            raise Failure(f"{printable(target)} {lies}: name another folder.")
    with (
        stop_on_signals() as stop,
        open_collection(source) as from_it,
        open_collection(target, write=True, create=True, model=from_it.model) as to_it,
    ):
        progress = choose_progress(quiet)
        progress.start(from_it.photo_count(), "Copying")
        try:
            report = copy_collection(from_it, to_it, advance=progress.advance, stop=stop.is_set)
        finally:
            progress.close()
    shown = printable(without_password(target))
    if report is None:
        click.echo("Interrupted: what was copied is kept, the same command goes on from here.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    click.echo(f"{report.copied:,} photographs copied")
    if not report.verified:
        raise Failure(
            f"{len(report.differing):,} photographs of {shown} are not as in {printable(without_password(source))}, "
            f"the first is {printable(report.differing[0])}: run the command again, or "
            f"`indexer verify{option(source)}` and `indexer verify{option(target)}`."
        )
    click.echo(
        f"{report.photographs:,} photographs, {report.regions:,} regions, {report.failed:,} failed files: the same in "
        f"{shown}" + (f", which holds {report.surplus:,} files more in the same folders" if report.surplus else "")
    )
