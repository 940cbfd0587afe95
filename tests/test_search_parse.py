import pytest

from helpers.word_predictor import WordPredictor
from search.errors import QueryError
from search.wording.parse import MAX_PHRASES, Query, read_query

PREDICTOR = WordPredictor()


def test_a_question_asks_for_its_noun_phrases_too_and_shows_those():
    query = read_query(["dog on couch"], PREDICTOR)
    assert query == Query(["dog on couch"], ["dog on couch", "a dog", "a couch"], [1, 2], [])


def test_a_question_that_is_its_own_noun_phrase_is_read_once():
    assert read_query(["a dog"], PREDICTOR) == Query(["a dog"], ["a dog"], [0], [])


def test_a_noun_phrase_of_the_same_words_is_no_other():
    class Names(WordPredictor):
        def noun_phrases(self, question):
            return ["s", "a dog s couch"]

    assert read_query(["A dog's couch"], Names()).phrases == ["A dog 's couch"]
    assert read_query(["dog's couch"], Names()).phrases == ["dog 's couch", "a dog s couch"]


def test_a_thing_named_twice_counts_once():
    query = read_query(["dog on dog on couch"], PREDICTOR)
    assert query.phrases == ["dog on dog on couch", "a dog", "a couch"]
    assert query.shown == [1, 2]


def test_several_phrases_are_read_as_given():
    assert read_query(["red lamp", "dog on couch"], PREDICTOR) == Query(
        ["red lamp", "dog on couch"], ["red lamp", "dog on couch"], [0, 1], []
    )


def test_white_space_and_unicode_forms_do_not_matter():
    assert read_query(["  red\n\tlamp ", "ｄｏｇ"], PREDICTOR).given == ["red lamp", "dog"]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("“dog on couch”", "dog on couch"),
        ("'dog' on \"couch\"!", "dog on couch"),
        ("a dog.", "a dog"),
        ("dog – couch", "dog - couch"),
        ("dog—couch", "dog - couch"),
        ("dog/couch", "dog couch"),
        ("dog-on-couch", "dog - on - couch"),
        ("dog,couch", "dog , couch"),
        ("dog, couch,", "dog , couch"),
        ("(dog) & couch 🐶?", "dog couch"),
        ("a dog’s couch", "a dog 's couch"),
        ("a dog 's couch", "a dog 's couch"),  # as the training phrases have it
        ("the dogs' couch", "the dogs couch"),
    ],
)
def test_signs_are_not_part_of_words(asked, read):
    query = read_query([asked, "dog"], PREDICTOR, as_typed=True)
    assert (query.given[0], query.phrases[0]) == (asked, read)


def test_a_hyphen_joins_what_is_a_word():
    class Joined(WordPredictor):
        def unknown_words(self, phrase):
            return [word for word in super().unknown_words(phrase) if word != "t-shirt"]

    assert read_query(["a t-shirt", "a dog-lamp"], Joined()).phrases == ["a t-shirt", "a dog - lamp"]


@pytest.mark.parametrize(
    "asked",
    [
        "photos of a dog",
        "a photo of a dog",
        "Show me pictures with a dog",
        "find a dog",
        "Search for any image of a dog",
    ],
)
def test_that_something_is_asked_for_is_no_part_of_it(asked):
    assert read_query([asked], PREDICTOR).phrases == ["a dog"]


def test_what_only_looks_like_asking_is_kept():
    known = type("Known", (WordPredictor,), {"unknown_words": lambda self, phrase: []})()
    for asked in ("photos of", "a picture on a wall", "finding a dog"):
        assert read_query([asked], known).phrases[0] == asked
    assert read_query(["photos of a dog"], known, as_typed=True).phrases[0] == "photos of a dog"
    assert read_query(["photos of a dog", "a lamp"], known).phrases[0] == "photos of a dog"  # several are as given


def test_unknown_words_among_known_ones_are_named_once():
    query = read_query(["zorblax dog", "a zorblax lamp"], PREDICTOR)
    assert query.unknown_words == ["zorblax"]


def test_a_misspelt_word_is_read_as_the_one_that_was_meant():
    query = read_query(["dogg on couch"], PREDICTOR)
    assert query == Query(["dogg on couch"], ["dog on couch", "a dog", "a couch"], [1, 2], [], {"dogg": "dog"})
    several = read_query(["red lampp", "a zorblax dogg"], PREDICTOR)
    assert (several.given, several.phrases) == (["red lampp", "a zorblax dogg"], ["red lamp", "a zorblax dog"])
    assert (several.unknown_words, several.readings) == (["zorblax"], {"lampp": "lamp", "dogg": "dog"})


def test_words_can_be_read_as_they_are_typed():
    query = read_query(["dogg on couch"], PREDICTOR, as_typed=True)
    assert query == Query(["dogg on couch"], ["dogg on couch", "a dogg", "a couch"], [1, 2], ["dogg"], {})


@pytest.mark.parametrize(
    ("phrases", "message"),
    [
        ([], "nothing to search for"),
        ([""], "no word"),
        (["dog", " \t"], "no word"),
        (["?! - ..."], "no word"),
        (["zorblax qwertz zorblax"], r"none of these words: zorblax, qwertz\. It reads plain English\.$"),
        (["dog", "zorblax"], r"none of these words: zorblax\. "),
        (["dog " * 500], r"at most 30 words, and the one that begins \"dog dog dog dog\" has 500"),
        (["dog"] * (MAX_PHRASES + 1), f"{MAX_PHRASES + 1} phrases, and a query may have at most {MAX_PHRASES}"),
    ],
)
def test_what_cannot_be_asked(phrases, message):
    with pytest.raises(QueryError, match=message):
        read_query(phrases, PREDICTOR)


def test_the_longest_phrase_is_allowed():
    assert read_query(["dog " * 30], PREDICTOR).given == [" ".join(["dog"] * 30)]
