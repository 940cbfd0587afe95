"""The command `search`: parse, ask, print. Results to stdout, everything else to stderr; one file a command."""

import sys

import click

from commands.options import CONTEXT_SETTINGS, version_option
from commands.options_first import OptionsFirstGroup
from search.cli import describe, detect, evaluate, like, phrases, query, serve


def main() -> None:
    """Run the command. Exit status: 0 found, 1 nothing found, 2 a usage or collection error, 130 interrupted."""
    try:
        sys.exit(commands.main(prog_name="search", standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


class _AskingGroup(OptionsFirstGroup):
    """Takes what names no command for a question: `search "dog on couch"`."""

    def without_command(self, args: list[str]) -> list[str]:
        return ["query", *args]


@click.group(cls=_AskingGroup, context_settings=CONTEXT_SETTINGS)
@version_option
def commands() -> None:
    """Find things inside photographs with words, offline.

    `search "dog on couch"` is short for `search query "dog on couch"`.

    `indexer build FOLDER` makes the collection that is searched here.

    \b
    Examples:
      search "dog on couch"
      search "a birthday cake" --after 2023 --html cakes.html --open
      search describe photo.jpg --draw
      search query --help
    """


commands.add_command(query.query)
commands.add_command(like.like)
commands.add_command(detect.detect)
commands.add_command(describe.describe)
commands.add_command(evaluate.evaluate)
commands.add_command(phrases.phrases)
commands.add_command(serve.serve)
