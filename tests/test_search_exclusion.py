"""Photographs that show what is not wanted fall away."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from db.collection import open_collection
from fcln.scoring import Calibration, Scoring
from helpers.word_predictor import SixWords, WordPredictor, build
from search.errors import QueryError
from search.exclusion import evidence, unwanted_presences
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto
from search.output import as_json
from search.searcher import Searcher

PHOTOS = {
    "alone.jpg": ["a dog", "tree"],
    "lamp.jpg": ["a dog", "lamp"],
    "couch.jpg": ["a dog", "tree", "couch"],
    "both.jpg": ["a dog", "lamp", "couch"],
    "tree.jpg": ["tree"],
}
# From a similarity of 0.9 on for certain; one of 1/sqrt 2, of "a lamp" and "lamp", is none.
CALIBRATION = Calibration(presence=(-90.0, 100.0, 0.0), place=(-9.0, 20.0, 0.0, 0.0), prevalence=0.02)


class Calibrated(WordPredictor):
    scoring = Scoring("embedding", calibration=CALIBRATION)


class Negating(SixWords):
    def noun_phrases(self, question):
        return [part.removeprefix("a ") for part in question.split(" on ")]


@pytest.fixture
def collection(tmp_path):
    build(tmp_path / "collection", tmp_path / "photos", PHOTOS)
    with open_collection(tmp_path / "collection") as opened:
        yield opened


@pytest.fixture
def searcher(collection):
    return Searcher(collection, Calibrated(), lexicon=Negating())


def names(answer):
    return [hit.path.name for hit in answer.hits]


@pytest.mark.parametrize("exact", [False, True])
def test_what_shows_an_unwanted_thing_falls_away_with_the_region_as_evidence(searcher, exact):
    answer = searcher.search(["a dog"], excluded=["lamp"], exact=exact)
    assert names(answer) == ["alone.jpg", "couch.jpg", "tree.jpg"]
    assert [hit.rank for hit in answer.hits] == [1, 2, 3]
    assert (answer.query, answer.without) == (["a dog"], ["lamp"])
    assert {photo.path.name for photo in answer.excluded} == {"lamp.jpg", "both.jpg"}
    for photo in answer.excluded:
        assert (photo.region.phrase, photo.region.for_phrase) == ("lamp", "lamp")
        assert photo.region.score > 0.9
    # the photograph's own score is what it is without
    assert answer.hits[0].score == searcher.search(["a dog"]).hits[0].score


def test_any_of_several_unwanted_things_is_enough(searcher):
    answer = searcher.search(["a dog"], excluded=["lamp", "couch"])
    assert names(answer) == ["alone.jpg", "tree.jpg"]
    assert {photo.region.for_phrase for photo in answer.excluded} == {"lamp", "couch"}


@pytest.mark.parametrize("question", ["a dog without a lamp", "a dog -lamp", "a dog, no lamp"])
def test_a_question_may_say_it(searcher, question):
    answer = searcher.search([question])
    assert (answer.query, answer.without) == ([question], ["lamp"])
    assert names(answer) == ["alone.jpg", "couch.jpg", "tree.jpg"]
    assert searcher.search([question], as_typed=True).without == []


def test_a_short_answer_is_the_start_of_a_long_one(searcher):
    long = searcher.search(["a dog"], excluded=["lamp"])
    for k in (1, 2):
        short = searcher.search(["a dog"], k=k, excluded=["lamp"])
        assert short.hits == long.hits[:k]
        # those after the last hit were not looked at
        assert {photo.path.name for photo in short.excluded} <= {"lamp.jpg", "both.jpg"}


def test_nothing_may_be_left(searcher):
    answer = searcher.search(["a dog"], excluded=["a dog", "tree"])
    assert answer.hits == [] and len(answer.excluded) == 5


def test_json_tells_what_fell_away(searcher):
    document = json.loads(as_json(searcher.search(["a dog"], excluded=["lamp"])))
    assert list(document) == ["query", "readings", "unknown_words", "scoring", "without", "excluded", "hits"]
    assert document["without"] == ["lamp"]
    assert [photo["region"]["for"] for photo in document["excluded"]] == ["lamp", "lamp"]
    assert document["excluded"][0]["path"].endswith(".jpg")


def test_weights_without_a_calibration_exclude_nothing(collection):
    searcher = Searcher(collection, WordPredictor(), lexicon=SixWords())
    with pytest.raises(QueryError, match="hold no confidence, so nothing can be excluded"):
        searcher.search(["a dog"], excluded=["lamp"])


@pytest.mark.parametrize(("excluded", "message"), [([""], "no word"), (["zorblax"], "none of these words: zorblax")])
def test_what_cannot_be_excluded(searcher, excluded, message):
    with pytest.raises(QueryError, match=message):
        searcher.search(["a dog"], excluded=excluded)


def test_a_detector_takes_a_phrase_as_the_name_of_a_thing(searcher):
    from search.detector import Detector

    detector = Detector(Calibrated(), lexicon=Negating())
    found = detector.detect_in_collection(["a dog -lamp"], searcher._collection, threshold=0.0, prior=0.5)
    assert np.isfinite([hit.score for hit in found.hits]).all()
    assert {region.for_phrase for hit in found.hits for region in hit.regions} == {"a dog - lamp"}


def test_the_evidence_is_as_sure_as_what_decided():
    """Two places that are likely, but not surely where it is: together they are as sure as the photograph is."""
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    regions = PhotoRegions(boxes, np.array([0.5, 0.5], np.float32))
    photo = DescribedPhoto(1, Path("a.jpg"), 40, 40, regions, [1, 2], ["thing", "thing"])
    # The photograph shows it with log-odds of 2; each place is a coin's throw.
    scoring = Scoring("embedding", calibration=Calibration((2.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0), prevalence=0.02))
    similarities = np.array([[0.8, 0.7]])
    (presence,) = unwanted_presences(photo, similarities, ["lamp"], None, scoring)
    assert presence == pytest.approx(1 / (1 + math.exp(-2)))
    region = evidence(photo, similarities, ["lamp"], None, scoring)
    # each 1/2 of what both together, 1 - 1/4, have
    assert region is not None and region.score == pytest.approx(presence * 0.5 / 0.75, abs=1e-6)
