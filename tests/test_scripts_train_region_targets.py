"""scripts.train.region_targets: what the classifier is shown, and the file that training reads."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from fcln.modeling.efficientnet_lite import LiteClassifier
from fcln.training.annotations import load_annotations
from fcln.training.region_targets import RegionTargets
from helpers.small_world import COLOURS, region, write_json, write_photo
from scripts.train import region_targets
from scripts.train.region_targets import _Photos, main


@pytest.fixture
def world(tmp_path):
    """Photograph 1 has a red box and a blue one of a detector, on grey; 2 has a name alone."""
    photos = tmp_path / "photos"
    write_photo(photos / "1.jpg", (448, 320), [((0, 0, 100, 100), "red"), ((200, 100, 200, 200), "blue")])
    write_photo(photos / "2.jpg", (320, 448), [((0, 0, 320, 448), "green")])
    annotations = write_json(
        tmp_path / "annotations",
        image_data=[{"image_id": 1, "width": 224, "height": 160}, {"image_id": 2, "width": 320, "height": 448}],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 50, 50), "a red square")]}],
        objects=[{"image_id": 1, "objects": [{"name": "blue", "x": 100, "y": 50, "width": 100, "height": 100}]}],
        names=[{"image_id": 2, "names": ["green"]}],
    )
    return photos, annotations


def test_boxes_are_shown_with_their_surroundings_within_the_photograph(world):
    photographs = load_annotations(*world, weak_labels=True, names=True)
    pixels, boxes = _Photos(photographs)[0]
    assert pixels.shape == (320, 448, 3)
    # In the annotations' frame of half the size: 0..50 and 5 more, 100..200 and 10 more by 50..150 and 10 more.
    np.testing.assert_allclose(boxes, [[0, 0, 448, 320], [0, 0, 110, 110], [180, 80, 420, 320]], atol=1e-3)
    assert len(_Photos(photographs)[1][1]) == 1  # the whole alone


class Seer(torch.nn.Module):
    """In the classifier's place: says the mean colour, and the class that is 0, 1 or 2 for red, green, blue."""

    def forward(self, images):
        means = images.mean((2, 3))
        return means, torch.cat([means * 20, torch.full((len(means), 7), -100.0)], 1)


@pytest.mark.parametrize("batch", [1, 2, 3, 128])
def test_the_file_that_training_reads(world, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(region_targets, "load_classifier", lambda path: Seer())
    monkeypatch.setattr(region_targets, "_BATCH", batch)
    out = tmp_path / "runs" / "targets.h5"
    options = ["--photos", world[0], "--annotations", world[1], "--device", "cpu"]
    result = CliRunner().invoke(main, [str(out), *map(str, options)])
    assert result.exit_code == 0, result.output
    assert "4 regions of 2 photographs" in result.output
    targets = RegionTargets(out)
    assert list(targets.rows(1, 2)) == [0, 1, 2] and list(targets.rows(2, 0)) == [3]
    assert targets.classes[1:, 0].tolist() == [0, 2, 1]  # the red box, the blue one, the green photograph
    assert (targets.probabilities[1:, 0] > 0.9).all() and targets.probabilities.shape == (4, 5)
    red = (np.array(COLOURS["red"]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert (abs(targets.vectors[1].astype(float) - red) < 0.4).all()  # a tenth of it is surroundings
    assert targets.vectors[0].tolist() != targets.vectors[1].tolist()


def test_the_classifier_takes_what_it_is_shown():
    pooled, logits = LiteClassifier().eval()(torch.zeros(2, 3, 64, 64))
    assert pooled.shape == (2, 1280) and logits.shape == (2, 1000)


def test_what_is_missing_is_a_sentence(world, tmp_path):
    (world[1] / "objects.json").unlink()
    options = ["--photos", world[0], "--annotations", world[1], "--device", "cpu"]
    result = CliRunner().invoke(main, [str(tmp_path / "t.h5"), *map(str, options)])
    assert result.exit_code == 1 and "objects.json is missing" in result.output


def test_folders_belong_together(world, tmp_path):
    options = ["--photos", world[0], "--photos", world[0], "--annotations", world[1], "--device", "cpu"]
    result = CliRunner().invoke(main, [str(tmp_path / "t.h5"), *map(str, options)])
    assert result.exit_code == 2 and "--annotations" in result.output and not (tmp_path / "t.h5").exists()
