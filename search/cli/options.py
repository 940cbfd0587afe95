"""Options that several commands of `search` have."""

import functools
from collections.abc import Callable
from typing import Any

import click

from commands.options import with_options

_FORMS = {
    "table": click.option("--table", "as_table", is_flag=True, help="The table, also where output is not a terminal."),
    "json": click.option("--json", "as_json", is_flag=True, help="One JSON document: query, scoring, hits, regions."),
    "jsonl": click.option("--jsonl", "as_jsonl", is_flag=True, help="The hits, a JSON document on each line."),
    "csv": click.option("--csv", "as_csv", is_flag=True, help="One line a region, with a header line."),
    "paths0": click.option("-0", "--print0", "as_paths0", is_flag=True, help="Paths ended by zero bytes: xargs -0."),
}
_FORM_NAMES = {"table": "--table", "json": "--json", "jsonl": "--jsonl", "csv": "--csv", "paths0": "-0"}

fold_option = click.option(
    "--fold-similar",
    is_flag=True,
    help="Show photographs that look the same (bursts, other sizes) as one. Files of one content always are one.",
)
as_typed_option = click.option(
    "--as-typed",
    is_flag=True,
    help="Read every word as it is typed. Else a misspelt word is read as the one that was meant, and a word that the "
    "model has learnt from no photograph (automobile) as one of the same meaning that it has (car).",
)


def form_options(function: Callable[..., int]) -> Callable[..., int]:
    """The options that say in which form an answer is printed, of which one may be given: passed on as `form`."""

    @functools.wraps(function)
    def with_form(**values: Any) -> int:
        given = [form for form in _FORMS if values.pop(f"as_{form}")]
        if len(given) > 1:
            names = " and ".join(_FORM_NAMES[form] for form in given)
            raise click.UsageError(f"{names} are two forms of one answer: give one of them.")
        return function(form=given[0] if given else None, **values)

    return with_options(*_FORMS.values())(with_form)
