"""IVFFlat indexes of a real server: which partitions get one, what it finds, with questions and commits going on."""

import threading
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from db.collection import open_collection
from db.errors import CollectionLocked
from db.postgres import indexes, recall
from db.recall import DEPTH, QUERIES, exact_limits, share
from db.records import AreaRange
from helpers.db_photos import MODEL, photo
from helpers.db_server import new_url
from helpers.exact_photos import exact_photos

PHOTOS, REGIONS = 60, 20  # so many of each


@pytest.fixture
def url(monkeypatch):
    """Of a collection whose 1,200 regions are in two full partitions and a third."""
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", 500)
    monkeypatch.setattr(indexes, "SCANNED_REGIONS", 400)
    monkeypatch.setattr(indexes, "REGIONS_PER_LIST", 20)
    return new_url()


@pytest.fixture
def writer(url):
    with open_collection(url, write=True, create=True, model=MODEL) as collection:
        collection.add_root(Path("/photos"))
        collection.commit(new=[photo(1, f"{number}.jpg", count=REGIONS) for number in range(PHOTOS)])
        yield collection


def made(collection):
    return {index.partition: index for index in collection.server.read(indexes.indexes)}


def question(seed, count=1):
    vectors = np.random.default_rng(seed).normal(size=(count, MODEL.embedding_size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_full_partitions_get_an_index_and_the_last_one_is_scanned(writer):
    assert made(writer) == {}
    writer.record_build({"new": PHOTOS}, seconds=1)
    first = made(writer)
    assert first.keys() == {"region_000000", "region_000001"} and all(index.valid for index in first.values())
    report = writer.server.read(indexes.report)
    assert (report.regions, report.files, report.lists) == (1200, 2, 50)
    assert report.queries > 100 and report.recall_at_100 > 0.95
    writer.record_build({}, seconds=1)
    assert made(writer) == first  # nothing to do
    writer.commit(new=[photo(1, f"more {number}.jpg", count=REGIONS) for number in range(12)])
    writer.record_build({"new": 12}, seconds=1)
    assert made(writer).keys() == {"region_000000", "region_000001", "region_000002"}
    assert {name: index for name, index in made(writer).items() if name in first} == first


def test_an_index_is_made_again_once_it_has_grown_too_much(writer, monkeypatch):
    indexes.rebuild(writer.server)
    before = made(writer)
    with writer.server.session() as session:
        session.execute(text("UPDATE vector_index SET regions = 250 WHERE partition = 'region_000001'"))
    writer.record_build({}, seconds=1)
    after = made(writer)
    assert after["region_000000"] == before["region_000000"] and after["region_000001"] != before["region_000001"]
    assert writer.server.read(indexes.needed) == []


def test_what_was_cut_off_is_made_again(writer):
    indexes.rebuild(writer.server)
    name = made(writer)["region_000000"].name
    with writer.server.session() as session:
        session.execute(
            text("UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(:name)"), {"name": name}
        )
    assert [need.partition.name for need in writer.server.read(indexes.needed)] == ["region_000000"]
    writer.record_build({}, seconds=1)
    (index,) = [index for index in writer.server.read(indexes.indexes) if index.partition == "region_000000"]
    assert index.valid


def test_probes_are_as_few_as_find_enough(writer, monkeypatch):
    monkeypatch.setattr(recall, "WANTED", 0.6)  # of vectors at random, without any clusters
    indexes.rebuild(writer.server)
    partition, _ = (need.partition for need in writer.server.read(indexes.needed, all_of_them=True))

    def found(session, probes, made_of=recall.like_phrases):
        queries = made_of(recall.sample(session, partition))
        limits = exact_limits(queries, recall._parts(session, partition, queries.shape[1]))
        some = [recall._search(session, partition, query, probes) for query in queries]
        return share(some, limits[DEPTH], DEPTH, tolerance=recall.TOLERANCE)

    with writer.server.session() as session:
        query = text("SELECT probes, recall_at_100, queries FROM vector_index WHERE partition = :name")
        probes, at_100, count = session.execute(query, {"name": partition.name}).one()
        assert probes < 25 and count == QUERIES
        assert found(session, probes, np.copy) == pytest.approx(at_100) and at_100 >= 0.6
        assert found(session, probes) >= 0.6 > found(session, probes // 2)
        assert found(session, 25) == 1


def test_questions_for_measuring_lie_where_phrases_do():
    regions = question(0, 500)
    asked = recall.like_phrases(regions)
    np.testing.assert_allclose(np.linalg.norm(asked, axis=1), 1, atol=1e-3)
    np.testing.assert_allclose((asked * regions).sum(axis=1), recall.PHRASE_COSINE, atol=1e-3)
    aside = asked - recall.PHRASE_COSINE * regions
    assert np.abs(aside.mean(axis=0)).max() < 0.15  # in any direction
    np.testing.assert_array_equal(asked, recall.like_phrases(regions))


@pytest.mark.parametrize("phrases", [1, 3])
def test_candidates_through_indexes_are_the_exact_ones(url, writer, phrases):
    writer.record_build({"new": PHOTOS}, seconds=1)
    with open_collection(url) as reader:
        agreed = []
        for seed in range(20):
            vectors = question(seed, phrases)
            exact = exact_photos(writer, vectors, 10)
            agreed.append(len(np.intersect1d(reader.candidates(vectors, 10), exact)) / 10)
        assert np.mean(agreed) > 0.95


def test_what_few_may_answer_is_exact_and_what_many_may_is_looked_for(writer, monkeypatch):
    writer.record_build({"new": PHOTOS}, seconds=1)
    monkeypatch.setattr("db.postgres.collection.COMPARED_REGIONS", 0)
    area = AreaRange(0.01, 0.1)
    for seed in range(10):
        vectors = question(seed, 2)
        for allowed in (np.arange(3, 7), np.arange(2, PHOTOS, 3), np.arange(1, PHOTOS)):
            for wanted in (None, area):
                exact = exact_photos(writer, vectors, 4, allowed, wanted)
                found = writer.candidates(vectors, 4, allowed, wanted)
                assert set(found.tolist()) <= set(allowed.tolist()) and len(found) == 4
                # Of few, exactly those.
                assert len(np.intersect1d(found, exact)) >= (4 if len(allowed) < 6 else 3)


def test_one_makes_indexes_at_a_time_and_questions_and_commits_go_on(url, writer, monkeypatch, caplog):
    making, go_on = threading.Event(), threading.Event()
    make = indexes._make

    def slowly(server, need):
        making.set()
        assert go_on.wait(300)
        make(server, need)

    monkeypatch.setattr(indexes, "_make", slowly)
    other = threading.Thread(target=lambda: indexes.rebuild(writer.server))
    other.start()
    try:
        assert making.wait(300)
        with open_collection(url, write=True) as second:
            with pytest.raises(CollectionLocked, match=r"^Another process is making the indexes of postgresql://"):
                indexes.rebuild(second.server)
            second.commit(new=[photo(1, "meanwhile.jpg")])
            second.record_build({"new": 1}, seconds=1)
            assert "Indexes were not made" in caplog.text
            assert len(second.candidates(question(0), 5)) == 5
    finally:
        go_on.set()
        other.join()
    assert all(index.valid for index in made(writer).values()) and len(made(writer)) == 2
