"""Commands that a message names, as they have to be typed."""

import re

import click

# All commands but this one take --collection.
_COMMAND = re.compile(r"`((?:indexer|search) (?!copy\b)[a-z][^`]*)`")


def runnable(text: str) -> str:
    """A message of the command that is running, its commands with the collection that it was told to use.

    "`indexer errors`" becomes "`indexer errors --collection holidays`" if this one has `--collection holidays`.
    """
    context = click.get_current_context(silent=True)
    collection = context.params.get("collection") if context else None
    if collection is None:
        return text
    from db.location import option  # imported here: `--help` is not to wait for it

    named = option(collection)
    return _COMMAND.sub(lambda found: found[0] if "--collection" in found[1] else f"`{found[1]}{named}`", text)
