"""A photograph's score from the parts of a question."""

import json
from dataclasses import replace

import numpy as np
import pytest

from db.collection import open_collection
from fcln.scoring import Scoring
from helpers.word_predictor import SixWords, WordPredictor, new_photo
from search.composition import compose, upper_bounds
from search.grounding import PhotoRegions, side_by_side
from search.output import as_json, as_table
from search.searcher import Searcher
from search.wording.counts import Count
from search.wording.parse import Query
from search.wording.relations import Relation

LEFT, RIGHT, MIDDLE = (10, 40, 40, 70), (160, 40, 190, 70), (85, 40, 115, 70)
LOW, HIGH = (85, 60, 125, 100), (85, 0, 125, 35)
LEFT_OF = Relation("left of", "a dog", "a couch", "left of")


class Words(SixWords):
    """Numbers and relations beside."""

    def unknown_words(self, phrase):
        known = {"two", "three", "several", "left", "of", "in", "the", "foreground", "next", "to", "dogs"}
        return [word for word in super().unknown_words(phrase) if word not in known]

    def canonical(self, phrase):
        return {"dogs": "a dog", "dog": "a dog", "the dog": "a dog"}.get(phrase, phrase)

    def noun_phrases(self, question):
        words = [word for word in question.split() if word not in ("a", "the")]
        if not words:
            return []
        return [" ".join(words)] if words[0] in ("two", "three", "several") else [f"a {' '.join(words)}"]


def photo(name, regions):
    """A photograph of regions with boxes: [(words, box)]."""
    made = new_photo(1, name, [words for words, _ in regions])
    return replace(made, boxes=np.array([box for _, box in regions], np.float32))


@pytest.fixture
def searcher(tmp_path):
    photos = {
        "1right.jpg": [("a dog", RIGHT), ("a couch", LEFT), ("tree", HIGH)],
        "2left.jpg": [("a dog", LEFT), ("a couch", RIGHT), ("tree", HIGH)],
        "3one.jpg": [("a dog", MIDDLE), ("tree", HIGH), ("red", LEFT)],
        "4three.jpg": [("a dog", LEFT), ("a dog", RIGHT), ("a dog", HIGH)],
        "5two.jpg": [("a dog", LEFT), ("a dog", RIGHT), ("tree", HIGH)],
        "6low.jpg": [("a dog", (60, 30, 160, 100)), ("tree", HIGH)],
    }
    with open_collection(tmp_path / "c", write=True, create=True, model=WordPredictor.identity) as collection:
        collection.add_root(tmp_path / "photos")
        collection.commit(new=[photo(name, regions) for name, regions in photos.items()])
    with open_collection(tmp_path / "c") as collection:
        yield Searcher(collection, WordPredictor(), lexicon=Words())


def compose_one(query, scores, regions, size):
    (found,) = compose(
        query, *side_by_side(scores, np.array([scores.shape[1]]), regions), np.array([size]), "embedding"
    )
    return found


def names(answer):
    return [hit.path.name for hit in answer.hits]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scoring", ["embedding", "likelihood", "fused"])
def test_the_photograph_with_the_asked_relation_comes_before_the_opposite(searcher, exact, scoring):
    assert names(searcher.search(["dog left of couch"], exact=exact, scoring=scoring))[0] == "2left.jpg"
    found = names(searcher.search(["a dog", "a couch"], where=["dog left of couch"], exact=exact, scoring=scoring))
    assert found[0] == "2left.jpg" and "1right.jpg" in found
    # without it, the id decides
    assert names(searcher.search(["a dog", "a couch"], exact=exact, scoring=scoring))[:2] == ["1right.jpg", "2left.jpg"]


