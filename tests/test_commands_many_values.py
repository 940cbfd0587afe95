"""Options with as many values as there are."""

import click
import pytest
from click.testing import CliRunner

from commands.many_values import ManyValuesCommand, ManyValuesOption, spread


@click.command(cls=ManyValuesCommand)
@click.argument("words", nargs=-1)
@click.option("--in", "places", cls=ManyValuesOption, metavar="PLACE...")
@click.option("--top", type=int)
@click.option("--short", "-s", is_flag=True)
def command(words, places, top, short):
    click.echo(f"{words} {places} {top} {short}")


@pytest.mark.parametrize(
    ("arguments", "words", "places", "top"),
    [
        (["a", "b"], ("a", "b"), (), None),
        (["a", "--in", "x"], ("a",), ("x",), None),
        (["a", "--in", "x", "y", "z"], ("a",), ("x", "y", "z"), None),
        (["a", "--in", "x", "y", "--top", "3"], ("a",), ("x", "y"), 3),
        (["--top", "3", "a", "--in", "x", "--in", "y", "z"], ("a",), ("x", "y", "z"), 3),
        (["--in", "x", "y", "-s", "a"], ("a",), ("x", "y"), None),
        (["--in=x", "a"], ("a",), ("x",), None),  # an = holds one value
        (["a", "--in", "x", "--", "y", "--in"], ("a", "y", "--in"), ("x",), None),
        (["a", "--in", "-", "./-x"], ("a",), ("-", "./-x"), None),
    ],
)
def test_all_up_to_the_next_option_are_its_values(arguments, words, places, top):
    done = CliRunner().invoke(command, arguments)
    assert done.output == f"{words} {places} {top} {'-s' in arguments}\n"


@pytest.mark.parametrize("arguments", [["a", "--in"], ["--in", "--top", "3"]])
def test_without_a_value_it_is_refused(arguments):
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2 and "Option '--in' requires an argument." in done.output


def test_other_arguments_stay_as_they_are():
    arguments = ["a", "-k", "3", "--out", "x", "y"]
    assert spread(arguments, {"--in"}) == arguments
