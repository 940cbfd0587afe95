"""scripts.train.region_codes and scripts.train.captions: the real commands, one after the other."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from fcln.checkpoint import Checkpoint, load_checkpoint, new_model, save_checkpoint
from fcln.predictor import Predictor
from fcln.scoring import Scoring
from fcln.term_vectors import TermVectors
from fcln.training.annotations import WHOLE, load_annotations
from fcln.training.region_codes import NAME, PEOPLE, RegionCodes
from fcln.weights_file import read_tensors, read_texts
from fcln.word_uses import WordUse
from helpers.small_world import tiny_config, tiny_network, vocabulary, word_pieces, write_json, write_world
from helpers.terms_world import CAT, write_terms
from scripts.train import captions, mean_weights, region_codes
from scripts.train.region_codes import seen_as


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Eight photographs, a network, and the codes of all their regions, as they are and mirrored."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 8)
    torch.manual_seed(0)
    model = tiny_network()
    uses = {"square": WordUse(9, 1, "a")}
    vector = np.eye(1, model.config.embedding_size, dtype=np.float32)
    terms = TermVectors((("a dog",),), vector)
    save_checkpoint(
        folder / "weights.safetensors",
        Checkpoint(model, vocabulary(), word_pieces(), uses, Scoring(), ("a square",), terms),
    )
    result = make_codes(folder, folder / "codes.h5", "--view", "0", "--view", "1")
    assert result.exit_code == 0, result.output
    return folder


def make_codes(folder, out, *options) -> Result:
    arguments = [out, "--weights", folder / "weights.safetensors", "--photos", folder / "photos"]
    arguments += ["--annotations", folder / "annotations", "--device", "cpu", *options]
    return CliRunner().invoke(region_codes.main, list(map(str, arguments)))


def train(world, out, *options, codes=None, weights=None) -> Result:
    arguments = [weights or world / "weights.safetensors", "--out", out, "--device", "cpu", "--batch-size", "4"]
    arguments += [part for path in (codes or [world / "codes.h5"]) for part in ("--codes", path)]
    return CliRunner().invoke(captions.main, list(map(str, [*arguments, *options])))


def test_the_codes_of_every_view(world):
    found = RegionCodes.read(world / "codes.h5")
    rows = np.flatnonzero((found.kinds == PEOPLE) & (found.overlaps == 1))
    assert len(rows) == 2 * 8 * 2  # two squares in each of eight photographs, twice
    (photo, *_) = load_annotations(world / "photos", world / "annotations")
    predictor = Predictor.load(world / "weights.safetensors", device="cpu")
    np.testing.assert_array_equal(found.codes[:2], predictor.describe_boxes(Image.open(photo.path), photo.boxes).codes)
    assert list(found.phrases[:2]) == [list(said) for said in photo.phrases]


def test_only_the_language_model_changes(world, tmp_path):
    result = train(world, tmp_path / "run", "--epochs", "2", "--average", "0.5")
    assert result.exit_code == 0, result.output
    out = tmp_path / "run" / "weights.safetensors"
    assert result.stdout.splitlines() == [str(out)]
    before, after = world / "weights.safetensors", out
    texts, new_texts = read_texts(before), read_texts(after)
    assert {**texts, "checksum": ""} == {**new_texts, "checksum": ""}  # the words, the scoring, names and terms
    old, new = read_tensors(before, texts), read_tensors(after, new_texts)
    changed = {name for name in old if not np.array_equal(old[name], new[name])}
    assert changed and all(name.startswith("language.") for name in changed)
    assert {"language.output.weight", "language.lstm.weight_hh_l0", "language.image.weight"} <= changed


def test_it_learns_what_the_regions_are_called(world, tmp_path):
    """At first it says anything; trained, the words of its training phrases in their order."""
    result = train(world, tmp_path / "run", "--epochs", "30", "--lr", "0.01", "--label-smoothing", "0",
                   "--word-dropout", "0", "--code-dropout", "0", "--average", "0.9")  # fmt: skip
    assert result.exit_code == 0, result.output
    checkpoint = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    codes = torch.from_numpy(RegionCodes.read(world / "codes.h5").codes.astype(np.float32))
    tokens = checkpoint.model.language.generate(codes, length=4)
    said = {vocabulary().decode(row) for row in tokens.tolist()}
    assert said <= {f"a {colour} square" for colour in ("red", "green", "blue", "white")}


def test_the_same_command_goes_on(world, tmp_path):
    """Finished, it has nothing left to do, and writes the same file again."""
    first = train(world, tmp_path / "run", "--epochs", "1")
    assert "from step 0" in first.stderr
    written = (tmp_path / "run" / "weights.safetensors").read_bytes()
    again = train(world, tmp_path / "run", "--epochs", "1")
    assert again.exit_code == 0 and "from step 0" not in again.stderr
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == written
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1


def test_names_train_with_terms(world, tmp_path):
    """Nobody boxed anything in it, its name is said of it."""
    annotations = write_json(
        tmp_path / "named",
        image_data=[{"image_id": 1, "width": 64, "height": 64}],
        region_descriptions=[],
        names=[{"image_id": 1, "names": ["cat"]}],
    )
    write_terms(tmp_path / "terms.json", {1: [CAT]})
    arguments = [tmp_path / "names.h5", "--weights", world / "weights.safetensors", "--photos", world / "photos"]
    arguments += ["--annotations", annotations, "--terms", tmp_path / "terms.json"]
    result = CliRunner().invoke(region_codes.main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    assert "2 regions of 1 photographs" in result.output
    found = RegionCodes.read(tmp_path / "names.h5")
    assert found.phrases == [["a cat"]] * 2 and found.kinds.tolist() == [NAME] * 2
    assert train(world, tmp_path / "run", "--share", "1", "--share", "2", "--epochs", "1",
                 codes=[world / "codes.h5", tmp_path / "names.h5"]).exit_code == 0  # fmt: skip


def test_views_are_the_same_whenever_they_are_asked_for(world):
    photo, other, *_ = load_annotations(world / "photos", world / "annotations")
    assert not seen_as(photo, 0).mirrored and seen_as(photo, 1).mirrored
    assert seen_as(photo, 0).window == seen_as(photo, 1).window == WHOLE
    views = [seen_as(photo, number) for number in range(2, 40)]
    assert views == [seen_as(photo, number) for number in range(2, 40)]
    assert seen_as(other, 2) != views[0]
    assert {view.mirrored for view in views} == {True, False}
    cut = [view.window for view in views if view.window != WHOLE]
    assert 5 < len(cut) < 35
    for left, top, right, bottom in cut:
        assert 0 <= left < right <= 1 and 0 <= top < bottom <= 1 and right - left >= 0.55 - 1e-9
        assert right - left == pytest.approx(bottom - top)
    assert all(0.65 <= factor <= 1.35 for view in views for factor in view.tints)


def refusal(result: Result) -> str:
    """The one sentence of a refused command."""
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    return result.stderr.splitlines()[-1]


def test_codes_of_another_network_are_refused(world, tmp_path):
    codes = RegionCodes.read(world / "codes.h5")
    RegionCodes(codes.codes, codes.phrases, codes.kinds, codes.overlaps, "other").write(tmp_path / "other.h5")
    said = refusal(train(world, tmp_path / "run", codes=[tmp_path / "other.h5"]))
    assert "other.h5 holds codes of another network: make it with --weights" in said
    assert not (tmp_path / "run").exists()


def test_what_does_not_fit_is_refused(world, tmp_path):
    assert "--share belongs to --codes" in refusal(train(world, tmp_path / "run", "--share", "1", "--share", "2"))
    (tmp_path / "bad.h5").write_bytes(b"bad")
    said = refusal(train(world, tmp_path / "run", codes=[tmp_path / "bad.h5"]))
    assert "bad.h5 is not a file of scripts.train.region_codes" in said
    arguments = ["x.h5", "--photos", world / "photos", "--photos", world / "photos"]
    arguments += ["--annotations", world / "annotations"]
    said = refusal(CliRunner().invoke(region_codes.main, list(map(str, arguments))))
    assert "--photos and --annotations belong together" in said


def test_photographs_of_which_nothing_is_said_are_refused(world, tmp_path):
    """A detector's boxes and names alone, and neither was asked for."""
    annotations = write_json(
        tmp_path / "silent",
        image_data=[{"image_id": 1, "width": 64, "height": 64}],
        region_descriptions=[],
        names=[{"image_id": 1, "names": ["cat", "dog", "couch"]}],
    )
    write_terms(tmp_path / "terms.json", {1: [CAT]})
    arguments = [tmp_path / "x.h5", "--weights", world / "weights.safetensors", "--photos", world / "photos"]
    arguments += ["--annotations", annotations, "--terms", tmp_path / "terms.json"]
    said = refusal(CliRunner().invoke(region_codes.main, list(map(str, arguments))))
    assert "Nothing is said of any region" in said and not (tmp_path / "x.h5").exists()


