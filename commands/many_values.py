"""An option that takes all arguments up to the next option: `--in a.jpg b.jpg`, as a shell makes of `--in *.jpg`."""

from collections.abc import Sequence
from typing import Any

import click


class ManyValuesOption(click.Option):
    """An option of a `ManyValuesCommand`; its value is a tuple, as of any option with multiple=True."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **{**options, "multiple": True})


class ManyValuesCommand(click.Command):
    """A command that understands its options of that kind; click itself has options with a fixed count only."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names = {name for option in self.params if isinstance(option, ManyValuesOption) for name in option.opts}
        return super().parse_args(ctx, spread(args, names))


def spread(arguments: Sequence[str], names: set[str]) -> list[str]:
    """The arguments with a name before each of its values: --in a b becomes --in a --in b.

    An argument that begins with - ends the values, so a file of such a name is given as ./-name; so does --, which
    also ends all options.

    Raises click.BadOptionUsage for a name without a value.
    """
    result: list[str] = []
    name = ""  # whose values are coming
    is_named = False  # the next value has its name already
    for place, argument in enumerate(arguments):
        is_option = argument.startswith("-") and argument != "-"
        if is_option and is_named:
            raise click.BadOptionUsage(name, f"Option '{name}' requires an argument.")
        if argument == "--":
            return [*result, *arguments[place:]]
        if argument in names:
            name, is_named = argument, True
            result.append(argument)
        elif is_option:
            name = ""
            result.append(argument)
        else:
            result += [argument] if is_named or not name else [name, argument]
            is_named = False
    return result
