"""Weights files: one safetensors file with all that the words mean; damage is found and nothing in a file runs."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.errors import CheckpointError
from fcln.scoring import Calibration, Scoring
from fcln.weights_file import Checksum, pack_texts, read_texts
from fcln.word_uses import WordUse
from helpers.small_world import tiny_config, tiny_network, vocabulary, word_pieces


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = tiny_network(caffe_strides=False)
    uses = {"dog": WordUse(0.9, 0.1, "a"), "café": WordUse(0.5, 0.0, "")}
    return Checkpoint(model, vocabulary(), word_pieces(), uses, Scoring("fused", 0.25))


@pytest.fixture(scope="module")
def saved(checkpoint, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_checkpoint(path, checkpoint)
    return path


@pytest.fixture
def copy(saved, tmp_path) -> Path:
    """One that a test may damage."""
    return Path(shutil.copy(saved, tmp_path))


def rewrite(path: Path, **changes: str | None) -> None:
    """Change texts of a file, None removes one; its checksum follows."""
    texts = read_texts(path)
    with safe_open(path, framework="np") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    texts = {k: v for k, v in (texts | changes).items() if v is not None and k != "checksum"}
    checksum = Checksum(texts)
    for name in sorted(weights):
        checksum.add(name, weights[name])
    texts["checksum"] = checksum.hexdigest()
    save_file(weights, path, metadata=pack_texts(texts))


def test_round_trip(checkpoint, saved):
    again = load_checkpoint(saved)
    assert again.model.config == checkpoint.model.config
    assert again.vocabulary.words == checkpoint.vocabulary.words
    assert again.pieces.pieces == checkpoint.pieces.pieces
    assert again.word_uses == checkpoint.word_uses
    assert again.scoring == Scoring("fused", 0.25)
    old, new = checkpoint.model.state_dict(), again.model.state_dict()
    assert set(old) == set(new)
    for name, tensor in old.items():
        assert torch.equal(new[name], tensor.half().float()), name  # float16 on the disk, float32 in memory
    assert not again.model.training
    assert {p.device.type for p in again.model.parameters()} == {"cpu"}


def test_a_confidence_is_stored(checkpoint, tmp_path):
    calibration = Calibration((-4.6, 11.25, 0.4), (-1.0, 1.2, 0.7, 0.55), 0.018)
    path = tmp_path / "w.safetensors"
    save_checkpoint(path, replace(checkpoint, scoring=Scoring("fused", 0.25, calibration)))
    assert load_checkpoint(path).scoring == Scoring("fused", 0.25, calibration)


def test_files_from_before_there_was_a_confidence_have_none(copy):
    rewrite(copy, scoring=json.dumps({"default": "fused", "fused_weight": 0.25}))
    assert load_checkpoint(copy).scoring == Scoring("fused", 0.25, None)


@pytest.mark.parametrize(
    "confidence",
    [
        {"presence": [1, 2, 3], "place": [1, 2, 3], "prevalence": 0.1},
        {"presence": [1, 2, 3], "prevalence": 0.1},
        {"presence": [1, 2, "many"], "place": [1, 2, 3, 4], "prevalence": 0.1},
        [1, 2, 3],
    ],
)
def test_a_malformed_confidence_is_refused(copy, confidence):
    rewrite(copy, scoring=json.dumps({"default": "fused", "fused_weight": 0.25, "confidence": confidence}))
    with pytest.raises(CheckpointError, match="does not fit this version"):
        load_checkpoint(copy)


def test_a_loaded_network_computes_what_the_saved_one_did(checkpoint, saved):
    again = load_checkpoint(saved).model
    rounded = new_model(again.config, vocabulary(), word_pieces())
    rounded.load_state_dict({k: v.half().float() for k, v in checkpoint.model.state_dict().items()})
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        (a,), (b,) = (
            m.eval().detect(m.features(images), torch.tensor([[64.0, 64.0]]), max_regions=5) for m in (again, rounded)
        )
    assert torch.equal(a.boxes, b.boxes) and torch.equal(a.codes, b.codes)


def test_saving_replaces_a_file_and_leaves_nothing_beside_it(checkpoint, tmp_path):
    path = tmp_path / "below" / "w.safetensors"
    for scoring in (Scoring("embedding"), Scoring("likelihood")):
        save_checkpoint(path, replace(checkpoint, scoring=scoring))
        assert load_checkpoint(path).scoring == scoring
    assert list(path.parent.iterdir()) == [path]


def test_the_same_network_is_the_same_file(checkpoint, saved, tmp_path):
    save_checkpoint(tmp_path / "again.safetensors", checkpoint)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.safetensors does not exist"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_damaged(copy, share):
    content = copy.read_bytes()
    copy.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
        load_checkpoint(copy)


def test_any_flipped_byte_is_damage(copy):
    """In the layout, in the words or in the weights: spread over the file, every one is noticed."""
    content = copy.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    places = [*range(10, header, header // 40), *range(header, len(content), len(content) // 40), len(content) - 1]
    for place in places:
        copy.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError):
            load_checkpoint(copy)


def test_a_flipped_weight_is_called_damage(copy):
    content = copy.read_bytes()
    copy.write_bytes(content[:-100] + bytes([content[-100] ^ 64]) + content[-99:])
    with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged \(its checksum is wrong\)"):
        load_checkpoint(copy)


def test_a_file_of_another_program_is_refused(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="is not a weights file of densecap-search"):
        load_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"vocabulary": json.dumps(["one", "word more", "than", "there", "was", "room", "for"])},
        {"config": None},
        {"config": "{"},
        {"config": json.dumps(tiny_config(code_size=25).to_json())},
        {"config": json.dumps(tiny_config().to_json() | {"colour": "red"})},
        {"config": json.dumps(tiny_config().to_json() | {"backbone": "alexnet"})},
        {"pieces": json.dumps(["no", "special", "ones"])},
        {"noun_phrases": "[]"},
        {"scoring": json.dumps({"default": "embedding", "weight": 1})},
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_a_sentence(copy, changes):
    rewrite(copy, **changes)
    with pytest.raises(CheckpointError, match=r"w\.safetensors does not fit this version") as caught:
        load_checkpoint(copy)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused_without_torchs_own_words(copy):
    rewrite(copy, config=json.dumps(tiny_config().to_json() | {"hidden_size": 24}))
    with pytest.raises(CheckpointError, match=r"version \(other layers, or of other sizes\)\. Train it again"):
        load_checkpoint(copy)


class Poison:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("dump", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_pickle_named_safetensors_is_never_executed(tmp_path, dump):
    path, mark = tmp_path / "w.safetensors", tmp_path / "executed"
    dump({"weights": Poison(mark)}, path)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(path)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Poison(mark)))
    assert mark.exists()  # the poison works
