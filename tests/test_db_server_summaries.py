"""Summaries of photographs on a server: made with every commit, gone with the photograph, made of older collections."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from db import maintenance
from db.collection import open_collection
from db.model_switch import open_successor, switch
from db.postgres import indexes, migrations
from db.postgres.summaries import GROUPS, find_summaries, summarizes, summary
from db.records import AreaRange, ModelIdentity
from helpers.db_photos import MODEL, live, photo
from helpers.db_server import new_url, partitioned
from helpers.exact_photos import exact_photos


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_regions(seed, count, size=8):
    return unit(np.random.default_rng(seed).normal(size=(count, size)))


def stored(collection):
    """What there is, by photograph."""
    found = collection.server.read(find_summaries, "WHERE true", collection.model)
    return dict(found.values())


def as_computed(collection):
    features = collection.features()
    parts = [slice(*ends) for ends in np.searchsorted(features.photo_ids, [(i, i + 1) for i in collection.photo_ids()])]
    return {int(features.photo_ids[some][0]): summary(features.embeddings[some].astype(np.float16)) for some in parts}


def assert_all_summarized(collection):
    found, expected = stored(collection), as_computed(collection)
    assert found.keys() == expected.keys()
    for photo_id, vectors in expected.items():
        np.testing.assert_allclose(found[photo_id], vectors, atol=1e-3)  # half floats


def test_a_summary_is_the_mean_and_the_groups():
    centres = np.eye(16, dtype=np.float32)[:GROUPS]
    sizes = [1, 9, 3, 3, 5, 2, 7]
    regions = unit(np.repeat(centres, sizes, axis=0) + random_regions(0, sum(sizes), 16) * 0.2)
    found = summary(np.random.default_rng(1).permutation(regions))
    assert found.shape == (1 + GROUPS, 16) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[0], unit(regions.mean(axis=0)), atol=1e-5)
    ends = np.cumsum([0, *sizes])
    groups = [unit(regions[start:end].sum(axis=0)) for start, end in pairwise(ends)]
    assert sorted(found[1:].argmax(axis=1).tolist()) == list(range(GROUPS))
    np.testing.assert_allclose(found[1:][np.argsort(found[1:].argmax(axis=1))], groups, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 300])
def test_few_regions_are_their_own_groups_and_many_have_one_near(count):
    regions = random_regions(count, count)
    found = summary(regions)
    closest = (regions @ found[1:].T).max(axis=1)
    assert closest.min() > (0.999 if count <= GROUPS else 0) and closest.mean() > 0.5
    assert np.isfinite(summary(np.concatenate([regions, -regions]))).all()  # whose mean is zero


def test_what_summarizes_other_regions_is_told():
    regions, others = random_regions(0, 20).astype(np.float16), random_regions(1, 20).astype(np.float16)
    ours, theirs = summary(regions), summary(others)
    assert summarizes((5, ours), 5, regions) and summarizes((5, ours.astype(np.float16)), 5, regions)
    assert summarizes((5, ours[[0, 3, 2, 1, 7, 6, 5, 4]]), 5, regions)  # in another order
    lacking = np.where(np.arange(1 + GROUPS)[:, None] == 3, np.nan, ours)
    halves = [np.concatenate([some[:1], rest[1:]]) for some, rest in ((ours, theirs), (theirs, ours))]
    for found in (None, (6, ours), (None, ours), (5, theirs), *((5, half) for half in halves), (5, lacking)):
        assert not summarizes(found, 5, regions)


def test_every_commit_keeps_them(monkeypatch):
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", 7)
    with open_collection(new_url(), write=True, create=True, model=MODEL) as collection:
        live(collection)
        assert_all_summarized(collection)
        collection.commit(new=[photo(1, "one.jpg", count=1), photo(1, "then.jpg", count=40)])
        one, then = collection.photo_ids()[-2:].tolist()
        collection.commit(gone=[one])
        assert_all_summarized(collection)
        assert then in stored(collection)
        maintenance.describe_again(collection.location, {6: "why not"})
        assert 6 not in stored(collection)
        assert_all_summarized(collection)
        assert maintenance.verify(collection.location).holds
        maintenance.compact(collection.location)
        with collection.server.session() as session:
            session.execute(text("DELETE FROM photo"))
        assert stored(collection) == {}


def test_an_older_collection_gets_them(monkeypatch):
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", 100)
    monkeypatch.setattr("db.postgres.summaries._PHOTOS_AT_ONCE", 7)
    url = new_url()
    with open_collection(url, write=True, create=True, model=MODEL) as collection:
        collection.add_root(Path("/photos"))
        collection.commit(new=[photo(1, f"{number}.jpg", count=number % 9 + 1) for number in range(60)])
        collection.commit(gone=[7, 30])
        expected = stored(collection)
        with collection.server.session() as session:  # as the second step left it
            session.execute(text("DROP TABLE photo_mean, photo_group"))
            session.execute(text("UPDATE schema_version SET version = 2"))
    with open_collection(url, write=True) as collection:
        assert migrations.schema_version(collection.server.engine.connect(), collection.server.address.schema) == 3
        found = stored(collection)
        assert found.keys() == expected.keys() and len(found) > 40
        for photo_id, vectors in expected.items():
            np.testing.assert_array_equal(found[photo_id], vectors)
        collection.commit(new=[photo(1, "more.jpg", count=60)], gone=[8])  # and into a partition that is made now
        assert_all_summarized(collection)
    assert maintenance.verify(url).holds


def test_other_weights_bring_theirs():
    larger = ModelIdentity("b" * 64, embedding_size=12, code_size=5)
    with open_collection(new_url(), write=True, create=True, model=MODEL) as collection:
        live(collection)
        with open_successor(collection, larger) as successor:
            for number, name in enumerate(("b.jpg", "f.jpg")):
                successor.commit(new=[photo(1, name, count=9, embeddings=random_regions(number, 9, 12))])
            switch(collection, successor)
        with open_collection(collection.location) as reader:
            assert next(iter(stored(reader).values())).shape == (1 + GROUPS, 12)
            assert_all_summarized(reader)
    assert maintenance.verify(collection.location).holds


@pytest.mark.parametrize("phrases", [2, 4])
def test_of_a_large_collection_the_first_are_found(monkeypatch, phrases):
    """Photographs of a few things each, among them those that are asked for; with filters and without."""
    monkeypatch.setattr("db.postgres.shortlist._PROPOSED", 60)
    monkeypatch.setattr("db.postgres.shortlist._FIRST_COMPARED", 30)
    monkeypatch.setattr("db.postgres.collection.COMPARED_REGIONS", 0)
    rng = np.random.default_rng(phrases)
    things = random_regions(3, 12)
    with partitioned(monkeypatch, 1, partition_regions=3000) as writer:
        some = [
            photo(1, f"of things {n}.jpg", count=20,
                  embeddings=unit(things[rng.choice(12, 3)][rng.integers(0, 3, 20)] + random_regions(n, 20) * 0.4))
            for n in range(600)
        ]  # fmt: skip
        writer.commit(new=some)
        monkeypatch.setattr(indexes, "SCANNED_REGIONS", 100)
        ids, area = writer.photo_ids(), AreaRange(0.02, 0.2)
        with open_collection(writer.location) as reader:
            shares = []
            for number in range(10):
                vectors = unit(things[rng.choice(12, phrases, replace=False)] + random_regions(number, phrases) * 0.3)
                for allowed in (None, ids[::2]):
                    for wanted in (None, area):
                        exact = exact_photos(writer, vectors, 10, allowed, wanted)
                        found = reader.candidates(vectors, 10, allowed, wanted)
                        assert len(found) == 10 and (allowed is None or np.isin(found, allowed).all())
                        shares.append(len(np.intersect1d(found, exact)) / 10)
            assert np.mean(shares) > 0.97
