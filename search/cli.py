"""The command `search`: parse, ask a Searcher, print. Results to stdout, everything else to stderr."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import click

from search import output
from search.errors import SearchError
from search.query import SCORINGS

_WRITERS = {
    "paths": output.as_paths,
    "paths0": output.as_paths0,
    "json": output.as_json,
    "jsonl": output.as_json_lines,
    "csv": output.as_csv,
}


def main() -> None:
    """Run the command. Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted."""
    try:
        sys.exit(commands.main(prog_name="search", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


@contextmanager
def _told_plainly() -> Iterator[None]:
    """What the packages refuse becomes one sentence on stderr, and so does what they warn of."""
    from db.errors import DbError
    from fcln.errors import FclnError

    logging.basicConfig(format="Warning: %(message)s", level=logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # its remarks on odd metadata are not for the user
    try:
        yield
    except (SearchError, DbError, FclnError) as error:
        raise click.ClickException(str(error)) from error


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        try:
            version = metadata.version("densecap-search")
        except metadata.PackageNotFoundError:
            version = "not installed"  # run from its folder
        click.echo(f"densecap-search {version}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show name and version."
)
def commands() -> None:
    """Find things inside photographs with words, offline.

    `indexer build FOLDER` makes the collection that is searched here.
    """


@commands.command()
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option("-k", "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Photographs to find.")
@click.option(
    "--scoring",
    type=click.Choice(SCORINGS),
    help="likelihood: the language model's log-probability of the words (DenseCap's); embedding: cosine similarity; "
    "fused: their weighted sum. Default: what measured best for the weights.",
)
@click.option("--exact", is_flag=True, help="Score every region of every photograph, not only a shortlist (slow).")
@click.option("--table", "form", flag_value="table", help="The table, also where output is not a terminal.")
@click.option("--json", "form", flag_value="json", help="One JSON document: query, scoring, hits with regions.")
@click.option("--jsonl", "form", flag_value="jsonl", help="The hits, a JSON document on each line.")
@click.option("--csv", "form", flag_value="csv", help="One line a region, with a header line.")
@click.option("-0", "--print0", "form", flag_value="paths0", help="Paths ended by zero bytes, for `xargs -0`.")
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Also draw the best photographs with the boxes and phrases that answer.",
)
@click.option(
    "--collection",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The collection to search. Default: $DENSECAP_SEARCH_COLLECTION, or the one in your data folder.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The weights that described the collection, if not those that come with the program.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the network runs; auto: on the GPU if there is one.",
)
def query(
    phrases: tuple[str, ...],
    top: int,
    scoring: str | None,
    exact: bool,
    form: str | None,
    draw: Path | None,
    collection: Path | None,
    weights: Path | None,
    device: str,
) -> int:
    """Find the photographs that show what PHRASE says, and where in them.

    One PHRASE is a question, such as "dog on couch"; its parts may be in different places of a photograph. Several
    PHRASEs are things that should all be there: a photograph's score is the mean over them of its best region.

    In a terminal the answer is a table; elsewhere one path a line. Boxes are x, y, width, height in pixels of the
    upright photograph (as a viewer shows it), counted from the top left corner.

    \b
    Examples:
      search query "dog on couch"
      search query "red lamp" "a wooden table" -k 3 --draw lamps.png
      search query "child on a swing" -0 | xargs -0 cp -t swings/

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted.
    """
    with _told_plainly():
        # Imported here, and torch last: neither `--help` nor a missing collection has to wait for it.
        from db.collection import Collection
        from db.location import default_collection
        from search import render

        if draw is not None:
            render.check_target(draw)
        with Collection.open(collection or default_collection()) as opened:
            from fcln.predictor import Predictor
            from search.searcher import Searcher

            searcher = Searcher(opened, Predictor.load(weights, device=device, describes=False))
            answer = searcher.search(phrases, k=top, scoring=scoring, exact=exact)
        for word, meant in answer.corrections.items():
            click.echo(f"Note: {output.printable(word)} is read as {meant}.", err=True)
        if answer.unknown_words:
            words = ", ".join(map(output.printable, answer.unknown_words))
            click.echo(f"Note: the model has never met these words: {words}.", err=True)
        terminal = sys.stdout.isatty()
        if form == "table" or (form is None and terminal):
            colored = terminal and not os.environ.get("NO_COLOR")
            click.echo(output.as_table(answer, color=colored, encoding=sys.stdout.encoding), nl=False)
        else:
            click.echo(_WRITERS[form or "paths"](answer), nl=False)
        if not answer.hits:
            where = output.printable(str(opened.path))
            click.echo(f"Nothing found: {where} holds no photographs; `indexer build FOLDER` adds them.", err=True)
            return 1
        if draw is not None:
            render.write_png(render.draw_hits(answer), draw)
            drawn = min(len(answer.hits), render.MAX_DRAWN)
            click.echo(f"Drew the best {drawn} of {len(answer.hits)}: {output.printable(str(draw))}", err=True)
        return 0
