import pytest

from helpers.word_predictor import SixWords
from search.errors import QueryError
from search.wording.parse import MAX_PHRASES, Query, parse_query
from search.wording.relations import Relation

LEXICON = SixWords()
ON = Relation("on", "a dog", "a couch", "on")


def test_a_question_asks_for_its_noun_phrases_too_and_shows_those():
    query = parse_query(["dog on couch"], LEXICON)
    assert query == Query(["dog on couch"], ["dog on couch", "a dog", "a couch"], [1, 2], [], relations=[ON])


def test_a_question_that_is_its_own_noun_phrase_is_read_once():
    assert parse_query(["a dog"], LEXICON) == Query(["a dog"], ["a dog"], [0], [])


def test_a_noun_phrase_of_the_same_words_is_no_other():
    class Names(SixWords):
        def noun_phrases(self, question):
            return ["s", "a dog s couch"]

    assert parse_query(["A dog's couch"], Names()).phrases == ["A dog 's couch"]
    assert parse_query(["dog's couch"], Names()).phrases == ["dog 's couch", "a dog s couch"]


def test_a_thing_named_twice_counts_once():
    query = parse_query(["dog on dog on couch"], LEXICON)
    assert query.phrases == ["dog on dog on couch", "a dog", "a couch"]
    assert query.grounded_phrases == [1, 2]


def test_several_phrases_are_read_as_given():
    assert parse_query(["red lamp", "dog on couch"], LEXICON) == Query(
        ["red lamp", "dog on couch"], ["red lamp", "dog on couch"], [0, 1], []
    )


def test_white_space_and_unicode_forms_do_not_matter():
    assert parse_query(["  red\n\tlamp ", "ｄｏｇ"], LEXICON).given == ["red lamp", "dog"]


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
    query = parse_query([asked, "dog"], LEXICON, as_typed=True)
    assert (query.given[0], query.phrases[0]) == (asked, read)


def test_a_hyphen_joins_what_is_a_word():
    class Joined(SixWords):
        def unknown_words(self, phrase):
            return [word for word in super().unknown_words(phrase) if word != "t-shirt"]

    assert parse_query(["a t-shirt", "a dog-lamp"], Joined()).phrases == ["a t-shirt", "a dog - lamp"]


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
    assert parse_query([asked], LEXICON).phrases == ["a dog"]


def test_what_only_looks_like_asking_is_kept():
    known = type("Known", (SixWords,), {"unknown_words": lambda self, phrase: []})()
    for asked in ("photos of", "a picture on a wall", "finding a dog"):
        assert parse_query([asked], known).phrases[0] == asked
    assert parse_query(["photos of a dog"], known, as_typed=True).phrases[0] == "photos of a dog"
    assert parse_query(["photos of a dog", "a lamp"], known).phrases[0] == "photos of a dog"  # several are as given


def test_unknown_words_among_known_ones_are_named_once():
    query = parse_query(["zorblax dog", "a zorblax lamp"], LEXICON)
    assert query.unknown_words == ["zorblax"]


def test_a_misspelt_word_is_read_as_the_one_that_was_meant():
    query = parse_query(["dogg on couch"], LEXICON)
    phrases = ["dog on couch", "a dog", "a couch"]
    assert query == Query(["dogg on couch"], phrases, [1, 2], [], {"dogg": "dog"}, relations=[ON])
    several = parse_query(["red lampp", "a zorblax dog on couch tree"], LEXICON)
    assert several.phrases == ["red lamp", "a zorblax dog on couch tree"]
    assert (several.unknown_words, several.substitutions) == (["zorblax"], {"lampp": "lamp"})


def test_words_can_be_read_as_they_are_typed():
    query = parse_query(["dogg on couch"], LEXICON, as_typed=True)
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
        (["on a the"], r'^"on a the" says nothing of what a photograph shows: name a thing, such as "dog on couch"'),
        (["on", "a"], '"on a" says nothing'),
        (["dogg on couchh"], r'these words are not: dogg, couchh\. Is "dog on couch" meant\?$'),
        (["zorblax qwertz dog"], r"The model reads English, and these words are not: zorblax, qwertz\.$"),
        (["dog auf der couch"], r"these words are not: auf, der\.$"),
        (["dog " * 500], r"at most 30 words, and the one that begins \"dog dog dog dog\" has 500"),
        (["dog"] * (MAX_PHRASES + 1), f"{MAX_PHRASES + 1} phrases, and a query may have at most {MAX_PHRASES}"),
    ],
)
def test_what_cannot_be_asked(phrases, message):
    with pytest.raises(QueryError, match=message):
        parse_query(phrases, LEXICON)


def test_the_longest_phrase_is_allowed():
    assert parse_query(["dog " * 30], LEXICON).given == [" ".join(["dog"] * 30)]
