"""The command `search`: parse, ask a Searcher, print. Results to stdout, everything else to stderr."""

import functools
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.errors import plain_errors
from commands.many_values import ManyValuesCommand, ManyValuesOption
from commands.options import (
    CONTEXT_SETTINGS,
    collection_option,
    device_option,
    version_option,
    weights_option,
    with_options,
)
from commands.text import printable
from fcln.scoring import SCORINGS
from search import output
from search.arguments import find_photos, has_photo_name, refuse_photos_among_phrases
from search.errors import DetectError, DrawError

if TYPE_CHECKING:
    from db.location import Location
    from search.detector import Detections
    from search.searcher import Answer

_WRITERS = {
    "paths": output.as_paths,
    "paths0": output.as_paths0,
    "json": output.as_json,
    "jsonl": output.as_json_lines,
    "csv": output.as_csv,
}

_FORMS = {
    "table": click.option("--table", "as_table", is_flag=True, help="The table, also where output is not a terminal."),
    "json": click.option("--json", "as_json", is_flag=True, help="One JSON document: query, scoring, hits, regions."),
    "jsonl": click.option("--jsonl", "as_jsonl", is_flag=True, help="The hits, a JSON document on each line."),
    "csv": click.option("--csv", "as_csv", is_flag=True, help="One line a region, with a header line."),
    "paths0": click.option("-0", "--print0", "as_paths0", is_flag=True, help="Paths ended by zero bytes: xargs -0."),
}
_FORM_NAMES = {"table": "--table", "json": "--json", "jsonl": "--jsonl", "csv": "--csv", "paths0": "-0"}


def _form_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options that say in which form an answer is printed, of which one may be given: passed on as `form`."""

    @functools.wraps(function)
    def with_form(**values: Any) -> int:
        given = [form for form in _FORMS if values.pop(f"as_{form}")]
        if len(given) > 1:
            names = " and ".join(_FORM_NAMES[form] for form in given)
            raise click.UsageError(f"{names} are two forms of one answer: give one of them.")
        return function(form=given[0] if given else None, **values)

    return with_options(*_FORMS.values())(with_form)


class _Share(click.FloatRange):
    """A number in a range; "nan" is none, though it is not outside of it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is no number between 0 and 1.", param, ctx)
        return number


