"""scripts.train.scene: the real command on photographs of two kinds."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fcln.checkpoint import load_checkpoint
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.weights_file import read_tensors, read_texts
from helpers.small_world import write_network, write_world
from helpers.terms_world import ANIMAL, COUCH, DOG, FURNITURE, write_terms
from scripts.train import scene
from scripts.train.named_photographs import terms_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight photographs, a network, names of two kinds of things; fitted."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 8)
    write_network(folder / "before.safetensors")
    (folder / "after.safetensors").write_bytes((folder / "before.safetensors").read_bytes())
    write_terms(folder / "terms.json", {image: [DOG] if image % 2 else [COUCH] for image in range(1, 8)})
    result = fit(folder)
    assert result.exit_code == 0, result.output
    # Nothing is said of the eighth.
    assert result.stdout == f"{folder / 'after.safetensors'}: fitted on 7 photographs\n"
    return folder


def fit(folder, *options) -> Result:
    arguments = [folder / "after.safetensors", "--photos", folder / "photos", "--annotations", folder / "annotations"]
    arguments += ["--terms", folder / "terms.json", "--device", "cpu", *options]
    return CliRunner().invoke(scene.main, list(map(str, arguments)))


def test_nothing_else_changes(world):
    before, after = (world / f"{name}.safetensors" for name in ("before", "after"))
    old, new = (read_tensors(path, read_texts(path)) for path in (before, after))
    assert set(new) - set(old) == {"scene.weight", "scene.bias"}
    assert all(np.array_equal(old[name], new[name]) for name in old)
    assert load_checkpoint(after).model.config.scene and not load_checkpoint(before).model.config.scene


def test_regions_are_embedded_in_what_their_photograph_shows(world):
    plain, seeing = (Predictor.load(world / f"{name}.safetensors", device="cpu") for name in ("before", "after"))
    photographs = load_annotations(world / "photos", world / "annotations")
    images = [Image.open(photograph.path) for photograph in photographs]
    tensors = read_tensors(world / "after.safetensors", read_texts(world / "after.safetensors"))
    scenes = plain.image_codes(images).astype(np.float32) @ tensors["scene.weight"].T + tensors["scene.bias"]
    for old, new, shown in zip(plain.describe(images), seeing.describe(images), scenes, strict=True):
        assert np.array_equal(old.codes, new.codes) and old.phrases == new.phrases
        moved = old.embeddings + shown
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        np.testing.assert_allclose(new.embeddings, moved, atol=2e-3)
    given = seeing.describe_boxes(images[0], photographs[0].boxes)
    moved = plain.describe_boxes(images[0], photographs[0].boxes).embeddings + scenes[0]
    np.testing.assert_allclose(given.embeddings, moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=2e-3)
    dogs, couches = scenes[0:7:2].mean(0), scenes[1:7:2].mean(0)
    dog, couch = seeing.encode_phrases(["a dog", "a flat screen couch"])
    assert (dogs - couches) @ (dog - couch) > 0


def test_broader_terms_and_what_regions_are_called_count(world, tmp_path):
    terms = write_terms(tmp_path / "terms.json", {1: [DOG]})
    (photograph, *_) = load_annotations(world / "photos", world / "annotations")
    assert terms_of(photograph, terms) == {ANIMAL, DOG}
    said = replace(photograph, image_id=2, phrases=(("a red flat screen couch", "a square"),))
    assert terms_of(said, terms) == {FURNITURE, COUCH}


def test_photographs_of_which_nothing_is_said(world, tmp_path):
    write_terms(tmp_path / "none.json", {})
    result = fit(world, "--terms", tmp_path / "none.json")
    assert result.exit_code == 1 and "No term is said of any of these photographs." in result.output
