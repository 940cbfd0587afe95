"""Copies of photos.db: what is left when the disk damages the one file that nothing else could replace."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from db.errors import CollectionDamaged
from db.local.files import sync_folder
from db.local.layout import SQLITE_SUFFIXES, Layout, damaged, temporary
from db.local.sqlite.connection import plain_errors


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as of its last commit: whole or not at all, and never a damaged one.

    SQLite's own way (https://www.sqlite.org/backup.html), which needs no exclusive access. Here 0.5 GB take 2 s, and as
    long again to check.

    Raises:
        CollectionDamaged: the source is damaged; an earlier copy stays.
        CollectionError: the disk refuses.
    """
    unfinished = temporary(target)
    with plain_errors(source):
        try:
            with closing(_connect(source)) as original, closing(sqlite3.connect(unfinished)) as copy:
                original.backup(copy)
                # Pages are copied as they are: without WAL, the copy is one file.
                copy.execute("PRAGMA journal_mode = DELETE")
                if (verdict := copy.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise CollectionDamaged(f"{source} is damaged ({verdict})")
            _sync(unfinished)
            os.replace(unfinished, target)
        finally:
            remove_database(unfinished)
        sync_folder(target.parent)


def copied_revision(path: Path) -> int | None:
    """The number of the commit that a copy holds; None: there is no copy that can be read."""
    try:
        with closing(_connect(path)) as connection:
            return int(connection.execute("SELECT revision FROM meta").fetchone()[0])
    except sqlite3.DatabaseError:
        return None


def is_sound(path: Path) -> bool:
    """Whether SQLite finds nothing wrong with a copy."""
    try:
        with closing(_connect(path)) as connection:
            return connection.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError:
        return False


def restore_database(copy: Path, path: Path) -> None:
    """Put a copy in the place of a damaged or missing database, which stays beside it as `<name>.damaged`.

    Killed at any moment, there is either the damaged database or none (and the copy), or the restored one. Only for a
    writer while there are no readers: FAISS files and segments may come again under names that an earlier commit used.

    Raises:
        CollectionError: the disk refuses, or the copy is damaged too.
    """
    restored = temporary(path)
    copy_database(copy, restored)
    with plain_errors(path):
        with closing(sqlite3.connect(restored)) as connection, connection:
            # The FAISS files of that time may be gone: they are rebuilt from the segments.
            connection.execute("DELETE FROM index_file")
            if connection.execute("SELECT * FROM sqlite_master WHERE name = 'quantizer'").fetchone():
                connection.execute("DELETE FROM quantizer")
        _sync(restored)
        for suffix in SQLITE_SUFFIXES:  # nothing of the damaged database's log may get into the restored one
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        if path.exists():
            os.replace(path, damaged(path))
        os.replace(restored, path)
        sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Delete the copies in a collection's folder that were left unfinished by a killed writer."""
    for path in Layout(folder).unfinished_databases():
        remove_database(path)


def remove_database(path: Path) -> None:
    """Delete a database, if it is there, with what SQLite keeps beside it."""
    for suffix in ("", *SQLITE_SUFFIXES):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    """To read; makes nothing."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _sync(path: Path) -> None:
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())
