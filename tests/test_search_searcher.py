import dataclasses
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from db.collection import open_collection
from db.errors import CheckpointMismatch, UnknownId
from fcln.scoring import SCORINGS, Scoring
from helpers.word_predictor import WORDS, SixWords, WordPredictor, build
from search import searcher as module
from search.errors import QueryError
from search.example import find_example
from search.filters import Filters
from search.likelihood import JUDGED_PAIRS, JUDGED_REGIONS
from search.ranking import Ranking
from search.searcher import Searcher

PHOTOS = {
    "lamp.jpg": ["a red lamp", "red"],
    "both.jpg": ["a dog", "a couch", "tree"],
    "dog.jpg": ["a dog", "tree"],
    "tree.jpg": ["tree"],
}


@pytest.fixture
def collection(tmp_path):
    build(tmp_path / "collection", tmp_path / "photos", PHOTOS)
    with open_collection(tmp_path / "collection") as opened:
        yield opened


@pytest.fixture
def searcher(collection):
    return Searcher(collection, WordPredictor(), lexicon=SixWords())


@pytest.fixture(scope="module")
def large_collection(tmp_path_factory):
    """300 photographs of random words, six regions each."""
    folder = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(0)
    photos = {
        f"{i:03}.jpg": [" ".join(random.choice(WORDS, random.integers(1, 4))) for _ in range(6)] for i in range(300)
    }
    build(folder / "collection", folder / "photos", photos)
    with open_collection(folder / "collection") as opened:
        yield opened


@pytest.fixture
def large(large_collection):
    return Searcher(large_collection, WordPredictor(), lexicon=SixWords())


def names(answer):
    return [hit.path.name for hit in answer.hits]


def test_a_question_finds_things_in_different_places(searcher, tmp_path):
    answer = searcher.search(["dog on couch"], k=2)
    assert (answer.query, answer.scoring, answer.unknown_words) == (["dog on couch"], "embedding", [])
    assert names(answer) == ["both.jpg", "dog.jpg"]
    hit = answer.hits[0]
    assert (hit.rank, hit.path, hit.width, hit.height) == (1, tmp_path / "photos" / "both.jpg", 200, 100)
    dog, couch = hit.regions
    assert (dog.phrase, dog.for_phrase, dog.box) == ("a dog", "a dog", (0.0, 0.0, 50.0, 25.0))
    assert (couch.phrase, couch.for_phrase, couch.box) == ("a couch", "a couch", (1.0, 2.0, 51.0, 27.0))
    assert dog.score == pytest.approx(1, abs=1e-3)  # embeddings are kept as float16


def test_several_phrases_score_the_mean_of_their_best_regions(searcher):
    answer = searcher.search(["red lamp", "tree"])
    # Of "a red lamp", cos = 2 / sqrt(2 * 3); of "tree", 1; no word of one is in the other.
    expected = {"lamp.jpg": 2 / math.sqrt(6) / 2, "both.jpg": 0.5, "dog.jpg": 0.5, "tree.jpg": 0.5}
    assert {hit.path.name: hit.score for hit in answer.hits} == pytest.approx(expected, abs=1e-3)
    assert names(answer) == ["both.jpg", "dog.jpg", "tree.jpg", "lamp.jpg"]  # equal ones in the order of their ids
    assert [region.for_phrase for region in answer.hits[0].regions] == ["red lamp", "tree"]


def test_likelihood_is_the_papers(searcher):
    answer = searcher.search(["red lamp", "a tree"], scoring="likelihood")
    assert answer.scoring == "likelihood"
    # "red lamp" of a region of three words: (0.8 / 3)^2; of "tree" alone: (0.2 / 5)^2.
    # "a tree" of "a red lamp": 0.8 / 3 * 0.2 / 3; of "tree": 0.2 / 5 * 0.8.
    lamp = math.log((0.8 / 3) ** 2) + math.log(0.8 / 3 * 0.2 / 3)
    tree = math.log((0.2 / 5) ** 2) + math.log(0.8 * 0.2 / 5)
    scores = {hit.path.name: hit.score for hit in answer.hits}
    assert scores["lamp.jpg"] == pytest.approx(lamp / 2, abs=1e-5)
    assert scores["tree.jpg"] == pytest.approx(tree / 2, abs=1e-5)
    region = next(hit for hit in answer.hits if hit.path.name == "lamp.jpg").regions[0]
    assert (region.for_phrase, region.phrase) == ("red lamp", "a red lamp")
    assert region.score == pytest.approx(math.log((0.8 / 3) ** 2), abs=1e-5)


def test_fused_adds_the_weighted_likelihood_of_a_token(searcher):
    answer = searcher.search(["tree", "tree"], scoring="fused")
    assert answer.hits[0].path.name == "both.jpg"
    # cosine 1, weight 0.5, log-likelihood log(0.8) over two tokens: the word and END
    assert answer.hits[0].score == pytest.approx(1 + 0.5 * math.log(0.8) / 2, abs=1e-3)


def test_a_phrase_given_twice_is_answered_once(searcher):
    assert [region.for_phrase for region in searcher.search(["tree", "tree"]).hits[0].regions] == ["tree"]


