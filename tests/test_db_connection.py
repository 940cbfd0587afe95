import os
import shutil
import sqlite3
from types import SimpleNamespace

import pytest

from db.errors import CollectionDamaged, CollectionError
from db.local.sqlite.connection import Database, plain_errors


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a folder#1?" / "photos.db"
    path.parent.mkdir()
    store = Database(path, write=True)
    with store.session() as session:
        session.connection().exec_driver_sql("CREATE TABLE t (x INTEGER)")
    store.close()
    return path


def count(store):
    with store.session() as session:
        return session.connection().exec_driver_sql("SELECT count(*) FROM t").scalar_one()


def insert(store):
    with store.session() as session:
        session.connection().exec_driver_sql("INSERT INTO t VALUES (1)")


def test_a_reader_keeps_its_snapshot_until_it_is_refreshed(path):
    writer, reader = Database(path, write=True), Database(path, write=False)
    insert(writer)
    assert count(reader) == 1
    insert(writer)
    assert count(writer) == 2
    assert count(reader) == 1
    reader.refresh()
    assert count(reader) == 2
    reader.close()
    writer.close()


def test_a_failed_session_is_rolled_back(path):
    writer = Database(path, write=True)
    with pytest.raises(ZeroDivisionError), writer.session() as session:
        session.connection().exec_driver_sql("INSERT INTO t VALUES (1)")
        raise ZeroDivisionError
    assert count(writer) == 0
    insert(writer)
    assert count(writer) == 1
    writer.close()


def test_a_commit_is_on_the_disk_and_foreign_keys_hold(path):
    writer = Database(path, write=True)
    with writer.session() as session:
        pragmas = [
            session.connection().exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 2, 1]  # 2: FULL
    writer.close()


def test_a_reader_cannot_write(path):
    reader = Database(path, write=False)
    with pytest.raises(CollectionError, match="readonly"):
        insert(reader)
    reader.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_a_reader_of_a_write_protected_folder_creates_nothing(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: False)  # for root, every real folder is writable
    reader = Database(path, write=False)
    assert count(reader) == 0
    assert os.listdir(path.parent) == ["photos.db"]
    reader.close()


def test_a_database_locked_by_another_program_is_said_in_a_sentence(path, monkeypatch):
    monkeypatch.setattr("db.local.sqlite.connection.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer = Database(path, write=True)
    with pytest.raises(CollectionError, match=r"^SQLite refuses .*photos\.db: database is locked\.$"):
        insert(writer)
    other.execute("ROLLBACK")
    other.close()
    insert(writer)
    writer.close()


def test_a_schema_that_is_not_even_text_is_damage(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE t", b"CREATE TA\xc3LE t"))
    store = Database(path, write=False)
    with pytest.raises(CollectionDamaged, match=r"photos\.db is damaged"):
        count(store)
    store.close()


@pytest.mark.parametrize("damage", ["header", "page"])
def test_an_altered_database_is_said_to_be_damaged(path, damage):
    data = bytearray(path.read_bytes())
    position = 0 if damage == "header" else len(data) - 4096
    data[position : position + 100] = b"\xff" * 100
    path.write_bytes(data)
    store = Database(path, write=False)
    with pytest.raises(CollectionDamaged, match=r"photos\.db is damaged \(.*\): run `indexer verify --repair`\.$"):
        count(store)
    store.close()


def test_a_full_disk_is_called_one(tmp_path, monkeypatch):
    """SQLite needs room beside photos.db also to read, and calls it an I/O error."""

    def refuse():
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
        raise error

    ours = tmp_path / "photos.db"
    sentence = r"^SQLite refuses .*photos\.db: disk I/O error\.$"
    with pytest.raises(CollectionError, match=sentence), plain_errors(ours):
        refuse()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    sentence = r"^SQLite needs room beside .*photos\.db, and the disk is full\.$"
    with pytest.raises(CollectionError, match=sentence), plain_errors(ours):
        refuse()
