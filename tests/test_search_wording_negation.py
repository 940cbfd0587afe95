"""What a question does not want."""

import pytest

from search.wording.negation import split_minus, split_negation


def noun_phrases(text):
    return [f"a {text}"] if text else []


@pytest.mark.parametrize(
    ("question", "wanted", "unwanted"),
    [
        ("a dog without a leash", "a dog", ["a leash"]),
        ("a dog Without leash", "a dog", ["a leash"]),
        ("beach , no people", "beach", ["a people"]),
        ("no people on the beach", "the beach", ["a people"]),
        ("dog and couch but no person", "dog and couch", ["a person"]),
        ("street without people or cars", "street", ["a people", "a cars"]),
        ("street without people and with cars", "street and with cars", ["a people"]),
        ("dog with no collar on grass", "dog on grass", ["a collar"]),
        ("man not on a horse", "man", ["a horse"]),
        ("no dog no cat , a garden", "a garden", ["a dog", "a cat"]),
        ("cup without cup", "cup", ["a cup"]),
        ("no parking", "no parking", []),  # does nothing but negate: the name of a thing
        ("not the", "not the", []),
        ("a dog", "a dog", []),
        ("without", "without", []),
        ("dog without", "dog without", []),
        ("", "", []),
    ],
)
def test_what_follows_a_negation_is_unwanted(question, wanted, unwanted):
    assert split_negation(question, noun_phrases) == (wanted, unwanted)


@pytest.mark.parametrize(
    ("question", "wanted", "unwanted"),
    [
        ("dog -person", "dog", ["person"]),
        ("-person dog -cat", "dog", ["person", "cat"]),
        ("dog on t-shirt", "dog on t-shirt", []),
        ("dog - couch", "dog - couch", []),
        ("-person", "-person", []),
    ],
)
def test_a_minus_before_a_word(question, wanted, unwanted):
    assert split_minus(question) == (wanted, unwanted)
