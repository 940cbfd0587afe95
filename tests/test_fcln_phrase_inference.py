"""The phrase encoder in numpy: what torch's computes, from whatever shapes a weights file has."""

import random

import numpy as np
import pytest
import torch

from fcln.checkpoint import load_checkpoint
from fcln.modeling.phrase_encoder import PhraseEncoder
from fcln.phrase_inference import PhraseInference


def tensors_of(encoder: PhraseEncoder, dtype: type = np.float32) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(dtype) for name, tensor in encoder.state_dict().items()}


@pytest.fixture
def encoder() -> PhraseEncoder:
    """Sizes that are all different, so that none can stand for another."""
    torch.manual_seed(3)
    encoder = PhraseEncoder(30, 6, 5, 7)
    torch.nn.init.normal_(encoder.pieces)
    return encoder.eval()


@torch.no_grad()
def test_it_computes_what_the_shipped_networks_does_on_500_phrases():
    checkpoint = load_checkpoint(backbone=False)
    inference = PhraseInference(tensors_of(checkpoint.model.phrases, np.float16))  # as the file has them
    draw = random.Random(5)
    words = sorted(checkpoint.word_uses)
    phrases = [" ".join(draw.choices(words, k=draw.randint(1, 30))) for _ in range(496)]
    phrases += ["", "狗", "zorblax qwertz", "dog " * 200]
    ids = checkpoint.pieces.encode(phrases)
    found, expected = inference(ids), checkpoint.model.phrases(torch.from_numpy(ids)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    # One by one too: what a phrase stands beside says nothing of it.
    for phrase, row in list(zip(phrases, found))[::25]:
        np.testing.assert_allclose(inference(checkpoint.pieces.encode([phrase]))[0], row, atol=1e-5, rtol=0)


@torch.no_grad()
def test_sizes_are_those_of_the_tensors(encoder):
    inference = PhraseInference(tensors_of(encoder))
    assert (inference.pieces, inference.embedding_size) == (30, 7)
    ids = np.array([[3, 4, 5, 6], [7, 0, 0, 0], [1, 29, 2, 0]])
    np.testing.assert_allclose(inference(ids), encoder(torch.from_numpy(ids)).numpy(), atol=1e-6)


def test_more_tensors_than_it_reads_do_not_matter(encoder):
    tensors = tensors_of(encoder)
    more = PhraseInference({**tensors, "temperature": np.float32(20), "gru.weight_ih_l1": np.zeros((3, 3))})
    ids = np.array([[3, 4]])
    np.testing.assert_array_equal(more(ids), PhraseInference(tensors)(ids))


def test_large_sums_do_not_overflow(encoder):
    tensors = {name: tensor * 1000 for name, tensor in tensors_of(encoder).items()}
    with np.errstate(all="raise"):
        found = PhraseInference(tensors)(np.array([[3, 4, 5]]))
    assert np.linalg.norm(found) == pytest.approx(1)


def test_a_missing_tensor(encoder):
    tensors = tensors_of(encoder)
    del tensors["gru.bias_hh_l0_reverse"]
    with pytest.raises(KeyError, match="bias_hh_l0_reverse"):
        PhraseInference(tensors)


@pytest.mark.parametrize(
    "name", ["pieces", "input.weight", "gru.weight_hh_l0", "gru.bias_ih_l0_reverse", "output.bias"]
)
def test_tensors_that_do_not_fit_together(encoder, name):
    tensors = tensors_of(encoder)
    tensors[name] = tensors[name][..., :-1]
    with pytest.raises(ValueError, match="is \\("):
        PhraseInference(tensors)
