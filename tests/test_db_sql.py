"""What SQLite and PostgreSQL say differently. SQLite runs; for PostgreSQL the statements are looked at."""

import numpy as np
import pytest
from sqlalchemy import create_engine, delete, insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from db.errors import CollectionDamaged
from db.sql import among, file_name
from db.tables import Base, Photo, Region, Root


@pytest.fixture
def connection():
    """Roots 1 to 9."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Root), [{"id": number, "path": f"/{number}"} for number in range(1, 10)])
        yield connection
    engine.dispose()


@pytest.mark.parametrize("ids", [[], [3], (7, 2, 2), range(5, 100_000), np.array([1, 9, 77]), {4}])
def test_any_number_of_ids_of_any_kind(connection, ids):
    found = connection.execute(select(Root.id).where(among(Root.id, ids))).scalars().all()
    assert sorted(found) == sorted({int(some_id) for some_id in ids} & set(range(1, 10)))
    others = connection.execute(select(Root.id).where(~among(Root.id, ids))).scalars().all()
    assert sorted([*found, *others]) == list(range(1, 10))


def test_the_same_statement_with_other_ids_finds_others(connection):
    """SQLAlchemy keeps compiled statements."""
    for ids in ([1], [2, 3], [1]):
        assert connection.execute(select(Root.id).where(among(Root.id, ids))).scalars().all() == ids
    connection.execute(delete(Root).where(among(Root.id, [2, 3])))
    assert connection.execute(select(Root.id).where(among(Root.id, [1, 2, 3, 4]))).scalars().all() == [1, 4]


def test_ids_are_found_by_the_index(connection):
    statement = select(Region.id).where(among(Region.photo_id, [1, 2]))
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.compile(connection)}", ("[1, 2]",)).all()
    assert any("USING COVERING INDEX ix_region_photo_id" in row.detail for row in plan), plan


def test_on_postgresql_ids_are_one_array():
    statement = select(Root.id).where(among(Root.id, np.array([1, 2]))).compile(dialect=postgresql.dialect())
    assert str(statement).endswith("WHERE root.id IN (SELECT unnest(%(param_1)s::BIGINT[]))")
    assert statement.params == {"param_1": [1, 2]}


def test_on_postgresql_numbers_have_64_bits():
    """A time in nanoseconds does not fit in its INTEGER."""
    for table in Base.metadata.sorted_tables:
        created = str(CreateTable(table).compile(dialect=postgresql.dialect()))
        assert "INTEGER" not in created and "id BIGSERIAL NOT NULL" in created
    assert "mtime_ns BIGINT NOT NULL" in str(CreateTable(Photo.__table__).compile(dialect=postgresql.dialect()))


def test_a_file_name_that_is_no_bytes_is_damage():
    assert file_name(b"\xff.jpg") == "\udcff.jpg"
    with pytest.raises(CollectionDamaged, match=r"A file name in photos\.db is damaged"):
        file_name("a.jpg")
