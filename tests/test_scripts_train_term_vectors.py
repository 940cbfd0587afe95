"""scripts.train.term_vectors: the real command on photographs of two kinds, and what leaves its vectors out again."""

import shutil

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fcln.checkpoint import load_checkpoint
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.training.term_vectors import STEP
from fcln.weights_file import read_tensors, read_texts
from helpers.small_world import write_network, write_world
from helpers.terms_world import COUCH, DOG, write_terms
from scripts.train import mean_weights, scene, term_vectors


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight photographs, a network, names of two kinds of things; fitted."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 8)
    write_network(folder / "before.safetensors")
    shutil.copy(folder / "before.safetensors", folder / "after.safetensors")
    write_terms(folder / "terms.json", {image: [DOG] if image % 2 else [COUCH] for image in range(1, 8)})
    result = fit(folder, folder / "after.safetensors")
    assert result.exit_code == 0, result.output
    # Nothing is said of the eighth. Dogs and animals, couches and furniture, but no photograph shows a cat or rice.
    assert result.stdout == f"{folder / 'after.safetensors'}: vectors of 4 terms, fitted on 7 photographs\n"
    return folder


def fit(folder, weights, *options) -> Result:
    arguments = [weights, "--photos", folder / "photos", "--annotations", folder / "annotations"]
    arguments += ["--terms", folder / "terms.json", "--device", "cpu", *options]
    return CliRunner().invoke(term_vectors.main, list(map(str, arguments)))


def test_nothing_else_changes(world):
    old, new = (read_tensors(p, read_texts(p)) for p in (world / "before.safetensors", world / "after.safetensors"))
    assert set(new) - set(old) == {"phrases.terms"}
    assert all(np.array_equal(old[name], new[name]) for name in old)
    forms = load_checkpoint(world / "after.safetensors").terms.forms
    assert forms == (
        ("an animal", "animal", "animals"),
        ("a dog", "dog", "dogs"),
        ("furniture", "some furniture"),
        ("a flat screen couch", "flat screen couch", "flat screen couches"),
    )


def test_the_things_asked_for_move_to_their_photographs(world):
    old, new = (Predictor.load(world / f"{name}.safetensors", device="cpu") for name in ("before", "after"))
    photographs = load_annotations(world / "photos", world / "annotations")
    regions = old.describe([Image.open(photograph.path) for photograph in photographs[:7]])
    shows = np.array([photograph.image_id % 2 == 1 for photograph in photographs[:7]])
    for phrase, its in (("a dog", shows), ("the animals", shows), ("flat screen couch", ~shows)):
        before, after = old.encode_phrases([phrase])[0], new.encode_phrases([phrase])[0]
        assert 0 < np.linalg.norm(after - before) < 100 * STEP
        gain = np.array([(found.embeddings @ after).max() - (found.embeddings @ before).max() for found in regions])
        assert gain[its].mean() > gain[~its].mean()
    asked = ["a red dog", "a cat", "rice"]
    assert np.array_equal(old.encode_phrases(asked), new.encode_phrases(asked))


def test_fitted_twice_it_is_the_same(world, tmp_path):
    again = shutil.copy(world / "after.safetensors", tmp_path)
    assert fit(world, again).exit_code == 0
    assert (tmp_path / "after.safetensors").read_bytes() == (world / "after.safetensors").read_bytes()


def test_what_moves_embeddings_leaves_them_out(world, tmp_path):
    weights = shutil.copy(world / "after.safetensors", tmp_path)
    arguments = [weights, "--photos", world / "photos", "--annotations", world / "annotations"]
    arguments += ["--terms", world / "terms.json", "--device", "cpu"]
    assert CliRunner().invoke(scene.main, list(map(str, arguments))).exit_code == 0
    assert not load_checkpoint(tmp_path / "after.safetensors").terms.forms
    # And is fitted to what the encoder says, as without them.
    plain = shutil.copy(world / "before.safetensors", tmp_path)
    assert CliRunner().invoke(scene.main, [str(plain), *map(str, arguments[1:])]).exit_code == 0
    assert (tmp_path / "after.safetensors").read_bytes() == (tmp_path / "before.safetensors").read_bytes()
    mean = [str(tmp_path / "mean.safetensors"), *[str(world / "after.safetensors")] * 2]
    assert CliRunner().invoke(mean_weights.main, mean).exit_code == 0
    assert not load_checkpoint(tmp_path / "mean.safetensors").terms.forms


def test_a_photograph_that_cannot_be_read_is_left_out(world, tmp_path):
    shutil.copytree(world, tmp_path / "world")
    (photograph, *_) = load_annotations(world / "photos", world / "annotations")
    broken = tmp_path / "world" / "photos" / photograph.path.name
    broken.write_bytes(b"no photograph")
    result = fit(tmp_path / "world", tmp_path / "world" / "before.safetensors")
    assert result.exit_code == 0, result.output
    assert f"Left out: {broken}: " in result.stderr and "on 6 photographs" in result.stdout


def test_photographs_of_which_nothing_is_said(world, tmp_path):
    write_terms(tmp_path / "none.json", {})
    before = (world / "after.safetensors").read_bytes()
    result = fit(world, world / "after.safetensors", "--terms", tmp_path / "none.json")
    assert result.exit_code == 1 and "No term is said of any of these photographs." in result.output
    assert (world / "after.safetensors").read_bytes() == before
