import sqlite3

import pytest
from sqlalchemy import create_engine, inspect

from db.errors import CollectionError, SchemaTooNew
from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from db.local.sqlite import migrations
from db.local.sqlite.connection import Database
from db.tables import Base
from helpers.db_photos import LIFE, contents, create, live, photo


@pytest.fixture
def store(tmp_path):
    store = Database(tmp_path / "photos.db", write=True)
    yield store
    store.close()


def columns(inspector, table):
    primary = inspector.get_pk_constraint(table)["constrained_columns"]
    return {
        column["name"]: (type(column["type"]).__name__, column["nullable"] or column["name"] in primary)
        for column in inspector.get_columns(table)
    }


def test_migrated_tables_are_the_ones_the_models_describe(store):
    declared = create_engine("sqlite://")
    Base.metadata.create_all(declared)
    with store.session() as session:
        migrations.migrate(session.connection())
        migrated = inspect(session.connection())
        by_models = inspect(declared)
        assert set(migrated.get_table_names()) == set(by_models.get_table_names())
        kinds = {"VARCHAR": "TEXT", "DOUBLE": "REAL"}  # SQLAlchemy's names for the same storage
        for table in by_models.get_table_names():
            expected = {
                name: (kinds.get(kind, kind), nullable) for name, (kind, nullable) in columns(by_models, table).items()
            }
            assert columns(migrated, table) == expected, table
            # A row each: id, number, table, from, to, on update, on delete, match.
            keys = f"PRAGMA foreign_key_list({table})"
            with declared.connect() as connection:
                assert session.connection().exec_driver_sql(keys).all() == [
                    (*row[:4], row[4] or "id", *row[5:]) for row in connection.exec_driver_sql(keys)
                ], table
            indexes = [{i["name"] for i in inspector.get_indexes(table)} for inspector in (migrated, by_models)]
            assert indexes[0] == indexes[1], table
    declared.dispose()


LAST = len(migrations.MIGRATIONS)


def test_missing_steps_are_taken_once_and_in_order(store, monkeypatch):
    with store.session() as session:
        migrations.migrate(session.connection())
        assert migrations.schema_version(session.connection()) == LAST == 5
    taken = []
    later = (*migrations.MIGRATIONS, lambda c: taken.append(6), lambda c: taken.append(7))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    for _ in range(2):
        with store.session() as session:
            migrations.migrate(session.connection())
            assert migrations.schema_version(session.connection()) == 7
    assert taken == [6, 7]


def test_a_step_that_fails_leaves_the_old_schema(store, monkeypatch):
    with store.session() as session:
        migrations.migrate(session.connection())

    def half(connection):
        connection.exec_driver_sql("CREATE TABLE album (id INTEGER PRIMARY KEY)")
        raise ZeroDivisionError

    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, half))
    with pytest.raises(ZeroDivisionError), store.session() as session:
        migrations.migrate(session.connection())
    with store.session() as session:
        assert migrations.schema_version(session.connection()) == LAST
        assert "album" not in inspect(session.connection()).get_table_names()


def test_a_newer_schema_is_refused_untouched(store):
    with store.session() as session:
        session.connection().exec_driver_sql("PRAGMA user_version = 9")
    sentence = "^The collection has schema 9, this program knows schemas up to 5: .*newer version.*\\.$"
    with pytest.raises(SchemaTooNew, match=sentence), store.session() as session:
        migrations.migrate(session.connection())
    with store.session() as session:
        assert inspect(session.connection()).get_table_names() == []


def test_an_older_schema_is_no_use_to_a_reader():
    with pytest.raises(CollectionError, match=r"^The collection has the older schema 1: run `indexer build` once"):
        migrations.check_version(1)


NEW_IN_3 = (
    *("ctime_ns", "incomplete", "taken", "utc_offset", "make", "model", "lens", "latitude", "longitude", "rating"),
    "keywords",
)


def undo_m005():
    return "ALTER TABLE meta DROP COLUMN precisions;"


def undo_m004():
    columns = "".join(f"ALTER TABLE index_file DROP COLUMN {c};" for c in ("quantizer_id", "recall"))
    return f"{undo_m005()} DROP TABLE quantizer; {columns}"


def undo_m003():
    columns = "".join(f"ALTER TABLE photo DROP COLUMN {name};" for name in NEW_IN_3)
    return f"{columns} ALTER TABLE root DROP COLUMN left_out;"


def as_of_schema_1(path, *, index_revision):
    """Turn a collection into what version 1 would have left."""
    database = sqlite3.connect(path / "photos.db")
    database.executescript(f"""
        {undo_m004()}
        {undo_m003()}
        ALTER TABLE photo DROP COLUMN features_crc32;
        ALTER TABLE photo DROP COLUMN regions_crc32;
        DROP INDEX ix_photo_first_region_id;
        ALTER TABLE meta ADD COLUMN index_generation INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE meta ADD COLUMN index_revision INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE meta ADD COLUMN index_lists INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE meta ADD COLUMN index_size INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE meta ADD COLUMN index_sha256 TEXT NOT NULL DEFAULT '';
        UPDATE meta SET (index_generation, index_size, index_sha256) = (SELECT id, size, sha256 FROM index_file);
        UPDATE meta SET index_revision = {index_revision};
        DROP TABLE index_file;
        DELETE FROM sqlite_sequence WHERE name = 'index_file';
        PRAGMA user_version = 1;
    """)
    database.close()


