"""Filters as people say them, and questions that they hold for."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from db.collection import open_collection
from db.records import AreaRange, Circle, PhotoFilter, PhotoHeaders
from fcln.scoring import Calibration, Scoring
from helpers.word_predictor import WORDS, SixWords, WordPredictor, embedding_of, new_photo
from search.detector import Detector
from search.errors import FilterError
from search.filters import Filters, Selection
from search.searcher import Searcher


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("2023", "2023-01-01T00:00:00"),
        ("2023-05", "2023-05-01T00:00:00"),
        ("2023-5-1", "2023-05-01T00:00:00"),
        (" 2023/05/31 ", "2023-05-31T00:00:00"),
        ("2024.02.29", "2024-02-29T00:00:00"),
        ("20230501", "2023-05-01T00:00:00"),
        ("2023-05-01 14:30", "2023-05-01T14:30:00"),
        ("2023-05-01T14:30:59", "2023-05-01T14:30:59"),
    ],
)
def test_a_date_is_its_first_moment(text, start):
    assert Filters(after=text).photos == PhotoFilter(taken_from=start)
    assert Filters(before=text).photos == PhotoFilter(taken_until=start)


@pytest.mark.parametrize(
    "text", ["", "23", "2023-13", "2023-02-29", "05/01/2023", "yesterday", "2023-05-01 25:00", "0000"]
)
def test_what_is_no_date(text):
    with pytest.raises(FilterError, match="is no date: write 2023, 2023-05 or 2023-05-01"):
        Filters(after=text)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"after": "2023-05", "before": "2023"}, "Nothing is taken after 2023-05 and before 2023"),
        ({"after": "2023", "before": "2023-01-01"}, "Nothing is taken"),
        ({"orientation": "wide"}, '"wide" is no orientation: landscape, portrait, square'),
        ({"min_area": 1.5}, "share of the photograph, from 0 to 1"),
        ({"max_area": float("nan")}, "share of the photograph, from 0 to 1"),
        ({"min_area": 0.5, "max_area": 0.25}, "at least 0.5 and at most 0.25"),
        ({"cameras": ("canon", " ")}, "camera without a name"),
        ({"formats": ("jpeg", "docx")}, '"docx" is no format of photographs: avif, bmp, gif, heic, jpeg'),
        ({"near": (91, 0, 1)}, "91,0 is no place"),
        ({"near": (0, 0, 0)}, "Within 0 km is nothing"),
        ({"near": (0, float("nan"), 1)}, "is no place"),
    ],
)
def test_what_cannot_be_meant(conditions, message):
    with pytest.raises(FilterError, match=message):
        Filters(**conditions)


def test_conditions_for_a_collection():
    filters = Filters(orientation="square", min_area=0.1, cameras=("leica",), near=(1, 2, 3), formats=("JPG", ".DNG"))
    assert filters.photos.orientation == "square" and filters.photos.cameras == ("leica",)
    assert filters.photos.near == Circle(1, 2, 3)
    assert {".jpg", ".jpeg", ".dng"} <= set(filters.photos.suffixes)
    assert filters.area == filters.photos.area == AreaRange(0.1, 1)
    assert Filters().photos == PhotoFilter() and Filters(max_area=0.5).of_regions_only
    assert not filters.of_regions_only


def test_a_folder_under_all_its_names(tmp_path, monkeypatch):
    (tmp_path / "disk" / "album").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert set(Filters(under=(tmp_path / "link" / "album",)).photos.under) >= {
        tmp_path / "link" / "album",
        tmp_path / "disk" / "album",
    }
    monkeypatch.chdir(tmp_path / "disk")
    assert tmp_path / "disk" / "album" in Filters(under=(Path("album"),)).photos.under
    assert tmp_path / "disk" in Filters(under=(Path("."),)).photos.under
    # Nobody's home: the shell leaves the name as it is, and so a folder may be called.
    assert tmp_path / "disk" / "~old" in Filters(under=(Path("~old"),)).photos.under


def test_what_json_says_of_filters():
    filters = Filters(after="2023", cameras=("canon", "leica"), near=(1, 2, 3), under=(Path("/a/../b"),), max_area=0.5)
    assert filters.as_dict() == {
        "under": ["/b"], "after": "2023", "max_area": 0.5, "camera": ["canon", "leica"], "near": [1, 2, 3],
    }  # fmt: skip


# -- questions


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """1,000 photographs of random words, six regions each; each hundredth of 2023, the others of 2020."""
    folder = tmp_path_factory.mktemp("filters")
    random = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("db.local.reader.SCANNED_REGIONS", 0)
        with open_collection(folder / "c", write=True, create=True, model=WordPredictor.identity) as writer:
            root_id = writer.add_root(folder)
            new = []
            for number in range(1000):
                words = [" ".join(random.choice(WORDS, random.integers(1, 4))) for _ in range(6)]
                row = new_photo(root_id, f"{number % 7}/{number}.jpg", words)
                when = f"2023-01-{number // 100 + 1:02}T00:00:00" if number % 100 == 0 else "2020-01-01T00:00:00"
                boxes = np.stack([[0, 0, 10 * (i + 1), 10 * (i + 1)] for i in range(6)]).astype(np.float32)
                new.append(dataclasses.replace(row, headers=PhotoHeaders(taken=when), boxes=boxes))
            writer.commit(new=new)
        with open_collection(folder / "c") as opened:
            yield opened


@pytest.fixture
def searcher(collection):
    return Searcher(collection, WordPredictor(), lexicon=SixWords())


QUESTION = ["a dog", "red lamp"]


@pytest.mark.parametrize("exact", [False, True])
def test_one_photograph_in_a_hundred(searcher, exact):
    answer = searcher.search(QUESTION, k=5, filters=Filters(after="2022"), exact=exact)
    allowed = list(range(1, 1001, 100))
    assert answer.selection.photo_ids.tolist() == allowed
    assert (answer.selection.allowed, answer.selection.photographs) == (10, 1000)
    everything = searcher.search(QUESTION, k=1000, exact=True).hits
    expected = [(hit.photo_id, hit.score, hit.regions) for hit in everything if hit.photo_id in allowed]
    assert [(hit.photo_id, hit.score, hit.regions) for hit in answer.hits] == expected[:5]
    assert len(searcher.search(QUESTION, k=50, filters=Filters(after="2022"), exact=exact).hits) == 10


def best(collection, weights, photo_ids, region_ids):
    """Photographs and scores by looking at some regions of them: the best one's for each phrase, times its weight."""
    features = collection.features()
    cosines = np.stack([embedding_of(phrase) for phrase in weights]) @ features.embeddings.T
    cosines[:, ~np.isin(features.region_ids, region_ids)] = -1
    share = np.array(list(weights.values()))
    scores = {i: float(share @ cosines[:, features.photo_ids == i].max(axis=1)) for i in photo_ids}
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


