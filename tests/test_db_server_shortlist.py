"""From nearest regions to photographs on a server: the right ones, by several connections that see one snapshot."""

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from db.collection import open_collection
from db.postgres import shortlist
from db.postgres.nearest import Nearest
from db.postgres.proposals import Proposed
from db.postgres.vectors import fetch_columns
from db.records import RegionScores
from helpers.db_photos import MODEL, photo
from helpers.db_server import partitioned, server


class Regions:
    """Photographs of 10 regions, and what asking them finds: a crowd in two partitions, without an index's errors."""

    def __init__(self, seed, phrases, photos=400, alike=False):
        rng = np.random.default_rng(seed)
        self.scores = rng.normal(size=(phrases, photos, 10)) * (0.1 if alike else 0.3)
        self.error = rng.normal(size=photos) * 0.02  # of what is proposed
        self.asked, self.proposed, self.compared, self.all_compared = [], [], [], 0

    def nearest(self, depth):
        """Of the first phrase."""
        self.asked.append(depth)
        half = self.scores.shape[1] // 2
        best = np.full(self.scores.shape[1], -np.inf)
        unmet = []
        for of_part in (slice(0, half), slice(half, None)):
            flat = self.scores[0, of_part].ravel()
            found = np.argsort(-flat)[:depth]
            np.maximum.at(best[of_part], found // 10, flat[found])
            unmet.append(flat[found[-1]])
        here = np.flatnonzero(best > -np.inf)
        return Nearest(here + 1, best[here], max(unmet))

    def means(self):
        return self.scores.max(axis=2).mean(axis=0)

    def propose(self, limit):
        self.proposed.append(limit)
        half = len(self.error) // 2
        guessed = self.means() + self.error
        ids = [np.argsort(-guessed[some])[:limit] + some.start for some in (slice(0, half), slice(half, 2 * half))]
        late = np.concatenate([np.arange(len(some)) >= limit // 2 for some in ids]) & (limit < half)
        ids = np.concatenate(ids)
        order = np.argsort(-guessed[ids])
        return Proposed(ids[order] + 1, late[order])

    def best(self, photo_ids):
        self.compared.append(len(photo_ids))
        assert (np.diff(photo_ids) > 0).all()
        return self.scores.max(axis=2)[:, photo_ids - 1]

    def ask(self, count, filtered=False):
        phrases, photos, regions = self.scores.shape
        if phrases == 1:
            return shortlist.shortlist_of_one(
                count, region_count=photos * regions, parts=2, nearest=self.nearest, compare_all=self.all
            )
        return shortlist.shortlist_of_several(
            count, filtered=filtered, propose=self.propose, best=self.best, compare_all=self.all
        )

    def all(self):
        self.all_compared += 1
        best = self.scores.max(axis=2)
        some = np.flatnonzero(best[0] > -1)
        return RegionScores(some, some + 1, best[:, some].astype(np.float32))

    def exact(self, count):
        return np.sort(np.argsort(-self.means())[:count]) + 1


@pytest.mark.parametrize("alike", [False, True])
def test_the_photographs_of_one_phrase_are_the_right_ones(alike):
    for seed in range(30):
        regions = Regions(seed, 1, alike=alike)
        for count in (1, 10, 20, 60):
            assert regions.ask(count).tolist() == regions.exact(count).tolist()
        assert max(regions.asked) < 400  # of 2,000 in each


@pytest.mark.parametrize("phrases", [2, 4])
@pytest.mark.parametrize("alike", [False, True])
def test_the_first_photographs_are_the_right_ones(monkeypatch, phrases, alike):
    monkeypatch.setattr(shortlist, "_FIRST_COMPARED", 60)
    for seed in range(30):
        regions = Regions(seed, phrases, alike=alike)
        regions.error *= 0.3 if alike else 1
        for count in (1, 10, 20):
            assert regions.ask(count).tolist() == regions.exact(count).tolist()
        longer = regions.ask(60)
        assert len(longer) == 60 and set(regions.exact(20)) <= set(longer.tolist())
        assert sum(regions.compared) < 4 * 250


def test_it_is_compared_until_nothing_better_comes():
    easy, hard = Regions(0, 2, photos=1200), Regions(0, 2, photos=1200)
    easy.error[:] = 0
    easy.ask(10)
    assert easy.compared == [240]  # none of the best is among the last third
    hard.error *= 15  # more than they differ by
    found = hard.ask(10)
    assert len(hard.compared) > 2 and hard.compared[:3] == [240, 120, 180]
    assert len(np.intersect1d(found, hard.exact(10))) >= 8


def test_more_are_proposed_where_one_of_the_best_came_late():
    regions = Regions(0, 2, photos=20_000)
    regions.error[:] = 0
    regions.ask(10)
    assert regions.proposed == [1000]
    late = int(np.argsort(-regions.means()[:10_000])[600])
    regions.scores[:, late] = 9
    regions.error[late] = -10_000  # by its mean nothing is special about it
    assert late + 1 not in regions.ask(10)
    propose = regions.propose

    def by_the_groups(limit):
        found = propose(limit)
        return Proposed(np.append(late + 1, found.photo_ids), np.append(limit < 1200, found.late))

    regions.propose = by_the_groups
    assert late + 1 in regions.ask(10) and regions.proposed[-2:] == [1000, 4000]


def test_what_was_not_proposed_at_first_is_asked_for(monkeypatch):
    """Filters leave few that may answer, and those are proposed late."""
    monkeypatch.setattr(shortlist, "_PROPOSED", 50)
    monkeypatch.setattr(shortlist, "_FIRST_COMPARED", 40)
    regions = Regions(0, 2)
    few = np.argsort(regions.means())[150:170]
    others = np.setdiff1d(np.arange(400), few)
    regions.error[few] -= 2
    scores = regions.scores.copy()
    propose = regions.propose
    proposed = {limit: propose(limit) for limit in (50, 200, 800)}
    regions.scores[:, others] = -1  # as `best` says of them that they have no region that may answer
    regions.propose = lambda limit: regions.proposed.append(limit) or proposed[limit]
    expected = np.sort(few[np.argsort(-scores.max(axis=2).mean(axis=0)[few])][:5]) + 1
    assert regions.ask(5, filtered=True).tolist() == expected.tolist()
    assert regions.proposed[-2:] == [50, 200] or regions.proposed[-3:] == [50, 200, 800]
    assert sorted(regions.ask(30, filtered=True).tolist()) == sorted((few + 1).tolist())  # and none of the others
    assert regions.all_compared == 0
    monkeypatch.setattr(shortlist, "_COMPARED_PHOTOS", 100)
    assert regions.ask(5, filtered=True).tolist() == expected.tolist()
    assert regions.all_compared == 1  # too many that have none


def test_what_one_phrase_finds_deep_in_one_partition_is_asked_for():
    regions = Regions(0, 1)
    regions.scores[:, :200] += 10  # all of the best are in the first partition
    assert regions.ask(150).tolist() == regions.exact(150).tolist()
    assert regions.asked[0] < 1500 < regions.asked[-1] * 4


def test_more_photographs_than_there_are():
    for phrases in (1, 3):
        regions = Regions(0, phrases, photos=6)
        assert regions.ask(10).tolist() == [1, 2, 3, 4, 5, 6]
    nothing = np.empty(0, np.int64)
    assert len(shortlist.shortlist_of_one(
        3, region_count=0, parts=1, nearest=lambda depth: Nearest(nothing, nothing, -1.0), compare_all=None
    )) == 0  # fmt: skip
    assert len(shortlist.shortlist_of_several(
        3, filtered=False, propose=lambda limit: Proposed(nothing, nothing == 0), best=None, compare_all=None
    )) == 0  # fmt: skip


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
