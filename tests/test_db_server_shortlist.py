"""From nearest regions to photographs on a server: the right ones, by several connections that see one snapshot."""

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from db.collection import open_collection
from db.postgres import recall, shortlist
from db.postgres.nearest import Nearest
from db.postgres.vectors import fetch_columns
from db.records import RegionScores
from helpers.db_photos import MODEL, photo
from helpers.db_server import partitioned, server


class Regions:
    """Photographs of 10 regions in two partitions, and what asking them finds: `nearest` without an index's errors."""

    def __init__(self, seed, phrases, photos=400, alike=False):
        rng = np.random.default_rng(seed)
        self.scores = rng.normal(size=(phrases, photos, 10)) * (0.1 if alike else 0.3)
        self.asked, self.again, self.compared = [], [], []

    def nearest(self, depth, again):
        self.asked.append(depth)
        self.again.append(again)
        phrases, photos, _ = self.scores.shape
        half = photos // 2
        best = np.full((phrases, photos), -np.inf)
        unmet = np.empty((phrases, 2))
        for part, of_part in enumerate((slice(0, half), slice(half, photos))):
            for row in range(phrases):
                flat = self.scores[row, of_part].ravel()
                found = np.argsort(-flat)[:depth]
                np.maximum.at(best[row, of_part], found // 10, flat[found])
                unmet[row, part] = flat[found[-1]]
        here = np.flatnonzero((best > -np.inf).any(axis=0))
        part, met = (here >= half).astype(np.int64), best[:, here] > -np.inf
        return Nearest(here + 1, part, met, np.where(met, best[:, here], unmet[:, part]), unmet)

    def best(self, photo_ids):
        self.compared.append(len(photo_ids))
        assert (np.diff(photo_ids) > 0).all()
        return self.scores.max(axis=2)[:, photo_ids - 1]

    def ask(self, count):
        phrases, photos, regions = self.scores.shape
        return shortlist.shortlist(
            count, phrases, region_count=photos * regions, parts=2, nearest=self.nearest, best=self.best,
            compare_all=self.all,
        )  # fmt: skip

    def all(self):
        best = self.scores.max(axis=2)
        return RegionScores(np.arange(best.shape[1]), np.arange(best.shape[1]) + 1, best.astype(np.float32))

    def exact(self, count):
        return np.sort(np.argsort(-self.scores.max(axis=2).mean(axis=0))[:count]) + 1


@pytest.mark.parametrize("phrases", [1, 2, 4])
@pytest.mark.parametrize("alike", [False, True])
def test_the_first_photographs_are_the_right_ones(monkeypatch, phrases, alike):
    monkeypatch.setattr(shortlist, "SEVERAL_PHRASES", 600)  # of 4,000
    monkeypatch.setattr(shortlist, "_FIRST_COMPARED", 16)
    compared = []
    for seed in range(30):
        regions = Regions(seed, phrases, alike=alike)
        for count in (1, 10, 20):
            assert regions.ask(count).tolist() == regions.exact(count).tolist()
        longer = regions.ask(60)
        assert len(longer) == 60 and set(regions.exact(20 if phrases > 1 else 60)) <= set(longer.tolist())
        compared.append(sum(regions.compared))
    assert phrases > 1 or sum(compared) == 0  # what was met is what it has
    assert max(compared, default=0) <= 4 * 2 * 400


def test_more_lists_are_looked_into_only_where_the_first_look_was_not_enough(monkeypatch):
    easy = Regions(0, 2)
    easy.scores[:, 7, :2] += 9  # one that is better than any other can be
    easy.ask(1)
    assert easy.again == [False]
    monkeypatch.setattr(shortlist, "SEVERAL_PHRASES", 200)
    hard = Regions(0, 4, photos=4000)
    hard.ask(10)
    assert hard.again == [False, True] and hard.asked[1] > hard.asked[0]
    assert [recall.probes_for(phrases, 100) for phrases in (1, 2, 3, 4, 9)] == [100, 60, 40, 19, 19]
    assert all(recall.probes_for(n, 100, again=True) > recall.probes_for(n, 100) for n in (2, 3, 4, 9))
    assert recall.probes_for(4, 1) == 1


def test_what_few_lists_missed_of_a_photograph_is_seen_when_it_is_compared(monkeypatch):
    """What was met is a little less than what it has: it is compared all the same, if it may be among the first."""
    monkeypatch.setattr(shortlist, "_FIRST_COMPARED", 5)  # 10 photographs, and it comes after them
    regions = Regions(0, 2)
    best = regions.scores.max(axis=2)
    tenth = np.sort(best.mean(axis=0))[-10]
    missed = int(np.flatnonzero(best.mean(axis=0) < tenth)[0])
    regions.scores[:, missed] = tenth + 0.001  # and so among the first ten
    exact = regions.exact(10)
    assert missed + 1 in exact
    nearest = regions.nearest

    def short(depth, again):
        found = nearest(depth, again)
        row = np.flatnonzero(found.photo_ids == missed + 1)
        found.bounds[:, row] -= 0.002
        return found

    regions.nearest = short
    assert regions.ask(10).tolist() == exact.tolist()


def test_what_one_phrase_finds_deep_in_one_partition_is_asked_for():
    regions = Regions(0, 1)
    regions.scores[:, :200] += 10  # all of the best are in the first partition
    assert regions.ask(150).tolist() == regions.exact(150).tolist()
    assert regions.asked[0] < 1500 < regions.asked[-1] * 4


def test_more_photographs_than_there_are():
    for phrases in (1, 3):
        regions = Regions(0, phrases, photos=6)
        assert regions.ask(10).tolist() == [1, 2, 3, 4, 5, 6]
    nothing = shortlist.shortlist(
        3, 2, region_count=0, parts=1, best=None, compare_all=None,
        nearest=lambda depth, again: Nearest(*(np.empty(shape) for shape in ((0,), (0,), (2, 0), (2, 0), (2, 1)))),
    )  # fmt: skip
    assert len(nothing) == 0


def test_numbers_by_columns():
    with psycopg.connect(server().url) as connection:
        columns = [("a", "i8"), ("b", "f8")]
        found = fetch_columns(
            connection, "SELECT n::bigint, -n / 3.0::float8 FROM generate_series(-2, 2) AS n", columns
        )
        assert found["a"].tolist() == [-2, -1, 0, 1, 2] and found["a"].dtype == np.int64
        np.testing.assert_array_equal(found["b"], np.array([2, 1, 0, -1, -2]) / 3)
        nothing = fetch_columns(connection, "SELECT 1::bigint, 2::float8 WHERE false", columns)
        assert [len(nothing[name]) for name in "ab"] == [0, 0]


@pytest.fixture
def writer(monkeypatch):
    """Of 60 photographs of 20 regions in three partitions, two of them with an index: large, as questions see it."""
    with partitioned(monkeypatch, 60, partition_regions=500) as collection:
        yield collection


def question(seed, phrases=3):
    vectors = np.random.default_rng(seed).normal(size=(phrases, MODEL.embedding_size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def connections():
    """How many there are of this process, each in a snapshot."""
    with psycopg.connect(server().url) as connection:
        return connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'densecap-search' AND state LIKE 'idle in%'"
        ).fetchall()


def test_several_connections_see_one_snapshot(writer):
    with open_collection(writer.location) as reader:
        before = reader.photo_ids().tolist()
        assert len(connections()) == 1
        # Committed after the snapshot, before the other connections are opened; better than all that was there.
        vectors = question(0)
        better = photo(1, "better.jpg", count=3, embeddings=vectors)
        writer.commit(new=[better], gone=before[:30])
        found = reader.candidates(vectors, 10)
        assert len(connections()) == 4
        assert set(found.tolist()) <= set(before) and len(found) == 10
        assert reader.candidates(vectors, 100).tolist() == before
        reader.refresh()
        assert len(connections()) == 1  # a new snapshot, and nothing asked of it yet
        found = reader.candidates(vectors, 100)
        assert len(found) == 31 and found[-1] == writer.photo_ids()[-1]
        assert writer.candidates(vectors, 1).tolist() == [found[-1]]
    assert len(connections()) == 0


def test_a_lost_one_of_several_connections_is_sought_again(writer):
    with open_collection(writer.location) as reader:
        expected = reader.candidates(question(1), 10).tolist()
        for lost in range(4):
            with psycopg.connect(server().url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", sorted(connections())[lost])
            assert reader.candidates(question(1), 10).tolist() == expected
        assert len(connections()) == 4


def test_connections_that_had_nothing_to_do_for_long_are_opened_again(writer, monkeypatch):
    with open_collection(writer.location) as reader:
        expected = reader.candidates(question(1), 10).tolist()
        first = reader.server.read(lambda session: session.scalar(text("SELECT pg_backend_pid()")))
        helpers = [pid for (pid,) in connections() if pid != first]
        writer.commit(new=[photo(1, "meanwhile.jpg")])  # a snapshot that is lost now is lost for good
        with psycopg.connect(server().url, autocommit=True) as connection:
            for pid in helpers:
                connection.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        monkeypatch.setattr("db.postgres.server.IDLE_SNAPSHOT_SECONDS", 0)
        assert reader.candidates(question(1), 10).tolist() == expected
        assert {pid for (pid,) in connections()} & {first, *helpers} == {first}


def test_where_the_server_has_no_more_connections_one_has_to_do(writer):
    schema = writer.server.address.schema
    with psycopg.connect(server().url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS lonely")
        connection.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
        connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO lonely")
        connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO lonely")
    with open_collection(writer.location.replace("postgres@", "lonely@")) as reader:
        found = reader.candidates(question(2), 10)
        assert len(connections()) == 1
        assert len(np.intersect1d(found, writer.candidates(question(2), 10))) >= 9
    with psycopg.connect(server().url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY lonely")
        connection.execute("DROP ROLE lonely")


def test_filters_of_few_and_of_parts_hold_in_all_partitions(writer):
    ids = writer.photo_ids()
    with open_collection(writer.location) as reader:
        for seed in range(5):
            vectors = question(seed)
            cosines = reader.cosines(vectors)
            means = np.maximum.reduceat(cosines.scores, cosines.starts(), axis=1).mean(axis=0)
            exact = cosines.photo_ids[cosines.starts()][np.argsort(-means)]
            assert len(np.intersect1d(reader.candidates(vectors, 10), exact[:10])) >= 9
            allowed = ids[seed::2]
            found = reader.candidates(vectors, 10, allowed)
            assert set(found.tolist()) <= set(allowed.tolist())
            assert len(np.intersect1d(found, exact[np.isin(exact, allowed)][:10])) >= 9