@pytest.mark.parametrize("exact", [False, True])
def test_only_regions_of_an_area_answer(searcher, collection, exact):
    filters = Filters(after="2022", min_area=0.04, max_area=0.1)  # of 200 x 100: sides of 30 and 40
    answer = searcher.search(["tree"], filters=filters, exact=exact)
    regions = collection.regions_of_area(filters.area)
    assert len(regions) == 2000
    expected = best(collection, {"tree": 0.9, "a tree": 0.1}, range(1, 1001, 100), regions)
    assert [hit.photo_id for hit in answer.hits] == [photo_id for photo_id, _ in expected]
    assert [hit.score for hit in answer.hits] == pytest.approx([score for _, score in expected], abs=1e-5)
    for question in (["tree"], QUESTION):
        hits = searcher.search(question, filters=filters, exact=exact).hits
        assert {region.box[2] for hit in hits for region in hit.regions} == {30, 40}


@pytest.mark.parametrize("scoring", ["embedding", "likelihood", "fused"])
def test_a_short_answer_is_the_start_of_a_long_one(searcher, scoring):
    for filters in (Filters(before="2021"), Filters(min_area=0.1), Filters(under=(Path("/"),))):
        long = searcher.search(QUESTION, k=15, scoring=scoring, filters=filters).hits
        assert [hit.rank for hit in long] == list(range(1, 16))
        assert searcher.search(QUESTION, k=5, scoring=scoring, filters=filters).hits == long[:5]
        order = [(-hit.score, hit.photo_id) for hit in long]
        assert order == sorted(order)


