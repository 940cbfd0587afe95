"""What only a collection on a server has: many writers, connections that get lost, rights, partitions."""

import socket
import socketserver
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psycopg
import pytest
from sqlalchemy import event, text

from db.collection import open_collection
from db.errors import CheckpointMismatch, CollectionError, CollectionMissing, CollectionUnreachable, SchemaTooNew
from db.postgres.address import Address
from db.postgres.refusals import refusal
from db.task_queue import ListedFile
from helpers.db_photos import LIFE, MODEL, OTHER_MODEL, contents, live, photo
from helpers.db_server import new_url, server


@pytest.fixture
def url():
    return new_url()


@pytest.fixture
def writer(url):
    with create(url) as collection:
        collection.add_root(Path("/photos"))
        yield collection


def create(url):
    return open_collection(url, write=True, create=True, model=MODEL)


def administer(statement, *arguments):
    """What it finds, as the owner of the server."""
    with psycopg.connect(server().url, autocommit=True) as connection:
        cursor = connection.execute(statement, arguments)
        return cursor.fetchall() if cursor.description else None


def cut_off(collection):
    """End the connections of a collection's process, as an administrator does; those of this moment."""
    ended = "SELECT pg_terminate_backend(pid, 300000) FROM pg_stat_activity WHERE application_name = 'densecap-search'"
    assert all(gone for (gone,) in administer(ended))  # waited for


# -- where it is


def test_an_address_is_shown_without_its_password():
    address = Address.parse("postgresql://me:secret@example.org:5433/photos?schema=mine&sslmode=require")
    assert str(address) == "postgresql://me@example.org:5433/photos?schema=mine&sslmode=require"
    assert address.url.password == "secret" and dict(address.url.query) == {"sslmode": "require"}
    assert Address.parse(str(address)).schema == "mine"
    assert str(Address.parse("postgres://example.org/photos")) == "postgresql://example.org/photos"
    assert "secret" not in str(Address.parse("postgresql://example.org/photos?password=secret"))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://me:secret@example.org/photos", r"^A collection can be on a PostgreSQL server .*, not on mysql://"),
        ("postgresql://me:secret@example.org:port/photos", r"^The URL postgresql://\.\.\. cannot be read"),
        ("postgresql://example.org/photos?schema=pg_catalog", r"^'pg_catalog' cannot be the name of a schema"),
    ],
)
def test_an_address_that_is_none_is_refused_in_a_sentence_without_its_password(url, sentence):
    with pytest.raises(CollectionError, match=sentence) as caught:
        open_collection(url)
    assert "secret" not in str(caught.value)


def test_readers_go_to_the_replica_that_the_environment_names(url, writer, monkeypatch):
    live(writer)
    monkeypatch.setenv("DENSECAP_SEARCH_READ_URL", server().url)
    # An address where nothing answers: it is not asked.
    with open_collection(f"postgresql://localhost:1/photos?schema={Address.parse(url).schema}") as reader:
        assert contents(reader) == contents(writer)
        assert reader.location == str(Address.parse(url))
    with pytest.raises(CollectionUnreachable, match="No server answers at postgresql://localhost:1/photos"):
        create("postgresql://localhost:1/photos")


# -- what is refused


def test_no_server_no_database_no_collection(url, tmp_path):
    for write in (False, True):
        with pytest.raises(CollectionUnreachable, match=r"^No server answers at postgresql:///photos\?host=.*: start"):
            open_collection(f"postgresql:///photos?host={tmp_path}", write=write)
        other = server().url.replace("/postgres?", "/nothing?")
        with pytest.raises(CollectionUnreachable, match=r"^There is no database 'nothing' .*`createdb nothing`"):
            open_collection(other, write=write)
        with pytest.raises(CollectionMissing, match=r"^There is no collection in postgresql://\S+: `indexer build F"):
            open_collection(url, write=write)
    assert not administer("SELECT 1 FROM pg_namespace WHERE nspname = %s", Address.parse(url).schema)


