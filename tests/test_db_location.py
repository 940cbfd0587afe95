from pathlib import Path

from db.location import default_collection


def test_the_environment_variable_names_the_collection(monkeypatch, tmp_path):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", str(tmp_path / "mine"))
    assert default_collection() == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", "~/mine")
    assert default_collection() == tmp_path / "mine"


def test_else_it_is_in_the_users_data_folder_and_nothing_is_created(monkeypatch, tmp_path):
    monkeypatch.setenv("DENSECAP_SEARCH_COLLECTION", "")
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name, appauthor: str(tmp_path / name))
    assert default_collection() == Path(tmp_path / "densecap-search" / "collection")
    assert not (tmp_path / "densecap-search").exists()
