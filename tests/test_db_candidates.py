import numpy as np
import pytest

from db import candidates as module
from db.candidates import best_found
from db.collection import open_collection
from db.errors import UnknownId
from helpers.word_predictor import WordPredictor, build, embedding_of


def test_best_found_is_what_a_photograph_may_score_at_most():
    # Phrase 0 met photographs 1, 0, 1; phrase 1 met photograph 2 only.
    best = best_found(
        [np.array([1, 0, 1]), np.array([2])],
        [np.array([0.9, 0.8, 0.7], dtype=np.float32), np.array([0.4], dtype=np.float32)],
        photos=3,
    )
    assert best == pytest.approx(np.array([[0.8, 0.9, 0.7], [0.4, 0.4, 0.4]]))


@pytest.fixture(params=["scan", "FAISS"])
def collection(tmp_path, request, monkeypatch):
    """A small collection, as such and as if it were a large one."""
    if request.param == "FAISS":
        monkeypatch.setattr("db.local.reader.SCANNED_REGIONS", 0)
    photos = {
        "1.jpg": ["a dog", "tree"],
        "2.jpg": ["a couch"],
        "3.jpg": ["a dog", "a couch"],
        "4.jpg": ["dog couch"],
        "5.jpg": ["tree", "tree", "tree"],
        "6.jpg": ["red lamp"],
    }
    build(tmp_path / "collection", tmp_path, photos)
    with open_collection(tmp_path / "collection") as opened:
        yield opened


def names(collection, photo_ids):
    return [row.path.name for row in collection.photos(photo_ids)]


VECTORS = np.stack([embedding_of(phrase) for phrase in ("dog couch", "a dog", "a couch")])


def test_photographs_are_proposed_by_the_mean_over_phrases(collection):
    assert names(collection, collection.candidates(VECTORS[:1], 1)) == ["4.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 1)) == ["3.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 4)) == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_a_shortlist_longer_than_the_collection_is_all_of_it(collection):
    assert collection.candidates(VECTORS, 100).tolist() == collection.photo_ids().tolist()


def test_cosines_are_those_of_the_photos_asked_for(collection):
    everything = collection.cosines(VECTORS)
    assert everything.scores == pytest.approx(VECTORS @ collection.features().embeddings.T, abs=1e-6)
    some = collection.photo_ids()[[4, 1]]
    scores = collection.cosines(VECTORS, some)
    assert scores.photo_ids.tolist() == sorted([some[1], some[0], some[0], some[0]])
    assert scores.scores == pytest.approx(VECTORS @ collection.features(some).embeddings.T, abs=1e-6)
    assert scores.region_ids.tolist() == collection.features(some).region_ids.tolist()
    with pytest.raises(UnknownId, match="999"):
        collection.cosines(VECTORS, [some[0], 999])


def test_a_reader_compares_what_the_commit_holds_that_it_sees(collection, tmp_path):
    before = collection.cosines(VECTORS).scores.shape
    build(tmp_path / "collection", tmp_path, {"7.jpg": ["a dog", "a dog"]})
    assert collection.cosines(VECTORS).scores.shape == before
    collection.refresh()
    assert collection.cosines(VECTORS).scores.shape == (before[0], before[1] + 2)


def test_more_regions_are_asked_for_until_they_fill_the_shortlist(collection, monkeypatch):
    monkeypatch.setattr(module, "FIRST_DEPTH", 1)
    tree = embedding_of("tree")[None]
    assert len(collection.candidates(tree, 1)) == 1
    assert names(collection, collection.candidates(tree, 2)) == ["1.jpg", "5.jpg"]
    assert len(collection.candidates(tree, 6)) == 6


def test_the_predictor_of_these_tests_fits_the_collection(collection):
    assert collection.model == WordPredictor.identity


def test_an_empty_collection_has_no_candidates(tmp_path):
    build(tmp_path / "empty", tmp_path, {})
    with open_collection(tmp_path / "empty") as opened:
        assert opened.candidates(VECTORS, 3).tolist() == []
        assert opened.candidates(VECTORS, 3, np.array([], np.int64)).tolist() == []


def test_deep_down_all_regions_are_compared(collection, monkeypatch):
    """Then a list of the nearest is not cheaper."""
    expected = [collection.candidates(VECTORS[1:], count).tolist() for count in range(1, 8)]
    monkeypatch.setattr(module, "FIRST_DEPTH", 1)
    monkeypatch.setattr(module, "DEEPEST", 4)
    monkeypatch.setattr("db.local.reader.SCANNED_REGIONS", 0)
    asked = []
    nearest = collection.reader.nearest
    monkeypatch.setattr(collection.reader, "nearest", lambda vectors, k: asked.append(k) or nearest(vectors, k))
    assert [collection.candidates(VECTORS[1:], count).tolist() for count in range(3, 8)] == expected[2:]
    assert set(asked) == {1}


def test_only_photographs_that_are_allowed(collection):
    everything = collection.photo_ids()
    assert names(collection, collection.candidates(VECTORS[1:], 2, everything[[0, 4, 5]])) == ["1.jpg", "5.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 2, everything)) == ["1.jpg", "3.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 9, everything[[4]])) == ["5.jpg"]
    with pytest.raises(UnknownId):
        collection.candidates(VECTORS, 1, np.array([99]))
