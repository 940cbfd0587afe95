"""scripts.train.truncate_fc6: the real command on photographs of coloured squares."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from fcln.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fcln.modeling.fcln import FCLN
from fcln.predictor import Predictor
from fcln.scoring import Scoring
from fcln.training.annotations import load_annotations
from fcln.training.low_rank import Factors
from fcln.weights_file import read_tensors, read_texts
from helpers.small_world import tiny_network, vocabulary, word_pieces, write_world
from scripts.train import truncate_fc6

FC6 = "recognition.fc6."


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight photographs and a network of random weights; its fc6 written with 24 and with 2 of 32 numbers."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 8)
    torch.manual_seed(0)
    model = tiny_network()
    torch.nn.init.normal_(model.recognition.fc6.weight, std=0.3)
    torch.nn.init.normal_(model.recognition.fc6.bias)
    torch.nn.init.normal_(model.lateral.weight, std=0.3)
    scoring = Scoring(fused_weight=0.125)
    save_checkpoint(folder / "whole.safetensors", Checkpoint(model, vocabulary(), word_pieces(), {}, scoring))
    before = (folder / "whole.safetensors").read_bytes()
    for rank in (24, 2):
        result = truncate(folder, f"{rank}.safetensors", "--rank", rank)
        assert result.exit_code == 0, result.output
        said, kept = result.stdout.split(" directions keep ")
        assert said == f"{folder / f'{rank}.safetensors'}: {rank} of 32" and kept.endswith("% of what fc6 says\n")
        share = float(kept.partition("%")[0])
        assert share > 99 if rank == 24 else 30 < share < 99
    assert (folder / "whole.safetensors").read_bytes() == before
    return folder


def truncate(folder, out, *options, weights="whole.safetensors") -> Result:
    arguments = [folder / weights, folder / out]
    arguments += ["--photos", folder / "photos", "--annotations", folder / "annotations", *options]
    return CliRunner().invoke(truncate_fc6.main, list(map(str, arguments)))


def tensors_of(path) -> dict[str, np.ndarray]:
    return read_tensors(path, read_texts(path))


def test_fc6_is_two_matrices_and_nothing_else_changes(world):
    old, new = tensors_of(world / "whole.safetensors"), tensors_of(world / "2.safetensors")
    assert set(old) - set(new) == {FC6 + "weight", FC6 + "bias"}
    shapes = {name: new[name].shape for name in set(new) - set(old)}
    assert shapes == {FC6 + "0.weight": (2, 72), FC6 + "1.weight": (32, 2), FC6 + "1.bias": (32,)}
    assert all(np.array_equal(old[name], new[name]) for name in set(old) & set(new))
    before, after = (load_checkpoint(world / f"{name}.safetensors") for name in ("whole", "2"))
    assert after.model.config == replace(before.model.config, hidden_rank=2)
    assert (after.vocabulary.words, after.scoring) == (before.vocabulary.words, before.scoring)


def test_photographs_are_described_nearly_as_before(world):
    whole, high, low = (Predictor.load(world / f"{name}.safetensors", device="cpu") for name in ("whole", "24", "2"))
    photographs = load_annotations(world / "photos", world / "annotations")
    images = [Image.open(photograph.path) for photograph in photographs]
    for described in (high.describe(images), low.describe(images)):
        assert all(len(each.boxes) and np.isfinite(each.codes).all() for each in described)

    def codes(predictor: Predictor) -> np.ndarray:
        given = [predictor.describe_boxes(i, p.boxes).codes for i, p in zip(images, photographs, strict=True)]
        return np.concatenate(given).astype(np.float64)

    exact = codes(whole)
    errors = [np.linalg.norm(codes(each) - exact) / np.linalg.norm(exact - exact.mean(0)) for each in (high, low)]
    assert errors[0] < 0.1 < 0.3 < errors[1], errors


def outputs_of_fc6(model: FCLN, photographs) -> tuple[np.ndarray, np.ndarray]:
    """What fc6 reads and gives while photographs are fitted on, of all their regions."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = model.recognition.fc6.register_forward_hook(lambda _, given, found: seen.append((given[0], found)))
    truncate_fc6.fit(model, photographs, 4)
    hook.remove()
    inputs, outputs = (torch.cat(each).numpy() for each in zip(*seen, strict=True))
    return inputs, outputs


