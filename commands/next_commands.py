"""Commands that a message names, as they have to be typed."""

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from db.location import Location

# All commands but this one take --collection.
_COMMAND = re.compile(r"`((?:indexer|search) (?!copy\b)[a-z][^`]*)`")


def runnable(text: str) -> str:
    """A message of the command that is running, its commands with the collection that it was told to use.

    "`indexer errors`" becomes "`indexer errors --collection holidays`" if this one has `--collection holidays`.
    """
    context = click.get_current_context(silent=True)
    collection = _meant(context.params, text) if context else None
    if collection is None:
        return text
    from db.location import option  # imported here: `--help` is not to wait for it

    named = option(collection)
    return _COMMAND.sub(lambda found: found[0] if "--collection" in found[1] else f"`{found[1]}{named}`", text)


def _meant(options: Mapping[str, Any], text: str) -> "Location | None":
    """The collection that a command was told to use; of `indexer copy`, which has two, the one that a message names."""
    if "collection" in options:
        return options["collection"]
    two = [options[name] for name in ("source", "target") if options.get(name) is not None]
    return next((one for one in two if str(one) in text or os.path.abspath(one) in text), None)
