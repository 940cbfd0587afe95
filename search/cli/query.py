"""`search query`: words -> photographs and where in them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.errors import plain_errors
from commands.options import NumberType
from commands.text import printable
from fcln.scoring import SCORINGS
from search.cli.answer_options import answer_options
from search.cli.answers import WRITERS, show_answer, tell_end, tell_excluded, tell_nothing_found
from search.cli.delivery import Delivery, draw_sheet
from search.cli.filters import tell_selection
from search.one_thread import compute_in_one_thread

if TYPE_CHECKING:
    from db.location import Location
    from search.filters import Filters
    from search.hits import Sort


class _QuestionCommand(click.Command):
    """Knows what is meant by `beach -person`, which is a question in quotation marks only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, list(args))
        except click.NoSuchOption as error:
            for word in args:
                if word.startswith(error.option_name) and word[1:].isalpha() and len(word) > 2:
                    hint = f"--not {word[1:]} leaves out photographs that show it"
                    raise click.NoSuchOption(word, f"No such option '{word}': {hint}.", ctx=ctx) from None
            raise


@click.command(cls=_QuestionCommand)
@click.argument("phrases", nargs=-1, metavar="PHRASE...")
@click.option(
    "-k", "--top", type=click.IntRange(min=1),
    help="Find so many photographs. Default: the list stops where answers stop.",
)  # fmt: skip
@click.option(
    "--min-score",
    "least",
    type=NumberType(0, 1),
    metavar="P",
    help="Only photographs that answer with at least this probability, 0 to 1.",
)
@click.option(
    "--scoring",
    type=click.Choice(SCORINGS),
    help="likelihood: the language model's log-probability of the words (DenseCap's); embedding: cosine similarity; "
    "fused: their weighted sum. Default: what measured best for the weights.",
)
@click.option(
    "--not",
    "excluded",
    multiple=True,
    metavar="PHRASE",
    help='Leave out photographs that show this. May be given several times; a question may say it too: "dog without a '
    'leash", "beach, no people", "dog -person".',
)
@click.option(
    "--where",
    "where",
    multiple=True,
    metavar='"THING RELATION THING"',
    help='Prefer photographs in which things lie so: "dog left of child", "lamp above a table", "man in the '
    'foreground". May be given several times; a question may say it too.',
)
@click.option(
    "--explain",
    is_flag=True,
    help="Tell which region answers what, the parts of each score, and why photographs were left out. (Table, --json, "
    "--jsonl.)",
)
@click.option("--exact", is_flag=True, help="Score every region of every photograph, not only a shortlist (slow).")
@answer_options(draw="Also draw the best photographs with the boxes and phrases that answer.")
def query(
    phrases: tuple[str, ...],
    top: int | None,
    least: float | None,
    scoring: str | None,
    excluded: tuple[str, ...],
    where: tuple[str, ...],
    explain: bool,
    exact: bool,
    as_typed: bool,
    filters: "Filters | None",
    sort: "Sort",
    fold_similar: bool,
    form: str | None,
    draw: Path | None,
    delivery: Delivery,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Find the photographs that show what PHRASE says, and where in them.

    One PHRASE is a question in English, such as "dog on couch". It is read in two ways: as one thing, and as the things
    that it names, each in a region of its own, how they lie to each other, and how many there are ("two dogs left of a
    child"). Both make the score, and the one that fits better is shown. Several PHRASEs are things that should all be
    there.

    Relations: left of, right of, above, below, on, under, in, inside, next to, bigger than, smaller than. Places: in
    the top left, at the bottom, on the right, in the middle, in the corner, in the foreground, in the background. A
    box cannot tell what is behind or in front of what.

    Filters (--under, --after, --camera ...) hold together and before anything is scored: of few photographs among many
    the best are found as surely. Dates, cameras and places are those in the photographs' headers.

    In a terminal the answer is a table; elsewhere one path a line. The percentage of a photograph is the probability
    that somebody would agree that it answers, that of a box that it shows what stands beside it; both were fitted on
    labelled photographs. Without -k the list stops where the next photographs would do it more harm than good. Boxes
    are x, y, width, height in pixels of the upright photograph (as a viewer shows it), counted from the top left
    corner.

    \b
    Examples:
      search query "dog on couch"
      search query "red lamp" "a wooden table" -k 3 --draw lamps.png
      search query "dog on the beach" --not person
      search query "two dogs left of a child" --explain
      search query "a park" --where "bench under tree" --where "child in the foreground"
      search query "a cake" --after 2023-05 --before 2023-07 --camera iphone --sort date
      search query "a boat" --here --orientation landscape --min-area 10%
      search query "child on a swing" -k 50 --copy swings/
      search query "a birthday cake" --html cakes.html --open
      search query "a red car" --min-score 0.5 -0 | xargs -0 ls -l

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted.
    """
    compute_in_one_thread()
    if not (phrases or where or excluded):
        raise click.MissingParameter(param=next(p for p in query.params if p.name == "phrases"))
    if explain and form in ("csv", "paths0"):
        raise click.UsageError("--explain has no room in that form: give --table, --json or --jsonl.")
    with plain_errors():
        # Imported here: `--help` is not to wait for what a search needs.
        from concurrent.futures import ThreadPoolExecutor

        from fcln.phrase_model import PhraseModel

        # Beside the imports of the rest, most of them SQLAlchemy's: reading and checking a file leaves Python free.
        loading = ThreadPoolExecutor(1).submit(PhraseModel.load, weights, device=device)

        from db.collection import open_collection
        from db.location import default_collection
        from search.searcher import Searcher

        if draw is not None:
            from search import drawing

            drawing.check_target(draw)
        delivery.check()
        with open_collection(collection or default_collection()) as opened:
            roots = list(opened.roots().values())
            searcher = Searcher(opened, loading.result())
            answer = searcher.search(
                phrases,
                k=top,
                least=least,
                scoring=scoring,
                exact=exact,
                excluded=excluded,
                where=where,
                explain=explain,
                as_typed=as_typed,
                fold_similar=fold_similar,
                filters=filters,
                sort=sort,
            )
        if len(phrases) > 2 and not any(" " in phrase for phrase in answer.query):
            click.echo(
                f"Note: these are {len(phrases)} phrases of a word each; put quotation marks around a question.",
                err=True,
            )
        show_answer(answer, form, WRITERS, roots, explain=explain)
        if answer.reading and answer.reading.untold:
            words = ", ".join(f'"{printable(word)}"' for word in answer.reading.untold)
            click.echo(f"Note: a box cannot tell what is {words} what; only the things are asked for.", err=True)
        tell_excluded(answer)
        if answer.selection is not None and not tell_selection(answer.selection, opened.location):
            return 1
        if not answer.hits:
            tell_nothing_found(answer, least, opened.location)
            return 1
        tell_end(answer, top)
        if draw is not None:
            draw_sheet(answer, draw)
        delivery.deliver(answer, drawn=draw)
        return 0
