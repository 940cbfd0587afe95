import numpy as np
import pytest

from db import candidates as module
from db.candidates import best_found
from db.collection import open_collection
from db.errors import UnknownId
from db.records import AreaRange, PhotoFilter
from helpers import db_photos
from helpers.db_server import new_url
from helpers.word_predictor import WordPredictor, build, embedding_of


def test_best_found_is_what_a_photograph_may_score_at_most():
    # Phrase 0 met photographs 1, 0, 1; phrase 1 met photograph 2 only.
    best = best_found(
        [np.array([1, 0, 1]), np.array([2])],
        [np.array([0.9, 0.8, 0.7], dtype=np.float32), np.array([0.4], dtype=np.float32)],
        photos=3,
    )
    assert best == pytest.approx(np.array([[0.8, 0.9, 0.7], [0.4, 0.4, 0.4]]))


def test_best_found_where_nothing_was():
    none = np.empty(0, np.float32)
    best = best_found([np.array([1]), np.array([], int)], [np.array([0.9], np.float32), none], photos=2)
    assert best == pytest.approx(np.array([[0.9, 0.9], [-1, -1]]))
    assert best_found([np.array([], int)], [none], photos=0).shape == (1, 0)


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


def test_a_question_compares_all_regions_once(tmp_path, monkeypatch):
    """In memory: candidates, then their cosines; those of a few photographs alone are not worth it."""
    compared = []

    def products(vectors, embeddings):
        compared.append(len(embeddings))
        return vectors @ embeddings.T

    monkeypatch.setattr("db.local.reader.products", products)
    photos = {f"{number}.jpg": [("a dog", "a couch", "tree")[number % 3], "red lamp"] for number in range(20)}
    build(tmp_path / "collection", tmp_path, photos)
    with open_collection(tmp_path / "collection") as collection:
        everything = collection.cosines(VECTORS)
        assert compared == [40]
        found = collection.candidates(VECTORS, 8)
        some = collection.cosines(VECTORS, found)
        assert compared == [40]
        assert some.photo_ids.tolist() == np.repeat(found, 2).tolist()
        assert np.array_equal(some.scores, everything.scores[:, np.isin(everything.photo_ids, found)])
        other = VECTORS[:1]
        first_and_third = everything.scores[:1, np.isin(everything.photo_ids, [1, 3])]
        assert collection.cosines(other, [3, 1]).scores == pytest.approx(first_and_third, abs=1e-6)
        assert compared == [40, 4]
        # what was found for other vectors is not taken for these
        assert collection.cosines(other).scores == pytest.approx(everything.scores[:1], abs=1e-6)
        assert compared == [40, 4, 40]


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
    monkeypatch.setattr(
        collection.reader, "nearest", lambda vectors, k, **how: asked.append(k) or nearest(vectors, k, **how)
    )
    assert [collection.candidates(VECTORS[1:], count).tolist() for count in range(3, 8)] == expected[2:]
    assert set(asked) == {1}