def test_a_phrase_given_twice_is_answered_once_though_its_scores_differ_in_the_last_digit(searcher, monkeypatch):
    cosines = searcher._collection.cosines

    def rounded(vectors, photo_ids):
        scores = cosines(vectors, photo_ids)
        return dataclasses.replace(scores, scores=scores.scores + np.float32([[0], [1e-6]]))

    monkeypatch.setattr(searcher._collection, "cosines", rounded)
    assert len(searcher.search(["tree", "tree"]).hits[0].regions) == 1


def test_the_shortlist_finds_what_looking_at_everything_finds(large):
    phrases = ["a dog", "red couch", "lamp"]
    assert large.search(phrases, k=10).hits == large.search(phrases, k=10, exact=True).hits


@pytest.mark.parametrize("scoring", ["embedding", "likelihood", "fused"])
def test_more_hits_than_the_shortlist_holds(large, scoring):
    answer = large.search(["dog on red couch"], k=250, scoring=scoring)
    assert len(set(names(answer))) == 250


@pytest.mark.parametrize("scoring", ["embedding", "likelihood", "fused"])
@pytest.mark.parametrize("phrases", [["dog on red couch"], ["a dog", "red lamp"]])
def test_a_short_answer_is_the_start_of_a_long_one(large, scoring, phrases):
    for exact in (False, True):
        long = large.search(phrases, k=15, scoring=scoring, exact=exact)
        assert len(long.hits) == 15
        assert [hit.rank for hit in long.hits] == list(range(1, 16))
        assert all(first.score >= second.score for first, second in zip(long.hits, long.hits[1:]))
        assert large.search(phrases, k=5, scoring=scoring, exact=exact).hits == long.hits[:5]


def test_the_language_model_judges_no_more_than_its_budget(large):
    predictor = large._model
    large.search(["dog on couch"], scoring="likelihood")
    assert 0 < predictor.judged <= JUDGED_PAIRS
    predictor.judged = 0
    large.search(["dog on couch"], scoring="likelihood", exact=True)
    assert predictor.judged == 3 * 300 * 6


def test_embedding_scoring_asks_the_language_model_nothing(large):
    large.search(["dog on couch"], exact=True)
    assert large._model.judged == 0


def test_searching_reads_a_shortlist_only(large, monkeypatch):
    read = []
    cosines = large._collection.cosines

    def spy(vectors, photo_ids=None):
        read.append(photo_ids)
        return cosines(vectors, photo_ids)

    monkeypatch.setattr(large._collection, "cosines", spy)
    monkeypatch.setattr(large._collection, "features", None)  # is not called
    large.search(["dog on couch"])
    assert len(read) == 1
    assert read[0] is not None
    assert len(read[0]) <= module.SHORTLIST_PHOTOS


def test_rank_orders_every_photograph_for_the_phrases_given(searcher, collection):
    ranking = searcher.rank(["a dog", "a couch"])
    assert ranking.phrases == ["a dog", "a couch"]
    assert [row.path.name for row in collection.photos(ranking.photo_ids)] == [
        "both.jpg", "dog.jpg", "lamp.jpg", "tree.jpg",
    ]  # fmt: skip
    assert ranking.scores[0] == pytest.approx(1, abs=1e-3)


def test_ground_says_which_region_answers_each_phrase(searcher, collection):
    photo = next(row for row in collection.photos(collection.photo_ids()) if row.path.name == "both.jpg")
    for scoring in ("embedding", "likelihood", "fused"):
        found = searcher.ground(["a dog", "a couch"], photo.photo_id, scoring=scoring)
        assert [row.phrase for row in found] == ["a dog", "a couch"]
        assert {row.photo_id for row in found} == {photo.photo_id}
    with pytest.raises(UnknownId):
        searcher.ground(["a dog"], 999)


def test_search_and_rank_agree(large):
    for scoring in ("embedding", "likelihood", "fused"):
        ranking = large.rank(["dog on couch"], scoring=scoring)
        answer = large.search(["dog on couch"], k=300, scoring=scoring, exact=True)
        assert ranking.phrases == ["dog on couch", "a dog", "a couch"]
        assert [hit.photo_id for hit in answer.hits] == ranking.photo_ids.tolist()
        assert [hit.score for hit in answer.hits] == ranking.scores.tolist()


def test_rank_judges_as_few_regions_as_asked(large):
    large.rank(["a dog", "red lamp"], scoring="likelihood", judged_regions=JUDGED_REGIONS)
    assert large._model.judged == 2 * 300 * JUDGED_REGIONS
    large.rank(["a dog", "red lamp"], scoring="likelihood")
    assert large._model.judged == 2 * 300 * JUDGED_REGIONS + 2 * 300 * 6


