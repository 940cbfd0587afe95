"""The paper's baselines: what they are trained on, and that they are Image RNNs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcln.checkpoint import new_model
from fcln.training.annotations import AnnotatedImage
from fcln.training.baselines import baseline_config, region_crops, whole_photographs
from fcln.training.loader import BatchLoader
from fcln.training.losses import AuxiliaryLosses, training_losses
from fcln.training.trainer import Trainer, TrainingConfig
from helpers.small_world import tiny_config, vocabulary, word_pieces, write_photo


@pytest.fixture
def photograph(tmp_path) -> AnnotatedImage:
    """100 x 50 pixels, the right half red: a labelled box on it, and a detector's."""
    write_photo(tmp_path / "1.png", (100, 50), [((50, 0, 50, 50), "red")])
    return AnnotatedImage(
        1, tmp_path / "1.png", 100, 50, np.array([[60, 10, 90, 30], [0, 0, 20, 20]], np.float32),
        (("a red square", "red"), ("white",)), ("a square", "a red square"), (False, True),
        numbers=(0, 1),
    )  # fmt: skip


def test_the_full_image_rnn_reads_whole_photographs_with_captions(photograph):
    (whole,) = whole_photographs([photograph, replace(photograph, captions=())])
    assert whole.boxes.tolist() == [[0, 0, 100, 50]]
    assert whole.phrases == (("a square", "a red square"),) and whole.weak == (False,) and whole.captions == ()


def test_the_region_rnn_reads_crops_of_what_people_labelled(photograph):
    (crop,) = region_crops([photograph])
    assert (crop.width, crop.height) == (30, 20) and crop.boxes.tolist() == [[0, 0, 30, 20]]
    assert crop.phrases == (("a red square", "red"),)
    assert crop.window == pytest.approx((0.6, 0.2, 0.9, 0.6))


def model_and_loader(photographs: list[AnnotatedImage], **options):
    torch.manual_seed(0)
    config = baseline_config(tiny_config(), max_words=5)
    assert (config.image_rnn, config.stride8_features, config.context, config.max_words) == (True, False, False, 5)
    model = new_model(config, vocabulary(), word_pieces())
    loader = BatchLoader(photographs, vocabulary(), word_pieces(), config, batch_size=1, seed=1, **options)
    return model, loader


@pytest.mark.parametrize("augment", [False, True])
def test_a_crops_pixels_are_those_of_its_window(photograph, augment):
    _, loader = model_and_loader(region_crops([photograph]), flip=False, augment=augment)
    batch = loader.batch([0], (1,))
    width, height = batch.sizes[0].tolist()
    assert batch.boxes[0].tolist() == [[0, 0, width, height]]
    red, green = batch.images[0, 0].float(), batch.images[0, 1].float()
    assert (red > 2 * green).all()  # nothing but the red half, however it is tinted


def test_only_captions_train_it(photograph):
    model, loader = model_and_loader(whole_photographs([photograph]))
    batch = loader.batch([0], (1,))
    features = model.features(batch.images.float())
    losses = training_losses(model, AuxiliaryLosses(), batch, features, torch.Generator())
    assert set(losses) == {"caption"}
    losses["caption"].backward()
    assert model.backbone[0][0].weight.grad.any() and model.language.output.weight.grad.any()
    assert model.localization.score.weight.grad is None


def test_it_trains_and_finds_the_whole_photograph_alone(photograph, tmp_path):
    model, loader = model_and_loader(whole_photographs([photograph]))
    training = TrainingConfig(epochs=30, batch_size=1, learning_rate=5e-3, warmup=2, bfloat16=False)
    lines: list[dict] = []
    Trainer(model, loader, training, tmp_path / "run").run(window=10, report=lines.append)
    assert lines[-1]["caption"] < 0.7 * lines[0]["caption"]
    model.eval()
    features = model.features(torch.zeros(2, 3, 32, 64))
    found = model.detect(features, torch.tensor([[64.0, 32.0], [50.0, 32.0]]), max_regions=50)
    assert [d.boxes.tolist() for d in found] == [[[0, 0, 64, 32]], [[0, 0, 50, 32]]]
    assert found[0].scores.tolist() == [1.0]
