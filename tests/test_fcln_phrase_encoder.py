"""The phrase encoder: pieces, unit length, no influence of padding or company."""

import pytest
import torch
from torch.testing import assert_close

from fcln.modeling.phrase_encoder import PhraseEncoder
from fcln.word_pieces import WordPieces

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


def ids_of(pieces: WordPieces, *phrases: str) -> torch.Tensor:
    return torch.from_numpy(pieces.encode(phrases))


@torch.no_grad()
def test_unit_length(encoder, pieces):
    found = encoder(ids_of(pieces, "a dog", "", "a red couch", "dog " * 100))
    assert found.shape == (4, 7) and found.dtype == torch.float32
    assert_close(found.norm(dim=1), torch.ones(4))


@torch.no_grad()
def test_padding_and_company_do_not_matter(encoder, pieces):
    phrases = ["a dog", "a red couch", "sofas", "dog"]
    together = encoder(ids_of(pieces, *phrases))
    for phrase, row in zip(phrases, together, strict=True):
        assert_close(encoder(ids_of(pieces, phrase))[0], row)
    padded = torch.nn.functional.pad(ids_of(pieces, "a dog"), (0, 9))
    assert_close(encoder(padded)[0], together[0])


@torch.no_grad()
def test_order_and_words_matter(encoder, pieces):
    a, b, c = encoder(ids_of(pieces, "red couch dog", "dog couch red", "red couch a"))
    assert not torch.allclose(a, b) and not torch.allclose(a, c)


@torch.no_grad()
def test_a_word_seen_in_no_training_phrase_is_not_nothing(encoder, pieces):
    """Its pieces have vectors from the teacher; two such words differ."""
    sofa, dogs, unknown = encoder(ids_of(pieces, "sofa", "dogs", "狗"))
    assert not torch.allclose(sofa, unknown) and not torch.allclose(sofa, dogs)


def test_piece_vectors_are_kept_but_not_trained(encoder):
    assert "pieces" in encoder.state_dict()
    assert "pieces" not in dict(encoder.named_parameters())


def test_works_under_bfloat16(encoder, pieces):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = encoder(ids_of(pieces, "a dog", "a red couch"))
    assert found.dtype == torch.float32
    assert_close(found, encoder(ids_of(pieces, "a dog", "a red couch")).detach(), atol=0.05, rtol=0)
