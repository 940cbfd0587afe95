from pathlib import Path

import pytest

from db.errors import CollectionError
from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from db.location import collection_folder, default_collection, is_server, option, without_password


def test_the_environment_variable_names_the_collection(monkeypatch, tmp_path):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(tmp_path / "mine"))
    assert default_collection() == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", "~/mine")
    assert default_collection() == tmp_path / "mine"
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", "~nobodys")
    assert default_collection() == Path("~nobodys")


def test_else_it_is_in_the_users_data_folder_and_nothing_is_created(monkeypatch, tmp_path):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", "")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name, appauthor: str(tmp_path / name))
    assert default_collection() == Path(tmp_path / "densecap-search" / "collection")
    assert not (tmp_path / "densecap-search").exists()


URL = "postgresql://me:secret@example.org/photos"


def test_a_server_is_no_folder_and_its_password_is_not_told(monkeypatch):
    sentence = r"^A collection on a server \(postgresql://\.\.\.\) cannot be used for this: name a folder\.$"
    for use in (LocalCollection.open, verify, collection_folder):
        with pytest.raises(CollectionError, match=sentence):
            use(URL)
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", URL)
    assert default_collection() == URL


@pytest.mark.parametrize("folder", ["photos", "/photos", "C:\\photos", "a:/b", "postgresql:/x"])
def test_all_else_is_a_folder(folder):
    assert not is_server(folder) and not is_server(Path(folder))
    assert collection_folder(folder) == Path(folder).absolute()


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (URL, "postgresql://me@example.org/photos"),
        ("postgresql://me:p:w@h/d?password=secret&schema=x", "postgresql://me@h/d?schema=x"),
        ("postgresql://h:5432/d?password=secret", "postgresql://h:5432/d"),
        ("/photos:a@b", "/photos:a@b"),
        (Path("/photos"), "/photos"),
    ],
)
def test_a_location_is_shown_without_its_password(location, shown):
    assert without_password(location) == shown


def test_a_command_names_every_collection_but_the_default_one(monkeypatch, tmp_path):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(tmp_path / "default"))
    assert option(tmp_path / "default") == ""
    assert option(tmp_path / "my own") == f" --collection '{tmp_path}/my own'"
    assert option("postgresql://me:secret@server/photos") == " --collection postgresql://me@server/photos"
