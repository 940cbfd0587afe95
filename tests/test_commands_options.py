import pytest
from click.testing import CliRunner

from indexer.cli import main as indexer
from search.cli import commands as search

URL = "postgresql://me:secret@/photos?host=/nowhere"


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (indexer, ["build", "."]),
        (indexer, ["status"]),
        (indexer, ["errors"]),
        (indexer, ["remove", "photos"]),
        (indexer, ["verify"]),
        (indexer, ["compact"]),
        (indexer, ["rebuild", "--wait"]),
        (search, ["query", "a dog"]),
        (search, ["detect", "a dog"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
@pytest.mark.parametrize("how", ["option", "environment"])
def test_every_command_asks_a_server_and_shows_no_password(program, arguments, how, monkeypatch):
    if how == "option":
        arguments = [*arguments, "--collection", URL]
    else:
        monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", URL)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert result.output.startswith("Error: No server answers at postgresql://me@/photos?host=%2Fnowhere (")
    assert result.output.endswith("): start PostgreSQL there, or correct the URL.\n") and result.output.count("\n") == 1


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        (indexer, ["build", ""]),
        (indexer, ["remove", ""]),
        (indexer, ["relocate", "old", ""]),
        (indexer, ["status", "--collection", ""]),
        (search, ["query", "a dog", "--copy", ""]),
        (search, ["query", "a dog", "--under", ""]),
        (search, ["detect", "a dog", "--in", ""]),
        (search, ["describe", ""]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_an_empty_name_is_not_the_folder_that_one_is_in(program, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert '"" names no file and no folder' in result.output and "Traceback" not in result.output
