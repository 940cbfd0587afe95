"""Options before a command are the command's; what is not only options before it is left to click."""

import click
import pytest
from click.testing import CliRunner

from commands.options_first import OptionsFirstGroup


@click.group(cls=OptionsFirstGroup)
@click.option("--loud", is_flag=True)
def group(loud: bool) -> None:
    if loud:
        click.echo("LOUD")


@group.command()
@click.option("--place")
@click.option("-k", "--top", type=int)
@click.option("--all", "everything", is_flag=True)
@click.argument("words", nargs=-1)
def find(place: str | None, top: int | None, everything: bool, words: tuple[str, ...]) -> None:
    click.echo(repr((place, top, everything, words)))


@group.command()
@click.option("--deep", is_flag=True)
def look(deep: bool) -> None:
    click.echo(f"look {deep}")


def run(line: str) -> tuple[int, str]:
    done = CliRunner().invoke(group, line.split())
    return done.exit_code, done.output.strip()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("find --place here -k 3 a b", "('here', 3, False, ('a', 'b'))"),
        ("--place here find -k 3 a b", "('here', 3, False, ('a', 'b'))"),
        ("--place=here -k3 --all find a", "('here', 3, True, ('a',))"),
        ("--place find find a", "('find', None, False, ('a',))"),  # the value of an option is no command
        ("--place look find a", "('look', None, False, ('a',))"),
        ("--deep look", "look True"),
        ("find look", "(None, None, False, ('look',))"),
        ("--loud look", "LOUD\nlook False"),
    ],
)
def test_options_go_to_the_command(line, expected):
    assert run(line) == (0, expected)


@pytest.mark.parametrize("line", ["--nothing look", "word look", "--deep find", "--place here"])
def test_click_refuses_the_rest(line):
    code, output = run(line)
    assert code == 2 and ("No such" in output or "Missing command" in output or "no such" in output.lower())


def test_help_is_the_groups():
    assert "look" in run("--help")[1] and "look" in run("")[1]
