"""What is known of the words of a question, by a network that was trained on five captions."""

import pytest

from search.wording.lexicon import Lexicon


@pytest.fixture(scope="module")
def lexicon(tiny_predictor):
    return Lexicon.of(tiny_predictor)


def test_words(lexicon):
    # Neither the network nor English has the first; English has "zebra" and "couches".
    assert lexicon.unknown_words("a zorblax and a zebra on two couches") == ["zorblax"]
    assert lexicon.noun_phrases("dog on couch") == ["a dog", "the couch"]


def test_slips_and_words_that_no_photograph_taught_are_read_as_others(lexicon):
    assert lexicon.substitutions("A cuoch, and a zorblax on the poach") == {"cuoch": "couch"}
    assert lexicon.substitutions("A Sofa! A dog, a sofa") == {"sofa": "couch"}
    assert lexicon.substitutions("a dog on the couch") == {}
