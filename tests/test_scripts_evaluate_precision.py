"""What faster numbers cost: the script runs, and a way that is float32's own agrees with it."""

import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from fcln.modeling.int8_linear import can_multiply_int8
from fcln.precision import has_bfloat16
from fcln.predictor import Predictor
from helpers.labelled_photos import write_photo
from scripts.evaluate import precision
from scripts.evaluate.precision import agreement, described


def test_all_ways_of_this_computer_against_float32(tmp_path: Path, tiny_checkpoint: Path) -> None:
    for seed in range(3):
        write_photo(tmp_path / f"{seed}.jpg", seed=seed)
    result = CliRunner().invoke(precision.main, f"--photos {tmp_path} --count 2 --weights {tiny_checkpoint} --json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["photographs"] == 2
    exact, *others = document["ways"]
    assert exact["precision"].endswith("in torch, regions float32")
    expected = ["bfloat16"] * has_bfloat16("cpu") + ["int8"] * can_multiply_int8()
    assert [way["precision"].split()[-1] for way in others] == expected
    for way in others:
        assert 0.9 < way["cosine_5"] <= way["cosine"] < 1.001 and 0 <= way["found_again"] <= 1


def test_the_same_network_agrees_and_another_one_does_not(tmp_path: Path, tiny_predictor: Predictor) -> None:
    images = [Image.open(write_photo(tmp_path / f"{seed}.jpg", seed=seed)).convert("RGB") for seed in range(2)]
    expected, _ = described(tiny_predictor, images)
    given = [tiny_predictor.describe_boxes(i, r.boxes).embeddings for i, r in zip(images, expected, strict=True)]
    same = agreement(tiny_predictor, images, expected, given)
    assert same.found_again == same.same_phrase == 1 and abs(same.cosine - 1) < 1e-3
    other = agreement(tiny_predictor, images, expected, [np.roll(each, 1, axis=1) for each in given])
    assert other.cosine < 0.99
