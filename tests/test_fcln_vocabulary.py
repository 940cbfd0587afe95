"""Words as the released preprocess.py makes them, and their ids."""

import pytest

from fcln.vocabulary import END, PAD, START, UNK, Vocabulary, token_count, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Man's T-shirt!", ["a", "mans", "tshirt"]),  # punctuation is deleted, not replaced by a space
        ("  two   dogs\n", ["two", "dogs"]),
        ("½ a pizza", ["half", "a", "pizza"]),
        ("90° turn", ["90", "degree", "turn"]),
        ("café crème façade", ["cafe", "creme", "facade"]),
        ("dog—cat", ["dogcat"]),  # the dash becomes "-", which is punctuation
        ("Coke™ for 50¢…", ["coke", "for", "50cent"]),
        ("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", []),
        ("", []),
    ],
)
def test_words_of(text, words):
    assert words_of(text) == words


def test_rare_words_are_unknown_and_frequent_ones_come_first():
    vocabulary = Vocabulary.from_phrases(["a dog", "A cat", "a dog.", "cat", "bird"], min_count=2)
    assert vocabulary.words == ("a", "cat", "dog")  # 3, 2, 2: equally frequent ones by the alphabet
    assert vocabulary.encode("a bird, a dog") == [4, UNK, 4, 6]
    assert "dog" in vocabulary and "bird" not in vocabulary


def test_special_words_come_before_the_others():
    vocabulary = Vocabulary(["dog"])
    assert (PAD, START, END, UNK) == (0, 1, 2, 3)
    assert len(vocabulary) == 5
    assert vocabulary.encode("dog") == [4]


def test_nobody_can_type_a_special_word():
    assert Vocabulary(["end"]).encode("<END> <UNK>") == [4, UNK]


def test_decode_drops_padding():
    assert Vocabulary(["a", "dog"]).decode([4, UNK, 5, PAD, PAD]) == "a <UNK> dog"
    assert Vocabulary(["a"]).decode([PAD, PAD]) == ""


def test_a_phrase_has_a_factor_for_each_word_and_one_for_the_end():
    assert token_count("A red dog!") == 4
    assert token_count("") == 1
