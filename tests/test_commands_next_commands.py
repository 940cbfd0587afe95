"""Commands that messages name run as they are printed."""

import os

import click
import pytest
from click.testing import CliRunner

from commands.errors import Failure
from commands.next_commands import runnable
from commands.options import LocationType, collection_option
from db.location import ENVIRONMENT_VARIABLE


@click.command()
@click.argument("message")
@click.option("--fail", is_flag=True)
@collection_option
def command(message, fail, collection):
    if fail:
        raise Failure(message)
    click.echo(runnable(message))


def say(message, *options, env=None):
    return CliRunner().invoke(command, [message, *options], env=env)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("see `indexer errors`.", "see `indexer errors --collection 'my photos'`."),
        ("(`indexer build --prune`, `search phrases`)", "(`indexer build --prune{}`, `search phrases{}`)"),
        ("`indexer status --collection other`", "`indexer status --collection other`"),
        ("`indexer copy A B`, `search`, `pip install x`, indexer errors", None),
    ],
)
def test_a_command_names_the_collection_that_was_asked_for(message, told):
    told = (told or message).replace("{}", " --collection 'my photos'")
    assert say(message, "--collection", "my photos").stdout == f"{told}\n"
    assert say(message).stdout == f"{message}\n"
    failed = say(message, "--fail", "--collection", "my photos")
    assert (failed.exit_code, failed.stderr) == (2, f"Error: {told}\n")


def test_the_default_collection_needs_no_name_and_a_password_is_not_shown():
    assert (
        say("`indexer errors`", "--collection", "here", env={ENVIRONMENT_VARIABLE: "here"}).stdout
        == "`indexer errors`\n"
    )
    server = "postgresql://ann:secret@db/photos"
    assert say("`indexer errors`", "--collection", server).stdout == (
        "`indexer errors --collection postgresql://ann@db/photos`\n"
    )


def test_outside_of_a_command_a_message_stays_as_it_is():
    assert runnable("`indexer errors`") == "`indexer errors`"


@click.command()
@click.argument("source", type=LocationType())
@click.argument("target", type=LocationType())
@click.argument("message")
def two(source, target, message):
    click.echo(runnable(message))


def test_of_two_collections_the_one_that_is_spoken_of_is_named():
    def say_of(message):
        return CliRunner().invoke(two, ["from here", "to there", message]).stdout

    assert say_of("to there is damaged: `indexer verify`") == (
        "to there is damaged: `indexer verify --collection 'to there'`\n"
    )
    damaged = os.path.abspath("from here") + "/features/1.h5 is damaged: `indexer verify`"
    assert say_of(damaged) == damaged[:-1] + " --collection 'from here'`\n"
    assert say_of("`indexer verify`") == "`indexer verify`\n"
