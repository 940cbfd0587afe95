"""The phrase encoder: pieces, unit length, no influence of padding or company."""

import pytest
import torch
from torch.testing import assert_close

from fcln.modeling.phrase_encoder import MAX_PIECES, PhraseEncoder, WordPieces

PIECES = ["[PAD]", "[UNK]", "a", "red", "couch", "so", "##fa", "##s", "dog", "s", "o", "f"]


@pytest.fixture(scope="module")
def pieces() -> WordPieces:
    return WordPieces(PIECES)


@pytest.fixture(scope="module")
def encoder() -> PhraseEncoder:
    torch.manual_seed(2)
    encoder = PhraseEncoder(len(PIECES), 6, 5, 7)
    torch.nn.init.normal_(encoder.pieces)
    return encoder.eval()


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


@torch.no_grad()
def test_unit_length(encoder, pieces):
    found = encoder(pieces.encode(["a dog", "", "a red couch", "dog " * 100]))
    assert found.shape == (4, 7) and found.dtype == torch.float32
    assert_close(found.norm(dim=1), torch.ones(4))


@torch.no_grad()
def test_padding_and_company_do_not_matter(encoder, pieces):
    phrases = ["a dog", "a red couch", "sofas", "dog"]
    together = encoder(pieces.encode(phrases))
    for phrase, row in zip(phrases, together, strict=True):
        assert_close(encoder(pieces.encode([phrase]))[0], row)
    padded = torch.nn.functional.pad(pieces.encode(["a dog"]), (0, 9))
    assert_close(encoder(padded)[0], together[0])


@torch.no_grad()
def test_order_and_words_matter(encoder, pieces):
    a, b, c = encoder(pieces.encode(["red couch dog", "dog couch red", "red couch a"]))
    assert not torch.allclose(a, b) and not torch.allclose(a, c)


@torch.no_grad()
def test_a_word_seen_in_no_training_phrase_is_not_nothing(encoder, pieces):
    """Its pieces have vectors from the teacher; two such words differ."""
    sofa, dogs, unknown = encoder(pieces.encode(["sofa", "dogs", "狗"]))
    assert not torch.allclose(sofa, unknown) and not torch.allclose(sofa, dogs)


def test_piece_vectors_are_kept_but_not_trained(encoder):
    assert "pieces" in encoder.state_dict()
    assert "pieces" not in dict(encoder.named_parameters())


def test_works_under_bfloat16(encoder, pieces):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = encoder(pieces.encode(["a dog", "a red couch"]))
    assert found.dtype == torch.float32
    assert_close(found, encoder(pieces.encode(["a dog", "a red couch"])).detach(), atol=0.05, rtol=0)