def test_boxes_and_explanation_tell_what_answered(searcher):
    hit = searcher.search(["dog left of couch"]).hits[0]
    assert [(region.for_phrase, region.box) for region in hit.regions] == [("a dog", LEFT), ("a couch", RIGHT)]
    explanation = hit.explanation
    assert explanation.won == "several things"
    assert [thing.score for thing in explanation.things] == pytest.approx([1, 1], abs=1e-3)
    (relation,) = explanation.relations
    assert (relation.text, relation.kind) == ("a dog left of a couch", "left of")
    assert 0.9 < relation.score < 1 and -0.05 < relation.points < 0
    things = sum(thing.score for thing in explanation.things) / 2 + relation.points
    assert explanation.as_things == pytest.approx(things, abs=1e-5)
    assert hit.score == pytest.approx((explanation.as_one.score + explanation.as_things) / 2, abs=1e-5)
    assert explanation.words == []


def test_the_log_probabilities_of_words_add_up(searcher):
    class Telling(WordPredictor):
        def word_log_likelihoods(self, phrase, code):
            words = phrase.split()
            return np.array([*(self.log_likelihood([word], code[None])[0, 0] for word in words), 0.0], np.float32)

    telling = Searcher(searcher._collection, Telling(), lexicon=Words())
    explained = telling.search(["dog left of couch"], scoring="likelihood", explain=True).hits[0].explanation
    dog = next(judged for judged in explained.words if judged.phrase == "a dog")
    assert [word for word, _ in dog.words] == ["a", "dog", "END"]
    assert sum(log for _, log in dog.words) == pytest.approx(explained.things[0].score, abs=1e-4)
    assert telling.search(["dog left of couch"], scoring="embedding", explain=True).hits[0].explanation.words == []


def test_a_count_prefers_so_many_and_shows_each(searcher):
    answer = searcher.search(["two dogs"])
    assert answer.reading.counts == {"a dog": Count(2)}
    assert names(answer)[0] == "5two.jpg"
    assert {region.box for region in answer.hits[0].regions} == {LEFT, RIGHT}
    assert names(searcher.search(["three dogs"]))[0] == "4three.jpg"
    assert names(searcher.search(["several dogs"]))[0] == "4three.jpg"
    # soft: nothing is thrown out
    assert len(answer.hits) == 6


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # The second of four is 0.05, the third 0.25 less similar than the first: 0.8 * 20 * -0.05 + 1.3 = 0.5, -2.7.
        (Count(2), (0.02 + 0.96 * 0.62246) * (0.98 - 0.96 * 0.06297)),
        (Count(2, at_least=True), 0.02 + 0.96 * 0.62246),
        (Count(3), (0.02 + 0.96 * 0.06297) * (0.98 - 0.96 * 0.00192)),  # the fourth 0.472: -6.252
        (Count(3, at_least=True), 0.02 + 0.96 * 0.06297),
    ],
)
def test_how_many_there_are_is_said_by_how_alike_they_are(count, expected):
    boxes = np.array([[x, 0, x + 10, 10] for x in (0, 20, 40, 60)], np.float64)
    regions = PhotoRegions(boxes, np.full(4, 0.5))
    asked = Query(["two dogs", "a dog"], ["two dogs", "a dog"], [1], [], counts={"a dog": count})
    scores = np.array([[0.0] * 4, [0.5, 0.45, 0.25, 0.5 - 0.472]])
    found = compose_one(asked, scores, regions, (100, 100))
    (said,) = found.said
    assert said.score == pytest.approx(expected, abs=1e-4)
    (thing,) = found.things
    assert thing.rows == [0, 1]  # what is hardly one of them is not shown


def test_a_place_prefers_and_throws_nothing_out(searcher):
    answer = searcher.search(["dog in the foreground"])
    assert names(answer)[0] == "6low.jpg" and len(answer.hits) == 6
    assert answer.hits[0].explanation.relations[0].kind == "foreground"
    assert answer.hits[0].explanation.won is None


def test_a_short_answer_is_the_start_of_a_long_one(searcher):
    for question in (["dog left of couch"], ["two dogs"], ["a dog", "tree"], ["dog in the foreground"]):
        long = searcher.search(question)
        for k in range(1, 7):
            assert searcher.search(question, k=k).hits == long.hits[:k]
        assert [hit.score for hit in long.hits] == sorted((hit.score for hit in long.hits), reverse=True)


