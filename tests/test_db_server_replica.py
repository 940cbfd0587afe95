"""A real streaming replica: it answers while the server is written to, lags, and takes its place."""

import time

import numpy as np
import psycopg
import pytest

from db.collection import open_collection
from db.errors import CollectionError, CollectionUnreachable
from db.postgres.address import Address
from helpers.db_photos import MODEL, contents, photo
from helpers.db_server import partitioned, server

PATIENCE = 300  # seconds that a test waits at most for what takes a moment


@pytest.fixture
def replica():
    with server().replica() as running:
        yield running


@pytest.fixture
def writer(monkeypatch):
    """Of 40 photographs of 20 regions in two partitions with indexes: large, as questions see it."""
    with partitioned(monkeypatch, 40, partition_regions=400) as collection:
        yield collection


def ask(url, statement):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchone()[0]


def catch_up(replica):
    """Wait until it has all that the server has."""
    end = ask(server().url, "SELECT pg_current_wal_lsn()")
    give_up = time.monotonic() + PATIENCE
    while not ask(replica.url, f"SELECT pg_last_wal_replay_lsn() >= '{end}'"):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def at(replica, collection):
    """The URL of a collection on a replica."""
    return f"{replica.url}&schema={Address.parse(collection.location).schema}"


def question(seed):
    vectors = np.random.default_rng(seed).normal(size=(2, MODEL.embedding_size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_replica_answers_with_whole_commits_however_far_behind(replica, writer, monkeypatch):
    catch_up(replica)
    monkeypatch.setenv("DENSECAP_SEARCH_READ_URL", replica.url)
    with open_collection(writer.location) as reader:
        assert reader.server.read(lambda session: session.connection().exec_driver_sql(
            "SELECT pg_is_in_recovery()").scalar())  # fmt: skip
        assert contents(reader) == contents(writer)
        before = reader.candidates(question(0), 10)
        assert np.isin(before, writer.candidates(question(0), 10)).mean() > 0.8
        assert ask(replica.url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'densecap-search'") == 4

        ask(replica.url, "SELECT pg_wal_replay_pause() IS NULL")
        added = [photo(1, f"later {number}.jpg") for number in range(3)]
        for each in added:
            writer.commit(new=[each], gone=[writer.photo_ids()[0]])
        reader.refresh()
        assert (reader.revision, writer.revision) == (1, 4)
        assert reader.candidates(question(0), 10).tolist() == before.tolist()
        ask(replica.url, "SELECT pg_wal_replay_resume() IS NULL")
        catch_up(replica)
        reader.refresh()
        assert reader.revision == 4 and contents(reader) == contents(writer)
        assert reader.candidates(added[0].embeddings[:1], 1)[0] == reader.photo_ids()[-3]
    read_only = r"can only be read .*: name the primary server to write"
    with open_collection(at(replica, writer), write=True) as refused, pytest.raises(CollectionError, match=read_only):
        refused.commit(new=[photo(1, "refused.jpg")])


def test_what_is_deleted_meanwhile_does_not_change_what_a_reader_of_the_replica_sees(replica, writer):
    """The server cleans up rows that the replica's reader still sees: it gets all of them, or a sentence."""
    catch_up(replica)
    with open_collection(at(replica, writer)) as reader:
        before = contents(reader)
        writer.commit(gone=writer.photo_ids()[:20].tolist())
        for table in ("region_000000", "region_code_000000", "photo"):
            schema = Address.parse(writer.location).schema
            with psycopg.connect(server().url, autocommit=True) as connection:
                connection.execute(f"VACUUM {schema}.{table}")
        try:
            assert contents(reader) == before
        except CollectionUnreachable as error:
            assert "has changed meanwhile: run the command again" in str(error)
        reader.refresh()
        catch_up(replica)
        reader.refresh()
        assert reader.photo_count() == 20 and contents(reader) == contents(writer)


def test_the_replica_takes_the_place_of_a_server_that_is_killed(replica, writer, monkeypatch):
    """Questions are answered throughout; who named both goes on writing to the one that can be written to."""
    catch_up(replica)
    hosts = ",".join(url.partition("host=")[2] for url in (server().url, replica.url))
    schema = Address.parse(writer.location).schema
    both = f"{server().url.partition('host=')[0]}host={hosts}&schema={schema}"
    with (
        open_collection(both + "&target_session_attrs=read-write", write=True) as describer,
        open_collection(at(replica, writer)) as reader,
        open_collection(both) as first_of_two,
    ):
        describer.commit(new=[photo(1, "before.jpg")])
        catch_up(replica)
        expected = contents(describer)
        reader.refresh()
        first_of_two.refresh()
        server().stop("immediate")
        try:
            for collection in (reader, first_of_two):
                assert contents(collection) == expected
                assert len(collection.candidates(question(1), 10)) == 10
            with open_collection(both) as late:
                assert contents(late) == expected
            replica.promote()
            describer.commit(new=[photo(1, "after.jpg")])
            reader.refresh()
            assert reader.known(1).keys() - expected["known"][1].keys() == {"after.jpg"}
            assert reader.revision == expected["revision"] + 1
            describer.record_build({"new": 1}, seconds=1)
        finally:
            server().start()
