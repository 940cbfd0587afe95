"""docs/architecture.md says what is on disk to the byte. Here a collection is read by what it says, without `db`."""

import hashlib
import json
import os
import re
import sqlite3
import struct
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from helpers.db_photos import LIFE, MODEL, create, live, photo

DOCUMENT = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
E, C = MODEL.embedding_size, MODEL.code_size


@pytest.fixture
def path(tmp_path):
    with create(tmp_path / "collection") as collection:
        live(collection)
        collection.record_build({"new": 5}, seconds=1.5)
    return tmp_path / "collection"


@pytest.fixture
def database(path):
    with closing(sqlite3.connect(path / "photos.db")) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def described(database):
    return database.execute("SELECT * FROM photo WHERE reason IS NULL ORDER BY id").fetchall()


def test_every_table_and_column_is_documented(database):
    assert database.execute("PRAGMA user_version").fetchone()[0] == 5
    assert "`user_version` is 5" in DOCUMENT
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in set(tables) - {"sqlite_sequence"}:
        section = re.search(rf"^\| \*\*{table}\*\* \|.*?(?=^\| \*\*|^$)", DOCUMENT, re.MULTILINE | re.DOTALL)
        assert section, table
        for column in database.execute(f"PRAGMA table_info({table})"):
            assert f"| `{column['name']}` | {column['type']} |" in section[0], (table, column["name"])


def test_features_are_where_the_rows_say(path, database):
    expected = {"b.jpg": photo(1, "b.jpg", version=1, count=4), "f.jpg": photo(1, "f.jpg", count=6)}
    assert len(described(database)) == 2
    for row in described(database):
        new = expected[os.fsdecode(row["path"])]
        segment = database.execute("SELECT * FROM segment WHERE id = ?", (row["segment_id"],)).fetchone()
        file = path / "features" / f"{segment['id']:08d}-{segment['sha256'][:8]}.h5"
        data = file.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (segment["size"], segment["sha256"])
        codes_start = segment["codes_offset"] + row["first_row"] * C * 2
        codes = data[codes_start : codes_start + row["region_count"] * C * 2]
        embeddings_start = segment["embeddings_offset"] + row["first_row"] * E * 2
        embeddings = data[embeddings_start : embeddings_start + row["region_count"] * E * 2]
        assert np.frombuffer(codes, "<f2").reshape(-1, C).tolist() == new.codes.tolist()
        assert np.frombuffer(embeddings, "<f2").reshape(-1, E).tolist() == new.embeddings.astype("<f2").tolist()
        assert zlib.crc32(codes + embeddings) == row["features_crc32"]


def test_the_checksum_of_rows(database):
    for row in described(database):
        ids = range(row["first_region_id"], row["first_region_id"] + row["region_count"])
        regions = [database.execute("SELECT * FROM region WHERE id = ?", (region_id,)).fetchone() for region_id in ids]
        assert {region["photo_id"] for region in regions} == {row["id"]}
        numbers = f"{row['width']} {row['height']} {row['first_region_id']}"
        text = "\0".join([row["digest"], numbers, *(region["phrase"] for region in regions)]).encode()
        floats = b"".join(
            struct.pack("<5d", *(region[name] for name in ("x1", "y1", "x2", "y2", "score"))) for region in regions
        )
        assert zlib.crc32(text + floats) == row["regions_crc32"]


def test_a_faiss_file_byte_for_byte(path, database):
    """The kind without inverted lists."""
    (row,) = database.execute("SELECT * FROM index_file").fetchall()
    data = (path / f"regions.{row['id']}.faiss").read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest(), row["lists"]) == (row["size"], row["sha256"], 0)
    n = row["region_count"]
    header = struct.pack("<iqqq?i", E, n, 1 << 20, 1 << 20, True, 0)
    start = b"IxM2" + header + b"IxSQ" + header + struct.pack("<iifQQQQ", 4, 0, 0, E, 2 * E, 0, n * E * 2)
    assert len(start) == 118 and data[:118] == start
    vectors = np.frombuffer(data[118 : 118 + n * E * 2], "<f2").reshape(n, E)
    rest = data[118 + n * E * 2 :]
    assert rest[:8] == struct.pack("<Q", n)
    ids = np.frombuffer(rest[8:], "<i8")
    assert len(ids) == n and (ids[[0, -1]] == [row["first_region_id"], row["last_region_id"]]).all()
    new = [photo(1, "b.jpg", version=1, count=4), photo(1, "f.jpg", count=6)]
    assert vectors.tolist() == np.concatenate([one.embeddings for one in new]).astype("<f2").tolist()


def test_the_rows_about_the_collection(database):
    meta = dict(database.execute("SELECT * FROM meta").fetchone())
    assert meta == {
        "id": 1, "model_digest": MODEL.digest, "embedding_size": E, "code_size": C, "revision": len(LIFE),
        "precisions": None,
    }  # fmt: skip
    build = database.execute("SELECT * FROM build").fetchone()
    assert json.loads(build["counts"]) == {"new": 5}
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", build["finished_at"])
    failed = database.execute("SELECT * FROM photo WHERE reason IS NOT NULL").fetchone()
    assert (failed["segment_id"], failed["first_region_id"], failed["width"]) == (None, None, None)


def test_the_lock_says_whose_it_is(path):
    with create(path):
        text = (path / "lock").read_text()
    assert re.fullmatch(rf"process {os.getpid()}, started 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d\n", text)
    assert (path / "lock").read_text() == ""