def test_what_the_code_is_made_of_errs_less(world):
    photographs = load_annotations(world / "photos", world / "annotations")
    model = load_checkpoint(world / "whole.safetensors").model
    inputs, outputs = outputs_of_fc6(model, photographs)
    assert len(outputs) == 8 * 21  # the proposals and the whole photograph
    weight = model.recognition.fc7.weight.detach().clone()
    errors = []
    for unread in (slice(16, 32), slice(0, 16)):
        with torch.no_grad():
            model.recognition.fc7.weight.copy_(weight)[:, unread] = 0
        errors.append(errors_of(truncate_fc6.fit(model, photographs, 4), inputs, outputs))
    first, second = errors
    assert first[:16].sum() < 0.85 * second[:16].sum() and second[16:].sum() < 0.85 * first[16:].sum()


def test_what_regions_turn_on_errs_less(world):
    photographs = load_annotations(world / "photos", world / "annotations")
    model = load_checkpoint(world / "whole.safetensors").model
    bias = model.recognition.fc6.bias.detach().clone()
    errors = []
    for off in (slice(16, 32), slice(0, 16)):
        with torch.no_grad():
            model.recognition.fc6.bias.copy_(bias)[off] = -1000
        inputs, outputs = outputs_of_fc6(model, photographs)
        assert (outputs[:, off] < 0).all()
        errors.append(errors_of(truncate_fc6.fit(model, photographs, 4), inputs, outputs))
    first, second = errors
    assert first[:16].sum() < 0.85 * second[:16].sum() and second[16:].sum() < 0.85 * first[16:].sum()


def errors_of(factors: Factors, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    found = inputs @ factors.first.T @ factors.second.T + factors.bias
    return ((found - outputs) ** 2).mean(0)


def test_as_many_photographs_as_are_asked_for(world):
    assert "3/3" in truncate(world, "few.safetensors", "--rank", 4, "--count", 3).stderr
    assert "8/8" in truncate(world, "all.safetensors", "--rank", 4).stderr


@pytest.mark.parametrize("rank", [32, 384])
def test_a_rank_that_spares_nothing_is_refused(world, rank):
    result = truncate(world, "refused.safetensors", "--rank", rank)
    assert result.exit_code == 1
    assert f"Error: fc6 of {world / 'whole.safetensors'} has 32 numbers already." in result.output
    assert not (world / "refused.safetensors").exists()


def test_weights_with_two_matrices_are_refused(world):
    result = truncate(world, "refused.safetensors", "--rank", 8, weights="24.safetensors")
    assert result.exit_code == 1
    assert f"Error: fc6 of {world / '24.safetensors'} has 24 numbers already." in result.output
    assert not (world / "refused.safetensors").exists()


def test_files_that_are_missing_or_something_else_are_refused(world, tmp_path):
    result = truncate(world, "refused.safetensors", weights="nothing.safetensors")
    assert result.exit_code == 2 and "nothing.safetensors' does not exist" in result.output
    shutil.copytree(world / "annotations", tmp_path / "annotations")
    (tmp_path / "annotations" / "image_data.json").unlink()
    result = truncate(world, "refused.safetensors", "--rank", 4, "--annotations", tmp_path / "annotations")
    assert result.exit_code == 2 and "--photos and --annotations belong together" in result.output
    (tmp_path / "photos").mkdir()
    (tmp_path / "whole.safetensors").write_bytes((world / "whole.safetensors").read_bytes())
    result = truncate(tmp_path, "refused.safetensors", "--rank", 4)
    assert result.exit_code == 1 and "image_data.json is missing" in result.output
    (tmp_path / "whole.safetensors").write_bytes(b"no weights")
    result = truncate(tmp_path, "refused.safetensors", "--rank", 4)
    assert result.exit_code == 1 and "whole.safetensors" in result.output and "Traceback" not in result.output
    assert not (world / "refused.safetensors").exists() and not (tmp_path / "refused.safetensors").exists()
