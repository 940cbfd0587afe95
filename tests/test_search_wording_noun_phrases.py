"""Noun phrases of a question, from counted captions."""

import pytest

from fcln.word_uses import WordUse, count_word_uses
from search.wording.noun_phrases import NounPhrases

CAPTIONS = [
    "A dog on a couch.",
    "A brown dog runs on the grass",
    "the man sits on a couch",
    "two men with a dog",
    "a man runs with two dogs",
    "people on the grass",
]
PHRASES = {
    "a dog": 2, "a couch": 2, "a brown dog": 1, "the grass": 2, "the man": 1, "two men": 1, "a man": 1, "two dogs": 1,
    "people": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def noun_phrases() -> NounPhrases:
    return NounPhrases(count_word_uses(CAPTIONS, PHRASES, min_count=1))


def test_learning_by_hand(noun_phrases):
    assert noun_phrases.words["dog"] == WordUse(inside=1.0, opens=0.0, opener="a")  # a dog 2, a brown dog 1; of 3
    assert noun_phrases.words["on"] == WordUse(inside=0.0, opens=0.0, opener="")
    assert noun_phrases.words["a"] == WordUse(inside=1.0, opens=1.0, opener="")
    assert noun_phrases.words["grass"] == WordUse(inside=1.0, opens=0.0, opener="the")
    assert noun_phrases.words["people"] == WordUse(inside=1.0, opens=1.0, opener="")


def test_rare_words_are_not_learnt():
    assert set(count_word_uses(CAPTIONS, PHRASES, min_count=3)) == {"a", "dog", "on", "the"}


@pytest.mark.parametrize(
    ("question", "phrases"),
    [
        ("dog on couch", ["a dog", "a couch"]),  # the first thing everyone types
        ("a dog on the couch", ["a dog", "the couch"]),
        ("the man runs with two dogs", ["the man", "two dogs"]),
        ("a man a dog", ["a man", "a dog"]),  # an opener begins a phrase without a word between
        ("Brown dog!", ["a brown dog"]),
        ("zebra on grass", ["zebra", "the grass"]),  # no caption knows it: a thing, as it stands
        ("runs on", []),
        ("a", []),
        ("", []),
    ],
)
def test_noun_phrases_of_questions(noun_phrases, question, phrases):
    assert noun_phrases(question) == phrases


def test_only_articles_are_added():
    uses = {"hats": WordUse(1.0, 0.3, "hard"), "dogs": WordUse(1.0, 0.2, "two"), "dog": WordUse(1.0, 0.1, "a")}
    phrases = NounPhrases({**uses, "without": WordUse(0.0, 0.0, "")})
    assert phrases("dogs without hats") == ["dogs", "hats"]
    assert phrases("dog without hats") == ["a dog", "hats"]


def test_words_that_captions_never_used_stand_together():
    assert NounPhrases({})("red fire engine") == ["red fire engine"]