def main() -> None:
    """Run the command. Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted."""
    try:
        sys.exit(commands.main(prog_name="search", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


class _AskingGroup(click.Group):
    """Takes what does not begin with a command for a question: `search "dog on couch"`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["query", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_AskingGroup, context_settings=CONTEXT_SETTINGS)
@version_option
def commands() -> None:
    """Find things inside photographs with words, offline.

    `search "dog on couch"` is short for `search query "dog on couch"`.

    `indexer build FOLDER` makes the collection that is searched here.
    """


_FOLD_OPTION = click.option(
    "--fold-similar",
    is_flag=True,
    help="Show photographs that look the same (bursts, other sizes) as one. Files of one content always are one.",
)
_AS_TYPED_OPTION = click.option(
    "--as-typed",
    is_flag=True,
    help="Read every word as it is typed. Else a misspelt word is read as the one that was meant, and a word that the "
    "model has learnt from no photograph (automobile) as one of the same meaning that it has (car).",
)


@commands.command()
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option("-k", "--top", type=click.IntRange(min=1), default=10, show_default=True, help="Photographs to find.")
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
@click.option("--exact", is_flag=True, help="Score every region of every photograph, not only a shortlist (slow).")
@_AS_TYPED_OPTION
@_form_options
@_FOLD_OPTION
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="FILE.png",
    help="Also draw the best photographs with the boxes and phrases that answer.",
)
@collection_option
@weights_option
@device_option
def query(
    phrases: tuple[str, ...],
    top: int,
    scoring: str | None,
    excluded: tuple[str, ...],
    exact: bool,
    as_typed: bool,
    fold_similar: bool,
    form: str | None,
    draw: Path | None,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Find the photographs that show what PHRASE says, and where in them.

    One PHRASE is a question in English, such as "dog on couch"; its parts may be in different places of a photograph,
    and beside the question itself its things ("a dog", "a couch") are asked for. Several PHRASEs are things that should
    all be there. A photograph's score is the mean over all of these of its best region; shown are the regions that are
    most likely right, each with its own score.

    In a terminal the answer is a table; elsewhere one path a line. Boxes are x, y, width, height in pixels of the
    upright photograph (as a viewer shows it), counted from the top left corner.

    \b
    Examples:
      search query "dog on couch"
      search query "red lamp" "a wooden table" -k 3 --draw lamps.png
      search query "dog on the beach" --not person
      search query "child on a swing" -0 | xargs -0 cp -t swings/

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted.
    """
    _compute_in_one_thread()
    with plain_errors():
        # Imported here: `--help` is not to wait for what a search needs.
        from db.collection import open_collection
        from db.location import default_collection
        from fcln.phrase_model import PhraseModel
        from search.searcher import Searcher

        if draw is not None:
            from search import drawing

            drawing.check_target(draw)
        with open_collection(collection or default_collection()) as opened:
            roots = list(opened.roots().values())
            searcher = Searcher(opened, PhraseModel.load(weights, device=device))
            answer = searcher.search(
                phrases,
                k=top,
                scoring=scoring,
                exact=exact,
                excluded=excluded,
                as_typed=as_typed,
                fold_similar=fold_similar,
            )
        if len(phrases) > 2 and not any(" " in phrase for phrase in answer.query):
            click.echo(
                f"Note: these are {len(phrases)} phrases of a word each; put quotation marks around a question.",
                err=True,
            )
        _show(answer, form, _WRITERS, collection, roots)
        if answer.excluded:
            count = f"{len(answer.excluded)} photograph{'s' if len(answer.excluded) > 1 else ''}"
            click.echo(f"Note: left out {count} with {', '.join(map(printable, answer.without))}.", err=True)
        if not answer.hits and answer.excluded:
            click.echo("Nothing found: every photograph looked at was left out.", err=True)
            return 1
        if not answer.hits:
            where = printable(opened.location)
            click.echo(f"Nothing found: {where} holds no photographs; `indexer build FOLDER` adds them.", err=True)
            return 1
        if draw is not None:
            drawing.write_png(drawing.draw_hits(answer), draw)
            drawn = min(len(answer.hits), drawing.MAX_DRAWN)
            click.echo(f"Drew the best {drawn} of {len(answer.hits)}: {printable(draw)}", err=True)
        return 0


@commands.command(cls=ManyValuesCommand)
@click.argument("phrases", nargs=-1, required=True, metavar="PHRASE...")
@click.option(
    "--in",
    "places",
    cls=ManyValuesOption,
    type=click.Path(path_type=Path),
    metavar="PHOTO...",
    help="Photographs, or folders of them, to look at on the spot. Default: the collection.",
)
@click.option(
    "--threshold",
    type=_Share(0, 1),
    metavar="P",
    help="The least confidence of a box, 0 to 1. Default: 0.25; over a collection 0.05, the best come first anyway.",
)
@click.option(
    "--prior",
    type=_Share(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="The share of the photographs that you expect to show it. Default: 0.5; over a collection that of the "
    "labelled photographs which the confidence was fitted on, about 0.005.",
)
@click.option(
    "-k",
    "--top",
    type=click.IntRange(min=1),
    help="Photographs to show at most, the surest first. Default: all; over a collection 10.",
)
@_AS_TYPED_OPTION
@_form_options
@_FOLD_OPTION
@click.option(
    "--draw",
    type=click.Path(path_type=Path),
    metavar="FILE.png|FOLDER",
    help="Also draw the boxes: the best photographs on one sheet, or each of them into a folder.",
)
@collection_option
@weights_option
@device_option
def detect(
    phrases: tuple[str, ...],
    places: tuple[Path, ...],
    threshold: float | None,
    prior: float | None,
    top: int | None,
    as_typed: bool,
    fold_similar: bool,
    form: str | None,
    draw: Path | None,
    collection: "Location | None",
    weights: Path | None,
    device: str,
) -> int:
    """Find where in photographs is what PHRASE, in English, names: boxes, each with a confidence.

    PHOTOs are files or folders; they are looked at on the spot and nothing is kept. Without any, the collection is
    searched. A photograph with a box for any PHRASE is shown.

    The confidence of a box is the probability that it overlaps (intersection over union at least 0.5) a thing that the
    phrase names. It depends on how many of the photographs show such a thing at all: see --prior.

    In a terminal the answer is a table; elsewhere one path a line. Boxes are x, y, width, height in pixels of the
    upright photograph (as a viewer shows it), counted from the top left corner.

    \b
    Examples:
      search detect "head of a dog" --in photo.jpg
      search detect "a red shirt" "a hat" --in photos/ --threshold 0.5 --json
      search detect "a dog" --in photos/*.jpg --draw drawn/
      search detect "a dog" -k 20 --draw dogs.png

    Exit status: 0 found, 1 nothing found, 2 a usage or collection error, or no photograph could be read (single ones
    that cannot are named and skipped), 130 interrupted.
    """
    if not places:
        _compute_in_one_thread()
    with plain_errors():
        refuse_photos_among_phrases(phrases, places)
        for phrase in map(printable, filter(os.path.exists, () if places else phrases)):
            click.echo(f"Note: {phrase} is read as words; `--in {phrase}` looks into what has that name.", err=True)
        if places and collection is not None:
            raise DetectError(f"Name photographs or a collection, not both: {printable(places[0])} is a photograph.")
        wanted: dict[str, Any] = {"threshold": threshold, "prior": prior, "k": top}
        options = {"as_typed": as_typed, **{name: value for name, value in wanted.items() if value is not None}}
        photos = find_photos(places)
        if places and not photos:
            raise DetectError(f"There is no photograph in {', '.join(map(printable, places))}.")
        _check_drawing(draw, photos)
        roots: list[Path] = []
        if photos:
            answer = _detect_in_photos(phrases, photos, weights, device, options)
            looked_at = f"{answer.photographs} photograph{'s' if answer.photographs > 1 else ''}"
        else:
            from db.collection import open_collection
            from db.location import default_collection
            from fcln.phrase_model import PhraseModel
            from search.detector import Detector

            with open_collection(collection or default_collection()) as opened:
                roots = list(opened.roots().values())
                detector = Detector(PhraseModel.load(weights, device=device))
                answer = detector.detect_in_collection(phrases, opened, fold_similar=fold_similar, **options)
            looked_at = printable(opened.location)
        _show(answer, form, {**_WRITERS, "json": output.detections_as_json}, collection, roots)
        if not answer.hits:
            click.echo(f"Nothing found in {looked_at} with a {answer.scored}; --threshold lowers it.", err=True)
            return 1
        if draw is not None:
            _draw(answer, draw, photos)
        return 0


def _compute_in_one_thread() -> None:
    """Have numpy multiply matrices in this thread alone, unless the environment says otherwise.

    To be called before numpy is imported. A question's matrices are small: a second thread saves nothing of the whole
    command and costs 0.2 s of it.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _detect_in_photos(
    phrases: Sequence[str], photos: Sequence[Path], weights: Path | None, device: str, options: Mapping[str, Any]
) -> "Detections":
    """Detector.detect, its progress and the photographs that cannot be read shown.

    Raises DetectError if none can.
    """
    from fcln.predictor import Predictor
    from search.detector import Detector

    predictor = Predictor.load(weights, device=device)
    detector = Detector(predictor, describer=predictor)
    hidden = len(photos) == 1 or not sys.stderr.isatty()
    with click.progressbar(photos, label="Looking", file=sys.stderr, hidden=hidden) as watched:
        answer = detector.detect(phrases, watched, **options)
    told = [f"{output.shown(file.path)}: {printable(file.reason)}" for file in answer.unreadable]
    if len(photos) == 1 and told:
        raise DetectError(f"The photograph could not be read: {told[0]}.")
    for line in told:
        click.echo(f"Skipped {line}", err=True)
    if not answer.photographs:
        raise DetectError("No photograph could be read.")
    return answer


def _check_drawing(draw: Path | None, photos: Sequence[Path]) -> None:
    """Raise DrawError if the drawing cannot be written, or would overwrite a photograph."""
    from search import drawing

    if draw is None:
        return
    if draw.suffix.lower() != ".png" or draw.is_dir():
        if has_photo_name(draw) and not draw.is_dir():
            raise DrawError(f"A drawing is a PNG, or each in a folder: {printable(draw)} names neither.")
        drawing.check_folder(draw)
        return
    if draw.exists() and any(photo.exists() and draw.samefile(photo) for photo in photos):
        raise DrawError(f"The picture would overwrite the photograph {printable(draw)}.")
    drawing.check_target(draw)


def _draw(answer: "Detections", target: Path, photos: Sequence[Path]) -> None:
    from search import drawing

    count = len(answer.hits)
    if target.is_dir():
        drawing.draw_each(answer, target, photos)
        drawn = count
    else:
        drawing.write_png(drawing.draw_hits(answer), target)
        drawn = min(count, drawing.MAX_DRAWN)
    click.echo(f"Drew the best {drawn} of {count}: {printable(target)}", err=True)


def _show(
    answer: "Answer | Detections",
    form: str | None,
    writers: "dict[str, Callable[..., bytes]]",
    collection: "Location | None",
    roots: Sequence[Path],
) -> None:
    """Print an answer in the form asked for, and what there is to note of the words of the question."""
    for word, meant in answer.substitutions.items():
        click.echo(f"Note: {printable(word)} is read as {meant}.", err=True)
    gone = sum(not os.path.exists(hit.path) for hit in answer.hits)
    if gone:
        # A build of folders that are all missing is an error: it could only forget them.
        verb, does = ("build", "looks again") if any(map(Path.is_dir, roots)) else ("status", "names missing folders")
        command = f"indexer {verb}" + (f" --collection {shlex.quote(str(collection))}" if collection else "")
        click.echo(
            f"Note: {gone} of {len(answer.hits)} photographs are not there any more; `{command}` {does}.",
            err=True,
        )
    if answer.unknown_words:
        words = ", ".join(map(printable, answer.unknown_words))
        click.echo(f"Note: the model has never met these words: {words}.", err=True)
    terminal = sys.stdout.isatty()
    text: str | bytes
    if form == "table" or (form is None and terminal):
        colored = terminal and not os.environ.get("NO_COLOR")
        text = output.as_table(answer, color=colored, encoding=sys.stdout.encoding)
    else:
        text = writers[form or "paths"](answer)
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise  # whoever reads the answer has read enough: click ends the command without a word
    except OSError as error:
        raise click.ClickException(f"The answer could not be written: {error.strerror}.") from error
