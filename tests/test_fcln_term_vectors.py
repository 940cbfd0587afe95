"""Things with a vector of their own: which phrases get one, and in and out of a weights file."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcln.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcln.errors import CheckpointError
from fcln.naming import SHARE_OF_TERMS
from fcln.phrase_model import PhraseModel
from fcln.predictor import Predictor
from fcln.scoring import Scoring
from fcln.term_vectors import TermVectors
from fcln.weights_file import read_tensors, read_texts
from helpers.small_world import tiny_network, vocabulary, word_pieces

X, Y = np.array([1, 0, 0], np.float32), np.array([0, 1, 0], np.float32)
TERMS = TermVectors((("a dog", "dog", "dogs"), ("rice", "some rice")), np.stack([X, Y]))
ELSE = np.full((1, 3), 0.5, np.float32)


@pytest.mark.parametrize("phrase", ["a dog", "dog", "dogs", "the dog", "The  Dogs!", "some dogs", "an dog"])
def test_a_thing_has_its_own_vector_whatever_stands_before_it(phrase):
    assert TERMS.put_into(ELSE, [phrase]).tolist() == [X.tolist()]


@pytest.mark.parametrize("phrase", ["a brown dog", "two dogs", "dog food", "the", "a", "", "my dog", "dog on couch"])
def test_what_says_more_or_less_is_left_to_the_encoder(phrase):
    assert TERMS.put_into(ELSE, [phrase]) is ELSE


def test_each_of_several_phrases_and_nothing_given_changes():
    encoded = np.repeat(ELSE, 3, axis=0)
    found = TERMS.put_into(encoded, ["rice", "a brown dog", "dogs"])
    assert found.tolist() == [Y.tolist(), ELSE[0].tolist(), X.tolist()] and found.dtype == np.float32
    assert (encoded == 0.5).all()
    assert TermVectors().put_into(ELSE, ["a dog"]) is ELSE
    assert TERMS.put_into(ELSE[:0], []).shape == (0, 3)


def test_a_share_of_it_beside_the_encoders():
    encoded = np.array([[0, 0, 1]], np.float32)
    np.testing.assert_allclose(
        TERMS.put_into(encoded, ["a dog"], share=0.75), [[3 / 10**0.5, 0, 1 / 10**0.5]], atol=1e-6
    )
    assert TERMS.put_into(encoded, ["a brown dog"], share=0.75) is encoded


def test_of_two_terms_with_one_form_the_first_is_meant():
    terms = TermVectors((("a crane",), ("a machine", "a crane")), np.stack([X, Y]))
    assert terms.put_into(ELSE, ["crane"]).tolist() == [X.tolist()]


@pytest.mark.parametrize(
    "form, phrase",
    [
        ("a ping-pong ball", "ping pong ball"),
        ("a ping-pong ball", "the pingpong ball"),
        ("a ping-pong ball", "ping-pong ball"),
        ("a children's chair", "children 's chair"),  # as search writes it
        ("a children's chair", "childrens chair"),
        ("an F-16", "f16"),
        ("an F-16", "F 16"),
        ("a ping pong ball", "a ping pong ball"),
    ],
)
def test_hyphens_and_apostrophes_do_not_matter(form, phrase):
    assert TermVectors(((form,),), X[None]).put_into(ELSE, [phrase]).tolist() == [X.tolist()]


def test_vectors_of_a_file_have_length_1_and_belong_to_terms():
    halves = np.array([[0.6, 0.8, 0.001]], np.float16)
    terms = TermVectors.of((("a dog",),), halves, 3)
    assert terms.vectors.dtype == np.float32
    assert np.linalg.norm(terms.vectors, axis=1) == pytest.approx(1, abs=1e-6)
    assert TermVectors.of((), None, 3) == TermVectors()
    for forms, vectors in (((("a dog",), ("a cat",)), halves), ((), halves), ((("a dog",),), None)):
        with pytest.raises(ValueError, match="terms, but"):
            TermVectors.of(forms, vectors, 3)
    for other in (halves[:, :1], np.zeros((1, 4), np.float16), halves[0], np.float16(1)):
        with pytest.raises(ValueError, match="terms, but"):
            TermVectors.of((("a dog",),), np.asarray(other), 3)
    for nowhere in (np.zeros((1, 3), np.float16), np.full((1, 3), np.nan, np.float16)):
        with pytest.raises(ValueError, match="point nowhere"):
            TermVectors.of((("a dog",),), nowhere, 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A weights file without vectors of terms and one with them, of the same network."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    plain = Checkpoint(tiny_network(), vocabulary(), word_pieces(), {}, Scoring(), ("a dog", "a couch"))
    size = plain.model.config.embedding_size
    vectors = np.eye(size, dtype=np.float32)[:2]
    known = replace(plain, terms=TermVectors((("a dog", "dogs"), ("a couch",)), vectors))
    save_checkpoint(folder / "plain.safetensors", plain)
    save_checkpoint(folder / "known.safetensors", known)
    return folder


def test_both_sides_of_a_network_read_them(files):
    plain, known = (Predictor.load(files / f"{name}.safetensors", device="cpu") for name in ("plain", "known"))
    asked = ["a dog", "a couch", "a red dog", "dogs"]
    before, after = plain.encode_phrases(asked), known.encode_phrases(asked)
    eye = np.eye(plain.embedding_size)
    np.testing.assert_allclose(after, [eye[0], eye[1], before[2], eye[0]], atol=1e-6)
    phrases = PhraseModel.load(files / "known.safetensors")
    np.testing.assert_allclose(phrases.encode_phrases(asked), after, atol=1e-5)
    assert known.encode_phrases([]).shape == phrases.encode_phrases([]).shape == (0, plain.embedding_size)


def test_what_regions_are_called_is_chosen_by_a_share_of_them(files):
    """A region in the direction that the names' vectors have in `Naming` gets that name, whatever the phrase is."""
    plain, known = (Predictor.load(files / f"{name}.safetensors", device="cpu") for name in ("plain", "known"))
    before = plain.encode_phrases(["a dog"])[0]
    mixed = SHARE_OF_TERMS * np.eye(plain.embedding_size)[0] + (1 - SHARE_OF_TERMS) * before
    mixed = (mixed / np.linalg.norm(mixed)).astype(np.float32)[None]
    _, cosines, _ = known._naming._nearest(mixed)
    assert cosines[0] == pytest.approx(1, abs=1e-5)
    assert plain._naming._nearest(mixed)[1][0] < 0.999


def test_a_file_without_them_is_as_it_was_and_one_with_them_comes_back(files):
    assert not load_checkpoint(files / "plain.safetensors").terms.forms
    again = load_checkpoint(files / "known.safetensors")
    assert again.terms.forms == (("a dog", "dogs"), ("a couch",))
    old, new = (read_tensors(p, read_texts(p)) for p in (files / "plain.safetensors", files / "known.safetensors"))
    assert set(new) - set(old) == {"phrases.terms"} and all(np.array_equal(old[name], new[name]) for name in old)
    save_checkpoint(files / "again.safetensors", again)
    assert (files / "again.safetensors").read_bytes() == (files / "known.safetensors").read_bytes()


@pytest.mark.parametrize("load", [PhraseModel.load, load_checkpoint, Predictor.load])
def test_terms_without_vectors_are_a_sentence(files, tmp_path, load):
    from test_fcln_checkpoint import rewrite

    path = tmp_path / "w.safetensors"
    path.write_bytes((files / "known.safetensors").read_bytes())
    rewrite(path, terms='[["a dog"]]')
    with pytest.raises(CheckpointError, match="1 terms, but vectors of terms of the shape"):
        load(path)
