"""A group of commands whose options may stand before the command: `search --collection PATH query "a dog"`."""

from contextlib import suppress

import click


class OptionsFirstGroup(click.Group):
    """Understands `[OPTIONS] COMMAND` as `COMMAND [OPTIONS]`; click itself takes only the group's own options there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0] not in own:
            place = self._place_of_command(args)
            args = self.without_command(args) if place is None else [args[place], *args[:place], *args[place + 1 :]]
        return super().parse_args(ctx, args)

    def without_command(self, args: list[str]) -> list[str]:
        """What to do with arguments that name no command, at least one: for click to refuse, unless overridden."""
        return args

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
