import os
import sqlite3
from contextlib import closing

import pytest

from db.errors import CollectionDamaged, CollectionError
from db.local.sqlite.backup import copied_revision, copy_database, is_sound, restore_database, sweep
from db.local.sqlite.connection import Database


@pytest.fixture
def database(tmp_path):
    """A database that a writer has open, with a row that is in the log only."""
    path = tmp_path / "photos.db"
    store = Database(path, write=True)
    with store.session() as session:
        connection = session.connection()
        connection.exec_driver_sql("CREATE TABLE meta (revision INTEGER)")
        connection.exec_driver_sql("CREATE TABLE index_file (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO meta VALUES (3)")
        connection.exec_driver_sql("INSERT INTO index_file VALUES (1)")
    assert (tmp_path / "photos.db-wal").stat().st_size > 0
    yield path
    store.close()


def damage(path):
    """Write over the second page."""
    with open(path, "rb+") as file:
        file.seek(4096)
        file.write(b"\xff" * 500)


def rows(path, table):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table}").fetchall()


def test_a_copy_holds_the_last_commit_in_one_file(database, tmp_path):
    copy = tmp_path / "copy.db"
    copy_database(database, copy)
    assert rows(copy, "meta") == [(3,)] and is_sound(copy)
    assert copied_revision(copy) == 3
    assert sorted(os.listdir(tmp_path)) == ["copy.db", "photos.db", "photos.db-shm", "photos.db-wal"]


def test_a_damaged_database_does_not_take_the_place_of_a_good_copy(database, tmp_path):
    copy = tmp_path / "copy.db"
    copy_database(database, copy)
    before = copy.read_bytes()
    broken = tmp_path / "broken.db"
    broken.write_bytes(before)
    damage(broken)
    with pytest.raises(CollectionDamaged, match=r"broken\.db is damaged"):
        copy_database(broken, copy)
    assert copy.read_bytes() == before
    assert not list(tmp_path.glob("copy.db?*"))


def test_a_full_disk_leaves_the_earlier_copy(database, tmp_path, monkeypatch):
    copy = tmp_path / "copy.db"
    copy_database(database, copy)
    before = copy.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CollectionError, match="No space left on device"):
        copy_database(database, copy)
    assert copy.read_bytes() == before and not list(tmp_path.glob("copy.db?*"))


def test_what_is_no_copy(tmp_path):
    assert copied_revision(tmp_path / "none.db") is None and not is_sound(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("this is no database" * 1000)
    assert copied_revision(tmp_path / "text.db") is None and not is_sound(tmp_path / "text.db")
    assert os.listdir(tmp_path) == ["text.db"]


def test_a_damaged_copy_is_not_sound(database, tmp_path):
    copy = tmp_path / "copy.db"
    copy_database(database, copy)
    damage(copy)
    assert not is_sound(copy)


def test_restored_it_is_as_it_was_but_knows_no_faiss_files(tmp_path, database):
    copy, path = tmp_path / "copy.db", tmp_path / "other" / "photos.db"
    copy_database(database, copy)
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    path.with_name("photos.db-wal").write_bytes(b"a log of commits that did not reach the database")
    restore_database(copy, path)
    assert rows(path, "meta") == [(3,)] and rows(path, "index_file") == []
    assert sorted(os.listdir(path.parent)) == ["photos.db", "photos.db.damaged"]
    assert path.with_name("photos.db.damaged").read_bytes() == b"damaged"
    path.unlink()
    restore_database(copy, path)  # one that is not there at all
    assert rows(path, "meta") == [(3,)]


def test_unfinished_copies_are_swept(tmp_path):
    for name in ("photos.copy.db", "photos.copy.db.tmp", "photos.copy.db.tmp-journal", "photos.schema-1.db.tmp"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["photos.copy.db"]