@pytest.mark.parametrize("index_revision", [len(LIFE), len(LIFE) - 1])
def test_a_collection_of_schema_1_goes_on(tmp_path, caplog, index_revision):
    with create(tmp_path) as writer:
        live(writer)
        expected = contents(writer)
    as_of_schema_1(tmp_path, index_revision=index_revision)
    before = sqlite3.connect(tmp_path / "photos.db").execute("SELECT * FROM photo").fetchall()
    with pytest.raises(CollectionError, match="older schema 1"):
        LocalCollection.open(tmp_path)
    with create(tmp_path) as writer:
        copy = tmp_path / "photos.schema-1.db"
        assert f"from schema 1 to 5; its database before that stays as {copy}." in caplog.text
        assert sqlite3.connect(copy).execute("SELECT * FROM photo").fetchall() == before
        assert sqlite3.connect(copy).execute("PRAGMA user_version").fetchone() == (1,)
        assert contents(writer) == expected
        # An index file that was up to date is the one that counts; else a new one does.
        names = [file.name for file in writer.snapshot.files]
        assert names == (["regions.1.faiss"] if index_revision == len(LIFE) else [])
        writer.commit(new=[photo(1, "new.jpg")])
        expected = contents(writer)
    caplog.clear()
    report = verify(tmp_path)
    assert (report.problems, report.counts.without_checksums) == ([], 3 - 1)
    with create(tmp_path) as writer:
        assert contents(writer) == expected
    assert not caplog.records


def test_ids_of_deleted_rows_do_not_come_again(store):
    with store.session() as session:
        connection = session.connection()
        migrations.migrate(connection)
        for table, values in {
            "root": "(path) VALUES ('a')",
            "segment": "(rows, size, sha256, codes_offset, embeddings_offset) VALUES (1, 1, '', 0, 0)",
            "photo": "(root_id, path, size, mtime_ns, reason) VALUES (2, 'a', 1, 1, 'x')",
            "index_file": "(first_region_id, last_region_id, region_count, lists, size, sha256)"
            " VALUES (1, 1, 1, 0, 1, '')",
            "region": "(photo_id, x1, y1, x2, y2, score, phrase) VALUES (2, 0, 0, 1, 1, 0, '')",
        }.items():
            session.connection().exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql(f"INSERT INTO {table} {values}")
            connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql(f"INSERT INTO {table} {values}")
            assert connection.exec_driver_sql(f"SELECT id FROM {table}").scalars().all() == [2], table


def test_a_collection_of_schema_4_goes_on_and_does_not_know_how_it_was_described(tmp_path):
    with create(tmp_path) as writer:
        live(writer)
        expected = contents(writer)
    database = sqlite3.connect(tmp_path / "photos.db")
    database.executescript(f"{undo_m005()} PRAGMA user_version = 4;")
    database.close()
    with LocalCollection.open(tmp_path) as reader:
        assert reader.precisions() == []
    with create(tmp_path) as writer:
        assert contents(writer) == expected
        assert writer.precisions() == []
        writer.note_precision("in float32")
        assert writer.precisions() == ["in float32"]
    assert not verify(tmp_path).problems


def test_a_collection_of_schema_2_goes_on(tmp_path):
    with create(tmp_path) as writer:
        live(writer)
        expected = contents(writer)
    database = sqlite3.connect(tmp_path / "photos.db")
    database.executescript(f"{undo_m004()} {undo_m003()} PRAGMA user_version = 2;")
    database.close()
    with create(tmp_path) as writer:
        assert contents(writer) == expected
        stats = [stat for root_id in writer.roots() for stat in writer.known(root_id).values()]
        assert {(stat.ctime_ns, stat.incomplete, stat.headers_read) for stat in stats} == {(None, None, False)}
        assert writer.left_out() == {1: {}}
    assert not verify(tmp_path).problems


def test_a_collection_of_schema_3_is_read_as_it_is(tmp_path, caplog):
    """Only where FAISS files have their lists changed since: a reader does without."""
    with create(tmp_path) as writer:
        live(writer)
        expected = contents(writer)
    database = sqlite3.connect(tmp_path / "photos.db")
    database.executescript(f"{undo_m004()} PRAGMA user_version = 3;")
    database.close()
    with LocalCollection.open(tmp_path) as reader:
        assert contents(reader) == expected
        assert (reader.snapshot.quantizers, [file.recall for file in reader.snapshot.files]) == ({}, [None])
    assert sqlite3.connect(tmp_path / "photos.db").execute("PRAGMA user_version").fetchone() == (3,)
    assert not verify(tmp_path).problems and not caplog.records
    with create(tmp_path) as writer:
        assert contents(writer) == expected and len(writer.snapshot.files) == 1
    assert not verify(tmp_path).problems
