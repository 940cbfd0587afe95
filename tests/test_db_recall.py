import numpy as np
import pytest

from db.local.maintenance.reindexing import rebuild_index
from db.local.vectors.faiss_index import VectorIndex, Vectors
from db.local.vectors.recall import recall
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
