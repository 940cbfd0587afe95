"""`search phrases`: what the network wrote about regions, by words."""

import json
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import collection_option
from commands.text import printable

if TYPE_CHECKING:
    from db.location import Location


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("-k", "--top", type=click.IntRange(min=1), help="Phrases to show at most. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: phrase -> number of photographs.")
@collection_option
def phrases(words: tuple[str, ...], top: int | None, as_json: bool, collection: "Location | None") -> int:
    """List the phrases of regions that have every WORD, in any order, and in how many photographs each is.

    What the network wrote, word for word, the commonest first: no vectors, no other forms of the words. `search query`
    finds what is meant.

    \b
    Examples:
      search phrases red
      search phrases red shirt -k 20

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted.
    """
    with plain_errors():
        from db.collection import open_collection
        from db.location import default_collection

        with open_collection(collection or default_collection()) as opened:
            found = dict(list(opened.phrases_with(words).items())[:top])
            where = printable(opened.location)
        if as_json:
            click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            for phrase, photographs in found.items():
                click.echo(f"{photographs:>7,}  {printable(phrase)}")
        if not found:
            click.echo(f"Nothing found: no phrase in {where} has {' and '.join(map(printable, words))}.", err=True)
            return 1
        return 0
