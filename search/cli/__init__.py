"""The command `search`: parse, ask, print. Results to stdout, everything else to stderr; one file a command."""

import sys
from contextlib import suppress

import click

from commands.options import CONTEXT_SETTINGS, version_option
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


class _AskingGroup(click.Group):
    """Takes what names no command for a question: `search "dog on couch"`, and options may come before the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            place = self._place_of_command(args)
            args = ["query", *args] if place is None else [args[place], *args[:place], *args[place + 1 :]]
        return super().parse_args(ctx, args)

    def _place_of_command(self, args: list[str]) -> int | None:
        """Of the first argument that names a command, if only options of that command stand before it."""
        for place, name in enumerate(args):
            if name in self.commands:
                options: list[click.Parameter] = [
                    each for each in self.commands[name].params if isinstance(each, click.Option)
                ]
                parser = click.Command(name, params=options).make_parser(click.Context(self))
                with suppress(click.UsageError):  # such as an option whose value this is
                    _, others, _ = parser.parse_args(args[:place])
                    if not others:
                        return place
        return None


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