def test_only_photographs_that_are_allowed(collection):
    everything = collection.photo_ids()
    assert names(collection, collection.candidates(VECTORS[1:], 2, everything[[0, 4, 5]])) == ["1.jpg", "5.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 2, everything)) == ["1.jpg", "3.jpg"]
    assert names(collection, collection.candidates(VECTORS[1:], 9, everything[[4]])) == ["5.jpg"]
    with pytest.raises(UnknownId):
        collection.candidates(VECTORS, 1, np.array([99]))


@pytest.fixture(scope="module", params=["exact", "inverted lists", "server"])
def many(tmp_path_factory, request):
    """2,000 photos of 3 regions, in FAISS files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("db.local.reader.SCANNED_REGIONS", 0)
        patch.setattr("db.local.vectors.index_files.FILE_REGIONS", 2500)
        patch.setattr("db.local.vectors.index_files.EXACT_LIMIT", 0 if request.param == "inverted lists" else 10**9)
        folder = tmp_path_factory.mktemp("many")
        place = new_url() if request.param == "server" else folder / "collection"
        with open_collection(place, write=True, create=True, model=db_photos.MODEL) as writer:
            root_id = writer.add_root(folder)
            writer.commit(new=[db_photos.photo(root_id, f"{number}.jpg") for number in range(2000)])
        with open_collection(place) as opened:
            if request.param != "server":
                inverted = [index.nlist > 0 for index in opened.reader.vectors.indexes]
                assert inverted == ([True, True, False] if request.param == "inverted lists" else [False] * 3)
            yield opened


def brute_force(collection, vectors, count, photo_ids, region_ids):
    """The best photos by the mean over phrases of their best region: photo -> score."""
    features = collection.features()
    kept = np.isin(features.photo_ids, photo_ids) & np.isin(features.region_ids, region_ids)
    cosines = vectors @ features.embeddings[kept].T
    owners = features.photo_ids[kept]
    means = {int(i): float(cosines[:, owners == i].max(axis=1).mean()) for i in np.unique(owners)}
    return dict(sorted(means.items(), key=lambda item: (-item[1], item[0]))[:count])


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize("area", [None, AreaRange(0, 0.02)])
def test_among_few_photographs_the_best_are_found_exactly(many, share, area):
    rng = np.random.default_rng(3)
    everything = many.photo_ids()
    for _ in range(3):
        vectors = rng.normal(size=(2, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        allowed = np.sort(rng.choice(everything, int(share * len(everything)), replace=False))
        regions = many.features().region_ids if area is None else many.regions_of_area(area)
        expected = brute_force(many, vectors, 10, allowed, regions)
        assert len(expected) == 10
        assert many.candidates(vectors, 10, allowed, area).tolist() == sorted(expected)


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize("area", [None, AreaRange(0, 0.02)])
def test_among_too_many_to_compare_faiss_finds_those_that_are_allowed(many, share, area, monkeypatch):
    monkeypatch.setattr("db.local.reader.COMPARED_REGIONS", 0)
    rng = np.random.default_rng(4)
    everything = many.photo_ids()
    found = total = 0
    for _ in range(5):
        vectors = rng.normal(size=(2, 8)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        allowed = np.sort(rng.choice(everything, int(share * len(everything)), replace=False))
        regions = many.features().region_ids if area is None else many.regions_of_area(area)
        expected = brute_force(many, vectors, 10, allowed, regions)
        answer = many.candidates(vectors, 10, allowed, area).tolist()
        assert len(answer) == 10 and set(answer) <= set(allowed.tolist())
        found += len(set(answer) & set(expected))
        total += 10
    assert found >= 0.9 * total  # lists hold bytes, and a tenth of the vectors is trained on


def test_among_many_regions_photographs_are_compared_before_they_are_proposed(many, monkeypatch):
    monkeypatch.setattr("db.local.reader.MANY_REGIONS", 0)
    monkeypatch.setattr("db.local.reader.COMPARED_REGIONS", 0)
    rng = np.random.default_rng(5)
    everything = many.photo_ids()
    features = many.features()
    for allowed in (None, everything[::2]):
        for _ in range(5):
            vectors = rng.normal(size=(3, 8)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            some = everything if allowed is None else allowed
            expected = brute_force(many, vectors, 50, some, features.region_ids)
            answer = many.candidates(vectors, 50, allowed).tolist()
            assert len(answer) == 50 and set(answer) <= set(some.tolist())
            # By the nearest regions alone, whose codes are short, 41 on average.
            assert len(set(answer) & set(expected)) >= 45


def test_all_of_an_area_may_answer(many):
    area = AreaRange(0, 0.001)
    owners = many.matching(PhotoFilter(area=area)).photo_ids
    assert 0 < len(owners) < 200
    assert many.candidates(np.eye(8, dtype=np.float32)[:1], 1000, None, area).tolist() == owners.tolist()
    assert many.candidates(np.eye(8, dtype=np.float32)[:1], 5, None, AreaRange(0.99, 1)).tolist() == []
