"""What the packages raise, as both programs tell it."""

import errno
import os

import click
import pytest
from click.testing import CliRunner, Result

from commands.errors import Failure, plain_errors
from db.errors import CollectionDamaged
from decoding.errors import PhotoError
from fcln.errors import CheckpointError
from indexer.errors import FolderError
from search.errors import QueryError


def run(error: BaseException, *others: type[Exception], failure: type[click.ClickException] = Failure) -> Result:
    @click.command()
    @plain_errors(*others, failure=failure)
    def command() -> None:
        raise error

    return CliRunner().invoke(command, [])


@pytest.mark.parametrize("kind", [PhotoError, CheckpointError, FolderError, QueryError])
def test_errors_of_every_package_are_one_sentence(kind):
    result = run(kind("it does not work"))
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", "Error: it does not work\n")


def test_damage_names_the_way_out():
    assert run(CollectionDamaged("photos.db is cut short")).stderr == (
        "Error: photos.db is cut short: run `indexer verify --repair`.\n"
    )


def test_what_the_disk_refuses_names_the_file():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert run(full).stderr == "Error: No space left on device.\n"
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"caf\xe9\n.db")
    assert run(denied).stderr == "Error: Permission denied: caf\\xe9\\n.db.\n"


def test_an_interrupt_has_a_code_of_its_own():
    result = run(KeyboardInterrupt())
    assert (result.exit_code, result.output) == (130, "")


def test_other_errors_and_codes_of_a_program():
    class OurError(Exception):
        pass

    result = run(OurError("no labels"), OurError, failure=click.ClickException)
    assert (result.exit_code, result.stderr) == (1, "Error: no labels\n")
    assert isinstance(run(OurError("no labels")).exception, OurError)  # a fault of the program keeps its traceback