def test_a_log_line_says_what_it_took(world, tmp_path):
    assert train(world, tmp_path / "run", "--epochs", "1").exit_code == 0
    (line,) = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert set(json.loads(line)) == {"epoch", "loss", "regions_per_second"}


def test_the_mean_of_runs(world, tmp_path):
    """Each weight is the mean of the runs' in float16, and what no run touched is what it was."""
    runs = []
    for seed in (1, 2):
        result = train(world, tmp_path / f"run{seed}", "--epochs", "1", "--seed", seed, "--lr", "0.01")
        assert result.exit_code == 0, result.output
        runs.append(tmp_path / f"run{seed}" / "weights.safetensors")
    out = tmp_path / "new" / "mean.safetensors"
    result = CliRunner().invoke(mean_weights.main, [str(out), *map(str, runs)])
    assert result.exit_code == 0 and "the mean of 2" in result.output
    first, second, found = (read_tensors(path, read_texts(path)) for path in (*runs, out))
    for name, tensor in found.items():
        expected = (first[name].astype(np.float64) + second[name]) / 2
        np.testing.assert_array_equal(tensor, expected.astype(np.float32).astype(np.float16), err_msg=name)
    moved = {name for name in found if not np.array_equal(found[name], first[name])}
    assert moved and all(name.startswith("language.") for name in moved)
    assert read_texts(out)["vocabulary"] == read_texts(runs[0])["vocabulary"]


def test_runs_that_left_out_more_at_random_or_look_otherwise_at_test_time_have_a_mean_too(world, tmp_path):
    checkpoint = load_checkpoint(world / "weights.safetensors")
    checkpoint.model.config = replace(checkpoint.model.config, dropout=0.9, post_nms_top_n=7)
    other, out = tmp_path / "other.safetensors", tmp_path / "mean.safetensors"
    save_checkpoint(other, checkpoint)
    result = CliRunner().invoke(mean_weights.main, [str(out), str(world / "weights.safetensors"), str(other)])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(out).model.config == load_checkpoint(world / "weights.safetensors").model.config


def test_the_mean_of_other_networks_is_refused(world, tmp_path):
    torch.manual_seed(1)
    model = new_model(tiny_config(lstm_size=20), vocabulary(), word_pieces())
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, Checkpoint(model, vocabulary(), word_pieces(), {}, Scoring()))
    arguments = [tmp_path / "out.safetensors", world / "weights.safetensors", other]
    said = refusal(CliRunner().invoke(mean_weights.main, list(map(str, arguments))))
    assert "other.safetensors is of another network or vocabulary than" in said
    assert not (tmp_path / "out.safetensors").exists()
