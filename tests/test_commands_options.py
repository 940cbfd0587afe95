import pytest
from click.testing import CliRunner

from indexer.cli import main as indexer
from search.cli import commands as search

URL = "postgresql://me:secret@example.org/photos"


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
def test_a_collection_on_a_server_is_refused_and_its_password_not_shown(program, arguments, how, monkeypatch):
    if how == "option":
        arguments = [*arguments, "--collection", URL]
    else:
        monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", URL)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert result.output == "Error: A collection cannot be on a server yet (postgresql://...): name a folder.\n"
