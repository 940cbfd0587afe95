"""Answers as they are printed, and what there is to note beside them."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from commands.next_commands import runnable
from commands.text import printable
from search import output

if TYPE_CHECKING:
    from db.location import Location
    from search.detector import Detections
    from search.searcher import Answer

WRITERS: dict[str, Callable[..., bytes]] = {
    "paths": output.as_paths,
    "paths0": output.as_paths0,
    "json": output.as_json,
    "jsonl": output.as_json_lines,
    "csv": output.as_csv,
}


def tell_end(answer: "Answer", top: int | None) -> None:
    """Say on stderr why a list of photographs stopped where it did, and how to see more of it."""
    end = answer.end
    if end is None:
        return
    if not end.convincing:
        closest = "is this photograph" if len(answer.hits) == 1 else f"are these {len(answer.hits)} photographs"
        more = "; -k 20 shows more" if top is None and end.next is not None else ""
        click.echo(f"Nothing convincing: the closest {closest}{more}.", err=True)
    elif top is None and end.next is not None:
        click.echo(
            f"The list stops at {len(answer.hits)}: the next photograph answers with {end.next:.0%}; "
            f"-k {max(20, 2 * len(answer.hits))} shows more.",
            err=True,
        )


def tell_nothing_found(answer: "Answer", least: float | None, location: "Location") -> None:
    """Say on stderr why a list holds no photograph."""
    closest = None if answer.end is None else answer.end.next
    if closest is not None and least is not None:
        reason = f" with at least {least:.0%}: the closest answers with {closest:.0%}."
    elif closest is not None:
        reason = f" that convinces: the closest answers with {closest:.0%}; -k 20 shows more."
    elif answer.excluded:
        reason = ": every photograph looked at was left out."
    else:
        reason = runnable(f": {printable(location)} holds no photographs; `indexer build FOLDER` adds them.")
    click.echo(f"Nothing found{reason}", err=True)


def tell_excluded(answer: "Answer") -> None:
    """Note how many photographs fell away for what they show."""
    if answer.excluded:
        count = f"{len(answer.excluded)} photograph{'s' if len(answer.excluded) > 1 else ''}"
        click.echo(f"Note: left out {count} that may show {', '.join(map(printable, answer.without))}.", err=True)


def show_answer(
    answer: "Answer | Detections",
    form: str | None,
    writers: "dict[str, Callable[..., bytes]]",
    roots: Sequence[Path],
    *,
    explain: bool = False,
) -> None:
    """Print an answer in the form asked for, and what there is to note of the words of the question.

    explain: with the parts of the scores, which the table, JSON and JSON lines have room for.
    """
    for word, meant in answer.substitutions.items():
        click.echo(f"Note: {printable(word)} is read as {meant}.", err=True)
    gone = [hit.path for hit in answer.hits if not os.path.exists(hit.path)]
    if gone:
        missing = [root for root in roots if not root.is_dir()]
        if any(path.is_relative_to(root) for path in gone for root in missing):
            # A build does not take the photographs of a missing folder for gone: its disk may not be plugged in.
            remedy = (
                "`indexer status` names missing folders. `indexer build FOLDER` finds them where they moved to, "
                "`indexer build --prune` forgets their contents"
            )
        else:
            remedy = "`indexer build` looks again"
        are = "is" if len(gone) == 1 else "are"
        note = f"Note: {len(gone)} of {len(answer.hits)} photographs {are} not there any more; {remedy}."
        click.echo(runnable(note), err=True)
    if answer.unknown_words:
        words = ", ".join(map(printable, answer.unknown_words))
        click.echo(f"Note: the model has never met these words: {words}.", err=True)
    terminal = sys.stdout.isatty()
    text: str | bytes
    if form == "table" or (form is None and (terminal or explain)):
        colored = terminal and not os.environ.get("NO_COLOR")
        text = output.as_table(answer, color=colored, encoding=sys.stdout.encoding, explain=explain)
    elif explain:
        text = writers[form or "paths"](answer, explain=True)
    else:
        text = writers[form or "paths"](answer)
    try:
        click.echo(text, nl=False)
    except BrokenPipeError:
        raise  # the reader of the answer has read enough: click ends the command without a word
    except OSError as error:
        raise click.ClickException(f"The answer could not be written: {error.strerror}.") from error