def test_filters_that_allow_all_change_nothing(searcher):
    plain = searcher.search(QUESTION, k=20)
    assert searcher.search(QUESTION, k=20, filters=Filters(after="1900")).hits == plain.hits


def test_nothing_is_allowed(searcher, collection):
    answer = searcher.search(QUESTION, filters=Filters(after="2024", orientation="landscape"))
    assert (answer.hits, answer.selection.allowed) == ([], 0)
    assert answer.selection.alone == {"after 2024": 0, "landscape": 1000}
    assert Selection.of(collection, Filters(cameras=("leica",))).silent == {"camera": 1000}


def test_the_newest_first(searcher):
    best_first = searcher.search(QUESTION, k=8, filters=Filters(after="2022"))
    answer = searcher.search(QUESTION, k=8, filters=Filters(after="2022"), sort="date")
    dates = [hit.taken for hit in answer.hits]
    assert dates == sorted(dates, reverse=True) and len(set(dates)) == 8
    assert sorted(answer.hits, key=lambda hit: hit.rank) == best_first.hits


def test_a_copy_elsewhere_is_not_shown_for_one_that_is_gone(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "copy.jpg").touch()
    with open_collection(tmp_path / "c", write=True, create=True, model=WordPredictor.identity) as collection:
        root_id = collection.add_root(tmp_path)
        new = [new_photo(root_id, name, ["a dog"]) for name in ("a/gone.jpg", "b/copy.jpg")]
        collection.commit(new=[dataclasses.replace(photo, digest="0" * 64) for photo in new])
        searcher = Searcher(collection, WordPredictor(), lexicon=SixWords())
        (hit,) = searcher.search(["a dog"], filters=Filters(under=(tmp_path / "a",))).hits
        assert hit.path == tmp_path / "a" / "gone.jpg"
        assert hit.copies == (tmp_path / "b" / "copy.jpg",)
        (hit,) = searcher.search(["a dog"]).hits
        assert hit.path == tmp_path / "b" / "copy.jpg"


def test_detecting_among_allowed_photographs(collection):
    predictor = WordPredictor()
    calibration = Calibration(presence=(20.0, 0.0, 0.0), place=(0.0, 1.0, 0.0, 0.0), prevalence=0.5)
    predictor.scoring = Scoring("embedding", calibration=calibration)
    detector = Detector(predictor, lexicon=SixWords())
    filters = Filters(after="2022", max_area=0.01)
    found = detector.detect_in_collection(["a dog"], collection, k=50, filters=filters, threshold=0.01, sort="date")
    assert found.photographs == found.selection.allowed == 10
    assert {hit.photo_id for hit in found.hits} <= set(range(1, 1001, 100)) and found.hits
    assert [hit.taken for hit in found.hits] == sorted((hit.taken for hit in found.hits), reverse=True)
    assert {region.box for hit in found.hits for region in hit.regions} == {(0, 0, 10, 10)}
    nothing = detector.detect_in_collection(["a dog"], collection, filters=Filters(after="2024"))
    assert (nothing.hits, nothing.photographs) == ([], 0)


def test_headers_of_real_photographs(album, tiny_checkpoint):
    """From the JPEG's EXIF through a build to what filters find."""

    def found(**conditions):
        filters = Filters(**conditions)
        with Searcher.open(album.collection, weights=tiny_checkpoint, device="cpu") as searcher:
            answer = searcher.search(["dog"], filters=filters)
        assert answer.selection.unread == 0
        return {hit.path.relative_to(album.photos).as_posix() for hit in answer.hits}

    assert found(after="2019-06-23", before="2019-06-24", cameras=("eos canon",), near=(-33.5, 151.25, 1)) == {"1.jpg"}
    assert found(after="2019-06-24") == found(near=(33.5, 151.25, 1000)) == set()
    assert found(under=(album.photos / "sub",)) == {"sub/3.jpg"}
    assert found(orientation="portrait", formats=("jpg",)) == {"2.jpg"}
    assert found(min_area=1.0) == {"1.jpg", "2.jpg", "sub/3.jpg"}  # the whole photograph is always a region
