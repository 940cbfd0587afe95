import numpy as np
import pytest

from db.local.maintenance.reindexing import rebuild_index
from db.local.vectors.faiss_index import VectorIndex, Vectors
from db.local.vectors.recall import as_far_as_phrases, recall
from db.recall import exact_limits, least_probes, share
from helpers.db_photos import create, photo

VECTORS = np.eye(4, dtype=np.float32)


def index(ids, vectors):
    index = VectorIndex.exact(vectors.shape[1])
    index.add(np.array(ids), vectors)
    return Vectors([index])


def parts(ids, vectors, size=2):
    for start in range(0, len(ids), size):
        yield np.array(ids[start : start + size]), vectors[start : start + size]


def test_an_exact_index_finds_everything():
    rng = np.random.default_rng(0)
    some = rng.normal(size=(300, 8)).astype(np.float16).astype(np.float32)
    ids = list(range(5, 305))
    assert recall(index(ids, some), some[:20], parts(ids, some, 70)) == (1.0, 1.0)


def test_what_an_index_lacks_is_missed():
    # 20 vectors in falling order of similarity to the query; the index has not got the first 4 of them.
    some = np.stack([np.array([1 - number / 100, 0], np.float32) for number in range(20)])
    ids = list(range(1, 21))
    lacking = index(ids[4:], some[4:])
    # Of the 10 best it finds 6 (and 4 others); of all 20, fewer than 100, it finds 16.
    assert recall(lacking, np.array([[1, 0]], np.float32), parts(ids, some)) == pytest.approx((0.6, 0.8))


def test_an_equally_good_answer_is_as_good():
    some = np.tile(np.array([[1, 0]], np.float32), (30, 1))
    ids = list(range(30))
    assert recall(index(ids[15:], some[15:]), some[:1], parts(ids, some))[0] == 1.0


def test_several_indexes_are_searched_as_one():
    some = np.eye(6, dtype=np.float32)
    halves = Vectors([*index([4, 5, 6], some[3:]).indexes, *index([1, 2, 3], some[:3]).indexes])
    assert len(halves) == 6
    ((ids, scores),) = halves.search(some[4:5] + some[1:2] / 2, 3)
    assert (ids.tolist(), scores.tolist()) == ([5, 2, 1], [1.0, 0.5, 0.0])
    assert [len(ids) for ids, _ in Vectors([]).search(some, 3)] == [0] * 6


def test_an_empty_collection_has_nothing_to_find(tmp_path):
    with create(tmp_path) as writer:
        report = rebuild_index(writer)
        assert (report.regions, report.files, report.queries, report.recall_at_10) == (0, 0, 0, 1.0)
        writer.commit(new=[photo(writer.add_root(tmp_path), "a.jpg", count=3)])
        report = rebuild_index(writer)
        assert (report.regions, report.files, report.lists, report.queries) == (3, 1, 0, 1)
        assert (report.recall_at_10, report.recall_at_100) == (1.0, 1.0)


def test_the_least_probes_that_find_enough():
    asked = []

    def finds_from(enough):
        return lambda probes: (asked.append(probes), float(probes >= enough))[1]

    assert [least_probes(finds_from(enough), 48) for enough in (1, 2, 3, 16, 17, 40, 48)] == [1, 2, 4, 16, 32, 48, 48]
    assert max(asked) < 48  # all lists need no measuring
    assert least_probes(lambda probes: 0.0, 1) == 1
    assert least_probes(lambda probes: 0.985, 100) == 100 and least_probes(lambda probes: 0.99, 100) == 1


def test_limits_of_several_depths_and_shares_of_what_is_found():
    rng = np.random.default_rng(3)
    some, queries = rng.normal(size=(50, 6)).astype(np.float32), rng.normal(size=(4, 6)).astype(np.float32)
    limits = exact_limits(queries, [some[:7], some[7:30], some[30:]], [3, 20])
    products = -np.sort(-(queries @ some.T), axis=1)
    np.testing.assert_allclose(limits[3], products[:, 2], rtol=1e-6)
    np.testing.assert_allclose(limits[20], products[:, 19], rtol=1e-6)
    assert share(list(products), limits[20], 20, tolerance=1e-6) == 1
    assert share([row[2:] for row in products], limits[20], 20, tolerance=1e-6) == pytest.approx(0.9)
    # Of fewer vectors than are asked for, all.
    few = exact_limits(queries, [some[:5]], [20])[20]
    found = list(-np.sort(-(queries @ some[:5].T), axis=1))
    assert share(found, few, 20, tolerance=1e-6, total=5) == 1
    assert share([row[1:] for row in found], few, 20, tolerance=1e-6, total=5) == pytest.approx(0.8)


def test_questions_lie_as_far_from_regions_as_phrases_do():
    regions = np.random.default_rng(4).normal(size=(200, 256))
    regions /= np.linalg.norm(regions, axis=1, keepdims=True)
    far = as_far_as_phrases(regions)
    np.testing.assert_allclose(np.linalg.norm(far, axis=1), 1, atol=1e-6)
    assert np.median((far * regions).sum(axis=1)) == pytest.approx(0.55, abs=0.02)
    assert (as_far_as_phrases(regions) == far).all()
