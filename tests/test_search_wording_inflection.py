"""Forms of words."""

import pytest

from search.wording.inflection import same_word, singular

WORDS = {"cat", "puppy", "movie", "dish", "box", "bus", "glass", "dress", "house", "horse", "tomato", "shoe", "bench"}


@pytest.mark.parametrize(
    ("plural", "expected"),
    [
        ("cats", "cat"),
        ("puppies", "puppy"),
        ("movies", "movie"),
        ("dishes", "dish"),
        ("benches", "bench"),
        ("boxes", "box"),
        ("dresses", "dress"),
        ("houses", "house"),
        ("tomatoes", "tomato"),
        ("shoes", "shoe"),
        ("children", "child"),
        ("women", "woman"),
        ("cat", None),
        ("glass", None),
        ("bus", None),
        ("glasses", None),  # another thing than a glass
        ("people", None),
        ("zorblaxes", None),  # of no word
        ("s", None),
        ("", None),
    ],
)
def test_singular(plural, expected):
    assert singular(plural, WORDS.__contains__) == expected


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("wear", "wearing"),
        ("wearing", "wears"),
        ("drive", "driving"),
        ("kick", "kicked"),
        ("run", "running"),
        ("stop", "stopped"),
        ("carry", "carried"),
        ("sat", "sitting"),
        ("cat", "cats"),
        ("child", "children"),
        ("puppies", "puppy"),
        ("dog", "dog"),
    ],
)
def test_forms_of_one_word(a, b):
    assert same_word(a, b) and same_word(b, a)


@pytest.mark.parametrize(
    ("a", "b"),
    [("automobile", "car"), ("sofa", "couch"), ("lasses", "girls"), ("ring", "r"), ("wing", "wear"), ("", "s")],
)
def test_different_words(a, b):
    assert not same_word(a, b)
