import pytest
from sqlalchemy import create_engine, inspect

from db import migrations
from db.errors import CollectionError, SchemaTooNew
from db.models import Base
from db.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "photos.db", write=True)
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


def test_missing_steps_are_taken_once_and_in_order(store, monkeypatch):
    with store.session() as session:
        migrations.migrate(session.connection())
        assert migrations.schema_version(session.connection()) == 1
    taken = []
    later = (migrations.m001_tables, lambda c: taken.append(2), lambda c: taken.append(3))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    for _ in range(2):
        with store.session() as session:
            migrations.migrate(session.connection())
            assert migrations.schema_version(session.connection()) == 3
    assert taken == [2, 3]


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
        assert migrations.schema_version(session.connection()) == 1
        assert "album" not in inspect(session.connection()).get_table_names()


def test_a_newer_schema_is_refused_untouched(store):
    with store.session() as session:
        session.connection().exec_driver_sql("PRAGMA user_version = 7")
    with pytest.raises(SchemaTooNew, match="schema 7, this program knows schemas up to 1"), store.session() as session:
        migrations.migrate(session.connection())
    with store.session() as session:
        assert inspect(session.connection()).get_table_names() == []


def test_an_older_schema_is_no_use_to_a_reader(monkeypatch):
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, lambda connection: None))
    with pytest.raises(CollectionError, match="older schema 1: run `indexer build`"):
        migrations.check_version(1)


def test_ids_of_deleted_rows_do_not_come_again(store):
    with store.session() as session:
        connection = session.connection()
        migrations.migrate(connection)
        for table, values in {
            "root": "(path) VALUES ('a')",
            "segment": "(rows, size, sha256, codes_offset, embeddings_offset) VALUES (1, 1, '', 0, 0)",
            "photo": "(root_id, path, size, mtime_ns, reason) VALUES (2, 'a', 1, 1, 'x')",
            "region": "(photo_id, x1, y1, x2, y2, score, phrase) VALUES (2, 0, 0, 1, 1, 0, '')",
        }.items():
            session.connection().exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql(f"INSERT INTO {table} {values}")
            connection.exec_driver_sql(f"DELETE FROM {table}")
            connection.exec_driver_sql(f"INSERT INTO {table} {values}")
            assert connection.exec_driver_sql(f"SELECT id FROM {table}").scalars().all() == [2], table
