"""The small grammar of how things lie."""

import pytest

from helpers.word_predictor import SixWords
from search.errors import QueryError
from search.wording.parse import parse_query
from search.wording.relations import read_condition, read_relations


def nouns(text):
    """Every word that is no verb or article."""
    return [
        f"a {word}"
        for word in text.split()
        if word.isalpha() and word.lower() not in {"a", "an", "the", "is", "and", "with"}
    ]


def said(question):
    reading = read_relations(question, nouns)
    return [(relation.kind, relation.subject, relation.object) for relation in reading.relations]


@pytest.mark.parametrize(
    ("question", "relation"),
    [
        ("dog left of child", ("left of", "a dog", "a child")),
        ("a dog to the left of a child", ("left of", "a dog", "a child")),
        ("Dog Is On The Left Of The Child", ("left of", "a Dog", "a Child")),
        ("dog right of child", ("right of", "a dog", "a child")),
        ("bird above a house", ("above", "a bird", "a house")),
        ("bird over a house", ("above", "a bird", "a house")),
        ("dog below a window", ("below", "a dog", "a window")),
        ("dog on couch", ("on", "a dog", "a couch")),
        ("cup on top of a box", ("on", "a cup", "a box")),
        ("cat under table", ("under", "a cat", "a table")),
        ("cat underneath the table", ("under", "a cat", "a table")),
        ("fish in a bowl", ("in", "a fish", "a bowl")),
        ("man in the middle of the street", ("in", "a man", "a street")),
        ("fish inside of a bowl", ("inside", "a fish", "a bowl")),
        ("dog right next to a child", ("next to", "a dog", "a child")),
        ("dog beside child", ("next to", "a dog", "a child")),
        ("dog bigger than cat", ("bigger than", "a dog", "a cat")),
        ("dog smaller than cat", ("smaller than", "a dog", "a cat")),
        ("dog in the top left", ("top left", "a dog", None)),
        ("dog in the upper left corner of the picture", ("top left", "a dog", None)),
        ("dog at the bottom", ("bottom", "a dog", None)),
        ("dog on the right", ("right", "a dog", None)),
        ("dog on the right side of the photo", ("right", "a dog", None)),
        ("dog in the foreground", ("foreground", "a dog", None)),
        ("dog in the background", ("background", "a dog", None)),
        ("dog in the corner", ("corner", "a dog", None)),
        ("in the foreground a dog", ("foreground", "a dog", None)),
    ],
)
def test_one_relation(question, relation):
    assert said(question) == [relation]


@pytest.mark.parametrize(
    ("question", "relations"),
    [
        ("dog on the left , cat on the right", [("left", "a dog", None), ("right", "a cat", None)]),
        ("on the left a dog and on the right a cat", [("left", "a dog", None), ("right", "a cat", None)]),
        ("cup on a table next to a lamp", [("on", "a cup", "a table"), ("next to", "a table", "a lamp")]),
        ("dog and child on a couch", [("on", "a child", "a couch")]),
        ("dog left of dog", []),
        ("dog", []),
        ("on the left", []),
        ("left of", []),
        ("a house in", []),
        ("on a couch", []),
        ("glass in the left hand", [("in", "a glass", "a left")]),  # no place: what is left is a hand
    ],
)
def test_several_and_none(question, relations):
    assert said(question) == relations


def test_places_are_no_part_of_what_is_looked_for():
    reading = read_relations("a dog on the left , a cat in the foreground", nouns)
    assert reading.rest == "a dog , a cat"
    assert reading.things == ["a dog", "a cat"]
    assert read_relations("dog left of cat", nouns).rest == "dog left of cat"


@pytest.mark.parametrize("word", ["behind", "in front of"])
def test_what_a_box_cannot_tell_is_named(word):
    reading = read_relations(f"dog {word} a tree", nouns)
    assert (reading.untold, reading.relations, reading.things) == ([word], [], ["a dog", "a tree"])
    with pytest.raises(QueryError, match=f"^What is {word} what, a box cannot tell"):
        read_condition(f"dog {word} tree", nouns)


@pytest.mark.parametrize(
    "condition", ["dog", "dog sees cat", "left of", "dog on the cat on the mat", "dog left of dog"]
)
def test_what_is_no_condition(condition):
    with pytest.raises(QueryError, match="does not say how one thing lies to another"):
        read_condition(condition, nouns)


def test_conditions_add_what_is_not_asked_for():
    query = parse_query(["a dog"], SixWords(), where=["dog on couch"])
    assert query.phrases == ["a dog", "a couch"]
    assert query.grounded_phrases == [0, 1] and not query.as_one
    assert [(each.kind, each.subject, each.object) for each in query.relations] == [("on", "a dog", "a couch")]


def test_a_condition_alone_is_a_query():
    query = parse_query([], SixWords(), where=["lamp on couch"])
    assert (query.given, query.phrases, query.as_one) == ([], ["a lamp", "a couch"], False)
    with pytest.raises(QueryError, match="nothing to search for"):
        parse_query([], SixWords(), where=[])


def test_words_of_relations_are_not_corrected_nor_unknown():
    query = parse_query(["dogg underneath couch"], SixWords())
    assert query.substitutions == {"dogg": "dog"}
    assert query.phrases == ["dog underneath couch", "a dog", "a couch"]
    assert query.relations[0].kind == "under"


def test_as_typed_reads_no_relations():
    assert parse_query(["dog on couch"], SixWords(), as_typed=True).relations == []
    assert parse_query(["a dog"], SixWords(), as_typed=True, where=["dog on couch"]).relations[0].kind == "on"


def test_the_documentation_names_every_kind_and_what_it_says_is_read(request):
    """docs/questions.md tells the grammar; each of its words is one."""
    from search.relations import RELATIONS

    text = (request.config.rootpath / "docs/questions.md").read_text(encoding="utf-8")
    table = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| ") and "also said" not in line]
    told = {kind.strip() for kinds, _ in table for kind in kinds.split(",")}
    assert told == set(RELATIONS)
    for kinds, others in table:
        for words in [*kinds.split(","), *others.replace(";", ",").split(",")]:
            if words.strip():
                assert len(said(f"dog {words.strip()} child")) == 1, words
    for place in ("on the left", "at the bottom", "in the top left corner", "in the corner", "in the middle"):
        assert place.removesuffix(" corner") in text.replace("top left (corner)", "top left")
        assert said(f"dog {place}") != []