def test_rank_reads_the_collection_once_for_each_commit(tmp_path, monkeypatch):
    build(tmp_path / "collection", tmp_path / "photos", PHOTOS)
    with open_collection(tmp_path / "collection") as collection:
        searcher = Searcher(collection, WordPredictor(), lexicon=SixWords())
        reads = []
        features = collection.features
        monkeypatch.setattr(collection, "features", lambda: reads.append(1) or features())
        assert len(searcher.rank(["a dog"]).photo_ids) == len(searcher.rank(["tree"]).photo_ids) == 4
        assert len(reads) == 1
        build(tmp_path / "collection", tmp_path / "photos", {"new.jpg": ["red"]})
        assert len(searcher.rank(["a dog"]).photo_ids) == 4  # a reader stays with the commit that it began with
        collection.refresh()
        assert len(searcher.rank(["a dog"]).photo_ids) == 5
        assert len(reads) == 2


def test_the_default_scoring_comes_with_the_weights(collection):
    predictor = WordPredictor()
    predictor.scoring = Scoring("likelihood")
    answer = Searcher(collection, predictor, lexicon=SixWords()).search(["a dog"])
    assert answer.scoring == "likelihood"
    assert answer.hits[0].score == pytest.approx(math.log(0.4 * 0.4), abs=1e-5)


def test_an_empty_collection_answers_nothing(tmp_path):
    build(tmp_path / "empty", tmp_path, {})
    with open_collection(tmp_path / "empty") as collection:
        searcher = Searcher(collection, WordPredictor(), lexicon=SixWords())
        for exact in (False, True):
            assert searcher.search(["dog on couch"], exact=exact).hits == []
        assert len(searcher.rank(["dog on couch"]).photo_ids) == 0


def test_boxes_stay_inside_the_photograph(tmp_path):
    with open_collection(tmp_path / "c", write=True, create=True, model=WordPredictor.identity) as collection:
        from helpers.word_predictor import new_photo

        photo = new_photo(collection.add_root(tmp_path), "a.jpg", ["dog"], width=99, height=77)
        collection.commit(new=[dataclasses.replace(photo, boxes=np.array([[0.333333, 1.005, 99, 77]], np.float32))])
        box = Searcher(collection, WordPredictor(), lexicon=SixWords()).search(["dog"]).hits[0].regions[0].box
    assert box == (0.33, 1.0, 99, 77)


class OneThread:
    """A collection that notices when a second thread comes in."""

    def __init__(self, collection):
        self._collection = collection
        self._busy = threading.Lock()
        self.intruders = 0

    def __getattr__(self, name):
        value = getattr(self._collection, name)
        return partial(self._call, value) if callable(value) else value

    def _call(self, method, *args, **options):
        entered = self._busy.acquire(blocking=False)
        self.intruders += not entered
        try:
            time.sleep(0.001)  # others may run
            return method(*args, **options)
        finally:
            if entered:
                self._busy.release()


def test_many_threads_may_ask_one_searcher(large_collection):
    """Each gets what it would have got alone, and the collection meets one of them at a time."""
    guarded = OneThread(large_collection)
    searcher = Searcher(guarded, WordPredictor(), lexicon=SixWords())
    questions = [[f"{first} on {second}"] for first, second in zip(WORDS[1:], (*WORDS[2:], WORDS[1]))]
    example = find_example(large_collection, lambda: None, photo_id=1)
    asked = [
        *(partial(searcher.search, question, k=7, scoring=scoring) for question in questions for scoring in SCORINGS),
        *(partial(searcher.search, question, filters=Filters(min_area=0.05)) for question in questions),
        *(partial(searcher.like, example, question) for question in questions),
        *(partial(searcher.ground, question, number) for number, question in enumerate(questions, 1)),
        *(partial(searcher.rank, question) for question in questions),
    ]

    def answer(ask):
        found = ask()
        if isinstance(found, Ranking):
            return found.photo_ids.tolist(), found.scores.tolist()
        return getattr(found, "hits", found)

    alone = [answer(ask) for ask in asked]
    start = threading.Barrier(8)

    def ask_all(offset):
        start.wait()
        order = [(number + 5 * offset) % len(asked) for number in range(len(asked))]
        return {number: answer(asked[number]) for number in order}

    with ThreadPoolExecutor(8) as threads:
        for answers in threads.map(ask_all, range(8)):
            assert [answers[number] for number in range(len(asked))] == alone
    assert guarded.intruders == 0


def test_a_collection_of_another_checkpoint_is_refused(collection):
    predictor = WordPredictor()
    predictor.digest = "e" * 64
    with pytest.raises(CheckpointMismatch, match="described by the checkpoint dddddddddddd, this one is eeeeeeeeeeee"):
        Searcher(collection, predictor, lexicon=SixWords())


def test_unknown_words_are_reported(searcher):
    answer = searcher.search(["zorblax dog"])
    assert answer.unknown_words == ["zorblax"]
    assert answer.hits


def test_what_cannot_be_asked(searcher):
    with pytest.raises(QueryError, match="nothing to search for"):
        searcher.search([])
    with pytest.raises(QueryError, match="at least 1, not 0"):
        searcher.search(["dog"], k=0)
    with pytest.raises(QueryError, match='no scoring "best": choose one of embedding, likelihood, fused'):
        searcher.rank(["dog"], scoring="best")