class ToSocket(socketserver.BaseRequestHandler):
    """Passes on what comes by TCP to the test's server, and its answers back."""

    def handle(self):
        with socket.socket(socket.AF_UNIX) as behind:
            behind.connect(f"{Address.parse(server().url).url.query['host']}/.s.PGSQL.5432")
            back = threading.Thread(target=self.forward, args=(behind, self.request))
            back.start()
            self.forward(self.request, behind)
            back.join()

    @staticmethod
    def forward(source, target):
        with suppress(OSError):  # either end may be gone
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def tcp_url(url):
    """The server by TCP, of which libpq wants to know whether it is encrypted; of a socket it does not."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), ToSocket) as listening:
        accepting = threading.Thread(target=listening.serve_forever, args=(0.05,))
        accepting.start()
        yield f"postgresql://postgres@127.0.0.1:{listening.server_address[1]}/postgres?schema={Address.parse(url).schema}"
        listening.shutdown()
        accepting.join()


def test_a_server_without_tls_is_told_where_the_url_asks_for_it(writer, tcp_url):
    for how in ("require", "verify-full", "nonsense"):
        told = rf"^The connection to postgresql://\S+sslmode={how}\S* cannot be encrypted as asked \(.*(SSL|sslmode)"
        with pytest.raises(CollectionUnreachable, match=told):
            open_collection(f"{tcp_url}&sslmode={how}")
    for how in ("disable", "prefer"):
        with open_collection(f"{tcp_url}&sslmode={how}") as reader:
            assert reader.revision == writer.revision
    refused = psycopg.OperationalError(
        'connection failed: FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "me", database "d", no encryption'
    )
    assert "add sslmode=require to the URL postgresql://" in str(refusal(Address.parse(tcp_url), refused))


def test_a_server_without_pgvector(url):
    administer("DROP DATABASE IF EXISTS plain")
    administer("CREATE DATABASE plain")
    without = url.replace("/postgres?", "/plain?") + "&options=-c%20extension_control_path%3D/nowhere"
    with pytest.raises(CollectionError, match=r"^The server of \S+ has no pgvector: install it there"):
        create(without)
    with create(url.replace("/postgres?", "/plain?")) as collection:  # it was only hidden
        assert collection.revision == 0


def test_somebody_without_rights(url):
    administer("DROP ROLE IF EXISTS guest")
    administer("CREATE ROLE guest LOGIN")
    as_guest = url.replace("postgres:@", "guest@")
    with pytest.raises(CollectionError, match=r"^guest may not make a collection in .*GRANT CREATE ON DATABASE"):
        create(as_guest)
    with create(url) as writer:
        live(writer)
    for write in (False, True):
        with pytest.raises(CollectionError, match=r"^The user guest has not the rights .*`GRANT ALL ON SCHEMA"):
            open_collection(as_guest, write=write)
    schema = Address.parse(url).schema
    administer(f"GRANT USAGE ON SCHEMA {schema} TO guest")
    administer(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO guest")
    with open_collection(as_guest) as reader:
        assert reader.photo_count() == 2
    with open_collection(as_guest, write=True) as writer, pytest.raises(CollectionError, match="has not the rights"):
        writer.commit(gone=[6])


def test_another_schema_version(url, writer):
    schema = Address.parse(url).schema
    administer(f"UPDATE {schema}.schema_version SET version = 99")
    for write in (False, True):
        with pytest.raises(SchemaTooNew, match="schema 99"):
            open_collection(url, write=write)


def test_two_that_make_a_collection_at_the_same_time(url):
    with ThreadPoolExecutor(4) as pool:
        for collection in pool.map(lambda _: create(url), range(4)):
            assert collection.model == MODEL and collection.revision == 0
            collection.close()
    with pytest.raises(CheckpointMismatch):
        open_collection(url, write=True, model=OTHER_MODEL)


# -- connections that get lost


def test_a_connection_lost_between_commits_is_sought_again(url, writer):
    with open_collection(url) as undisturbed:
        for step in LIFE:
            writer.commit(**step)
            cut_off(writer)
            undisturbed.refresh()
            assert undisturbed.revision == writer.revision
    assert writer.revision == len(LIFE)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_connection_lost_while_it_commits_decides_nothing_twice(url, monkeypatch, writer, when):
    live(writer, 2)
    commit, lost = psycopg.Connection.commit, []

    def losing(connection):
        if when == "after":
            commit(connection)
        if not lost and connection.info.transaction_status != psycopg.pq.TransactionStatus.UNKNOWN:
            lost.append(connection)
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        if when == "before":
            commit(connection)

    monkeypatch.setattr(psycopg.Connection, "commit", losing)
    writer.commit(new=[photo(1, "lost.jpg")])
    monkeypatch.undo()
    assert lost and writer.revision == 3
    assert writer.known(1)["lost.jpg"].digest == photo(1, "lost.jpg").digest
    assert writer.region_count() == 11 + 3 == len(writer.features().region_ids)


def test_files_claimed_as_the_connection_is_lost_are_claimed_again(monkeypatch, writer):
    """The claim is committed, the answer never comes: nobody else may take these files while this build lives."""
    queue = writer.queue()
    queue.join("key")
    files = [ListedFile(1, f"{number}.jpg", 1, 1, 1) for number in range(4)]
    queue.offer(files, [])
    commit, lost = psycopg.Connection.commit, []

    def losing(connection):
        commit(connection)
        if not lost and threading.current_thread() is threading.main_thread():
            lost.append(connection)
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", losing)
    claimed = [each.file for each in queue.claim(2, [1])]
    monkeypatch.undo()
    assert lost and claimed == files[2:]
    assert [each.file for each in queue.claim(2, [1])] == files[:2]
    assert queue.claim(2, [1]) == []  # and what is in work is claimed once
    queue.leave()


def test_a_reader_goes_on_where_nothing_changed_and_says_so_where_something_did(url, writer):
    live(writer, 2)
    with open_collection(url) as reader:
        before = contents(reader)
        cut_off(reader)
        assert contents(reader) == before
        live(writer, 3)
        assert contents(reader) == before  # its snapshot
        cut_off(reader)
        with pytest.raises(CollectionUnreachable, match=r"was lost, and the collection has changed meanwhile: run"):
            contents(reader)
        reader.refresh()
        assert contents(reader) == contents(writer)


def test_a_server_that_stops_for_a_moment(url, writer):
    live(writer, 2)
    with open_collection(url) as reader:
        before = contents(reader)
        server().stop("immediate")
        starting = threading.Timer(0.5, server().start)
        starting.start()
        try:
            assert contents(reader) == before
            live(writer, 4)
        finally:
            starting.join()
        assert (reader.revision, writer.revision) == (2, 4)


def test_a_server_that_stays_away_is_told(monkeypatch, writer):
    monkeypatch.setattr("db.postgres.server.PATIENCE_SECONDS", 0.3)
    live(writer, 1)
    server().stop("fast")
    try:
        with pytest.raises(CollectionUnreachable, match=r"^No server answers at \S+ \(.*\): start PostgreSQL there"):
            live(writer, 2)
    finally:
        server().start()
    live(writer, 2)
    assert writer.revision == 2


# -- many writers


def test_many_writers_commit_at_the_same_time(url, writer):
    def describe(number):
        with open_collection(url, write=True, model=MODEL) as collection:
            for turn in range(10):
                own = photo(1, f"{number}/{turn}.jpg", count=1 + (number + turn) % 4)
                collection.commit(new=[own, photo(1, f"shared {turn}.jpg", count=2)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(describe, range(4)))
    assert writer.revision == 40
    names = [f"{number}/{turn}.jpg" for number in range(4) for turn in range(10)]
    assert writer.known(1).keys() == {*names, *(f"shared {turn}.jpg" for turn in range(10))}
    features = writer.features()
    assert writer.region_count() == len(features.region_ids) == len(np.unique(features.region_ids))
    for row in writer.photos(writer.photo_ids()):
        name = row.path.relative_to("/photos").as_posix()
        count = 2 if name.startswith("shared") else 1 + sum(map(int, name[:-4].split("/"))) % 4
        expected = photo(1, name, count=count)
        ours = features.take(features.photo_ids == row.photo_id)
        np.testing.assert_array_equal(ours.codes, expected.codes)
        assert (np.diff(ours.region_ids) == 1).all()


# -- tables


def test_regions_in_many_partitions_are_found(url, monkeypatch):
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", 7)
    with create(url) as writer:
        live(writer)
        names = writer.server.read(
            lambda session: session.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE "
                                                 "inhparent = 'region'::regclass ORDER BY 1")).all()
        )  # fmt: skip
        assert names == ["region_000000", "region_000001", "region_000002", "region_000003"]
        with create(new_url()) as other:
            live(other)
            assert contents(other) == contents(writer)
        vectors = writer.features().embeddings[:2]
        every = writer.candidates(vectors, 100)
        assert every.tolist() == writer.photo_ids().tolist()
        best = writer.cosines(vectors)
        means = [best.of(photo_id).scores.max(axis=1).mean() for photo_id in every.tolist()]
        assert writer.candidates(vectors, 1).tolist() == [every[np.argmax(means)]]
        assert writer.candidates(vectors, 1, np.array([every[0]])).tolist() == [every[0]]


def test_regions_go_with_their_photo_whoever_deletes_it(url, writer):
    live(writer)
    schema = Address.parse(url).schema
    administer(f"DELETE FROM {schema}.photo WHERE id = 6")
    for table in ("region", "region_code"):
        assert administer(f"SELECT count(*) FROM {schema}.{table}") == [(6,)]
    assert writer.features().photo_ids.tolist() == [9] * 6


def test_a_listing_that_is_made_while_somebody_joins_is_not_dropped(url, writer):
    """Who joins looks at the listing first, and then at who is making it."""
    with open_collection(url, write=True) as other, ThreadPoolExecutor(1) as pool:
        first, second = writer.queue(600), other.queue(600)
        assert first.join("a").to_be_made
        root = writer.add_root(Path("/photos"))
        offered = []

        def waits_or_is_done():
            with psycopg.connect(server().url, autocommit=True) as connection:
                while not offered[0].done():
                    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    if connection.execute(waiting).fetchone() != (0,):
                        return

        @event.listens_for(other.server.engine, "after_cursor_execute")
        def _(connection, cursor, statement, *arguments):
            if "made FROM listing" in statement and not offered:
                offered.append(pool.submit(first.offer, [ListedFile(root, "a.jpg", 1, 1, 1)], []))
                waits_or_is_done()

        listing = second.join("b")
        offered[0].result()
        assert (listing.key, listing.to_be_made) == ("a", False)
        assert second.is_open() and second.remaining() == 1
        first.leave()
        second.leave()
