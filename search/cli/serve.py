"""`search serve`: the collection in a browser."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import Failure, plain_errors
from commands.options import collection_option, device_option, weights_option
from commands.text import printable
from search.one_thread import compute_in_one_thread

if TYPE_CHECKING:
    from db.location import Location

PORT = 8420


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="Where the page is on this computer; 0: anywhere that is free.",
)
@click.option("--open", "open_browser", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen at. Any other than this computer's own needs --token.",
)
@click.option(
    "--token",
    metavar="WORD",
    help="Who opens the page has to know this word, of at least 8 letters and digits; it is in the link printed.",
)
@collection_option
@weights_option
@device_option
def serve(
    port: int,
    open_browser: bool,
    host: str,
    token: str | None,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Show the collection in a browser, on this computer: ask, look, select, take along. Ctrl-C ends it.

    The same as an API, for programs: /api/search?q=dog&k=10 and more, which the page describes at /api-docs. Nothing is
    changed on the disk but a cache of thumbnails; a build may run meanwhile, and what it adds appears.

    \b
    Examples:
      search serve --open
      search serve --port 9000 --collection ~/photos-collection
      search serve --host 0.0.0.0 --token correct-horse-42
    """
    compute_in_one_thread()
    with plain_errors():
        try:
            import fastapi  # noqa: F401
            import uvicorn  # noqa: F401
        except ModuleNotFoundError as error:
            raise Failure(
                f"The page needs the package {error.name}: `{sys.executable} -m pip install fastapi uvicorn`."
            ) from error
        from db.location import default_collection
        from search.page.app import Settings
        from search.page.server import check_settings, serve

        location = collection or default_collection()
        settings = Settings(location, weights, device, host, token)
        check_settings(settings)

        def say(address: str) -> None:
            click.echo(f"{printable(str(location))} is at {address} (Ctrl-C ends it)", err=True)

        serve(settings, port=port, open_browser=open_browser, say=say)
    return 0
