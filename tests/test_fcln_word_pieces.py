"""Text as ids of word pieces."""

import pytest

from fcln.word_pieces import MAX_PIECES, WordPieces

PIECES = ["[PAD]", "[UNK]", "a", "red", "couch", "so", "##fa", "##s", "dog", "s", "o", "f"]


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces(PIECES)


def test_words_become_pieces_longest_first(pieces):
    assert pieces.encode(["a red couch"]).tolist() == [[2, 3, 4]]
    assert pieces.encode(["A Red, COUCH"]).tolist()[0][:2] == [2, 3]  # case does not matter
    assert pieces.encode(["sofas"]).tolist() == [[5, 6, 7]]  # a word that is no piece is several
    assert pieces.encode(["réd"]).tolist() == [[3]]  # nor do accents


def test_what_no_piece_spells_is_unknown(pieces):
    assert pieces.encode(["狗", "", "   "]).tolist() == [[1], [1], [1]]
    assert pieces.encode(["dog 狗"]).tolist() == [[8, 1]]


def test_nobody_can_type_padding(pieces):
    assert (pieces.encode(["[PAD]"]) > 0).all()


def test_phrases_are_padded_and_cut(pieces):
    assert pieces.encode(["dog", "a red dog"]).tolist() == [[8, 0, 0], [2, 3, 8]]
    assert pieces.encode(["dog " * 500]).tolist() == [[8] * MAX_PIECES]


def test_contains_whole_words_only(pieces):
    assert "dog" in pieces and "sofa" not in pieces and "狗" not in pieces


def test_the_first_two_pieces_are_fixed():
    with pytest.raises(ValueError, match="PAD"):
        WordPieces(["a", "dog"])


def test_no_phrases(pieces):
    assert pieces.encode([]).shape == (0, 0)


def test_many_phrases_are_encoded_as_few_are(pieces):
    phrases = ["a red couch", "sofas", "", "dog 狗", "a"] * 8
    for count in (1, 16, 17, 40):  # one by one, and all together
        together = pieces.encode(phrases[:count])
        alone = [pieces.encode([phrase])[0] for phrase in phrases[:count]]
        assert [[piece for piece in row if piece] for row in together.tolist()] == [row.tolist() for row in alone]
