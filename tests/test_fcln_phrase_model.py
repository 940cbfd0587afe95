"""The phrase side of a weights file, without torch until the language model is asked."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.errors import CheckpointError, DeviceError
from fcln.phrase_model import PhraseModel
from fcln.scoring import Scoring

PROJECT = Path(__file__).parent.parent
PHRASES = ["a red dog", "couch", "Two LAMPS on the zebra"]


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return PhraseModel.load(tiny_checkpoint, device="cpu")


def test_it_says_and_computes_what_the_predictor_does(model, tiny_predictor):
    assert (model.digest, model.embedding_size) == (tiny_predictor.digest, tiny_predictor.embedding_size)
    assert model.scoring == tiny_predictor.scoring
    assert model.vocabulary.words == tiny_predictor.vocabulary.words
    assert (model.pieces.pieces, model.word_uses) == (tiny_predictor.pieces.pieces, tiny_predictor.word_uses)
    found = model.encode_phrases(PHRASES)
    np.testing.assert_allclose(found, tiny_predictor.encode_phrases(PHRASES), atol=1e-5)
    assert model.encode_phrases([]).shape == (0, model.embedding_size)


def test_the_language_model_judges_as_the_predictors(model, tiny_predictor):
    codes = np.random.default_rng(1).random((5, tiny_predictor.code_size)).astype(np.float16)
    np.testing.assert_array_equal(model.log_likelihood(PHRASES, codes), tiny_predictor.log_likelihood(PHRASES, codes))


def test_encoding_loads_no_torch(tiny_checkpoint):
    code = (
        "import sys\nfrom pathlib import Path\nfrom fcln.phrase_model import PhraseModel\n"
        "PhraseModel.load(Path(sys.argv[1])).encode_phrases(['a dog'])\nprint('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tiny_checkpoint)]
    assert subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_file_that_is_replaced_before_the_language_model_is_asked(tiny_checkpoint, tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(tiny_checkpoint.read_bytes())
    model = PhraseModel.load(path, device="cpu")
    save_checkpoint(path, replace(load_checkpoint(tiny_checkpoint), scoring=Scoring("likelihood")))
    with pytest.raises(CheckpointError, match=r"w\.safetensors was replaced meanwhile"):
        model.log_likelihood(["a dog"], np.zeros((1, 24), np.float16))


def test_a_gpu_that_is_not_there_is_missed_at_once(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match="no CUDA GPU"):
        PhraseModel.load(tiny_checkpoint, device="cuda")


def test_any_flipped_byte_is_damage(tiny_checkpoint, tmp_path):
    content, path = tiny_checkpoint.read_bytes(), tmp_path / "w.safetensors"
    for place in [*range(10, len(content), len(content) // 60), len(content) - 1]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError):
            PhraseModel.load(path)


def test_words_and_vectors_that_do_not_fit_together(tiny_checkpoint, tmp_path):
    checkpoint, path = load_checkpoint(tiny_checkpoint), tmp_path / "w.safetensors"
    pieces = type(checkpoint.pieces)([*checkpoint.pieces.pieces, "more"])
    save_checkpoint(path, replace(checkpoint, pieces=pieces))
    with pytest.raises(CheckpointError, match=r"does not fit this version .* word pieces, but .* vectors"):
        PhraseModel.load(path)