@pytest.mark.parametrize("seed", range(30))
def test_no_score_is_above_its_bound(seed):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 9))
    corners = random.uniform(0, 100, (count, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)
    regions = PhotoRegions(boxes, random.uniform(0, 1, count))
    scores = random.uniform(-1, 1, (3, count)).astype(np.float32)
    scores[:, 1:][random.uniform(size=(3, count - 1)) < 0.3] = -np.inf
    query = Query(
        ["dog left of couch"], ["dog left of couch", "a dog", "a couch"], [1, 2], [],
        relations=[LEFT_OF], counts={"a dog": Count(int(random.integers(2, 5)))},
    )  # fmt: skip
    found = compose_one(query, scores, regions, (100, 100))
    assert found.score <= upper_bounds(query, scores.max(axis=1, keepdims=True).astype(np.float64))[0] + 1e-9
    assert np.isfinite(found.score)
    # the same beside a photograph that has more regions
    others = PhotoRegions(np.tile(boxes[:1], (count + 3, 1)), random.uniform(0, 1, count + 3))
    both = PhotoRegions(*(np.concatenate(of) for of in zip(vars(regions).values(), vars(others).values())))
    beside = np.concatenate([scores, random.uniform(-1, 1, (3, count + 3))], axis=1)
    arrays = side_by_side(beside, np.array([count, count + 3]), both)
    first, second = compose(query, *arrays, np.full((2, 2), 100), "embedding")
    assert first.score == pytest.approx(found.score, abs=1e-12) and np.isfinite(second.score)
    assert [thing.rows for thing in first.things] == [thing.rows for thing in found.things]
    for thing in found.things:
        assert len(set(thing.rows)) == len(thing.rows)
        assert np.isfinite(scores[thing.column, thing.rows]).all()


def test_the_question_as_one_thing_wins_where_one_region_is_it():
    query = Query(["hot dog"], ["hot dog on a plate", "a dog", "a plate"], [1, 2], [])
    regions = PhotoRegions(np.array([LEFT, RIGHT], np.float64), np.array([0.5, 0.5]))
    one = compose_one(query, np.array([[0.9, 0.1], [0.3, 0.1], [0.1, 0.3]]), regions, (200, 100))
    assert (one.won, one.as_one_row) == ("one thing", 0)
    several = compose_one(query, np.array([[0.4, 0.1], [0.6, 0.1], [0.1, 0.6]]), regions, (200, 100))
    assert several.won == "several things"
    assert several.score == pytest.approx((0.4 + 0.6) / 2)


def test_json_and_table_say_which_reading_won(searcher):
    answer = searcher.search(["dog left of couch"], k=1)
    document = json.loads(as_json(answer, explain=True))
    assert document["relations"] == [{"subject": "a dog", "relation": "left of", "object": "a couch"}]
    (hit,) = document["hits"]
    assert hit["reading"] == "several things"
    assert hit["explanation"]["relations"][0]["text"] == "a dog left of a couch"
    assert [thing["phrase"] for thing in hit["explanation"]["things"]] == ["a dog", "a couch"]
    assert hit["explanation"]["things"][0]["regions"][0]["box"] == [10, 40, 30, 30]
    assert "explanation" not in json.loads(as_json(answer))["hits"][0]
    table = as_table(answer, color=False, explain=True).decode()
    assert "[as several things: left of 9" in table
    assert "a dog left of a couch: 9" in table
    assert "a dog left of a couch" not in as_table(answer, color=False).decode()


def test_a_single_thing_is_explained_too(searcher):
    hit = searcher.search(["a dog"]).hits[0]
    assert (hit.explanation.won, hit.explanation.as_one, hit.explanation.relations) == (None, None, [])
    assert hit.explanation.things[0].score == hit.score


def test_weights_without_confidence_compose_too(searcher):
    assert WordPredictor.scoring == Scoring("embedding", fused_weight=0.5)  # holds no calibration
    assert searcher.search(["dog left of couch"]).hits
