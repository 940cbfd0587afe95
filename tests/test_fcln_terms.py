"""Names of things: which words mean which term, and what is broader."""

import json
import random
from collections import Counter

import pytest

from fcln.errors import DatasetError
from fcln.training.terms import Terms
from helpers.terms_world import ANIMAL, CAT, COUCH, DOG, FURNITURE, RICE, write_terms


@pytest.fixture
def terms(tmp_path) -> Terms:
    return write_terms(tmp_path / "terms.json", {7: [DOG, COUCH]})


def test_what_the_file_holds(terms):
    assert len(terms) == 6 and terms.of_image == {7: [DOG, COUCH]} and terms.classes == [DOG, CAT, COUCH]


@pytest.mark.parametrize(
    ("phrase", "term"),
    [
        ("a small brown dog", DOG),
        ("Two DOGS!", DOG),
        ("dog", DOG),
        ("the flat screen couch", COUCH),  # the longest end that is known
        ("a couch", None),  # no term of its own
        ("dog food", None),  # it ends with food
        ("a dog on rice", RICE),
        ("", None),
        ("...", None),
    ],
)
def test_a_phrase_names_what_it_ends_with(terms, phrase, term):
    assert terms.of_phrase(phrase) == term


@pytest.mark.parametrize(
    ("phrase", "term"),
    [
        ("dog", DOG),
        ("a dog", DOG),
        ("some dogs", DOG),
        ("The dog.", DOG),
        ("three cats", CAT),
        ("a flat screen couch", COUCH),
        ("brown dogs", None),
        ("a brown dog", None),
        ("a", None),
        ("", None),
    ],
)
def test_a_phrase_that_asks_for_a_term_and_nothing_else(terms, phrase, term):
    assert terms.exactly(phrase) == term


def test_terms_within_a_sentence(terms):
    assert terms.within("A dog, two cats and a flat screen couch.") == {DOG, CAT, COUCH}
    assert terms.within("a hotdog on a couch") == set()  # whole words alone
    assert terms.within("") == set()


def test_closure_adds_what_is_broader(terms):
    assert terms.closure([DOG, COUCH]) == {DOG, COUCH, ANIMAL, FURNITURE}
    assert terms.closure([]) == set()
    assert terms.broader[DOG] == [ANIMAL]  # as it was


def test_forms_are_drawn_with_the_article_most_often(terms):
    rng = random.Random(1)
    counts = Counter(terms.form(DOG, rng) for _ in range(4000))
    assert set(counts) == {"a dog", "dog", "dogs"}
    assert counts["a dog"] / 4000 == pytest.approx(0.5, abs=0.03)
    assert {terms.form(RICE, rng) for _ in range(50)} == {"rice", "some rice"}


@pytest.mark.parametrize(
    "content",
    [
        None,
        "[",
        "[]",
        "{}",
        json.dumps({"terms": [{"forms": []}], "lexicon": {}, "images": {}, "classes": []}),
        json.dumps({"terms": [], "lexicon": {}, "images": {"first": []}, "classes": []}),
    ],
)
def test_another_file_is_refused_by_name(tmp_path, content):
    if content is not None:
        (tmp_path / "terms.json").write_text(content)
    with pytest.raises(DatasetError, match=r"terms\.json is not a file of scripts\.data\.terms"):
        Terms(tmp_path / "terms.json")
