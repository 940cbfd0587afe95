"""Which scoring becomes the default, on figures written by hand; the program itself on a few drawn photographs."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.scoring import Calibration
from scripts.train.choose_scoring import choose, main, score


def test_a_querys_score_counts_three_depths():
    assert [score(rank) for rank in (1, 2, 5, 6, 10, 11)] == pytest.approx([1, 2 / 3, 2 / 3, 1 / 3, 1 / 3, 0])


def test_the_language_model_must_be_clearly_better():
    embedding = np.array([1, 0, 0, 1, 0, 0, 1, 0] * 10) / 1.0
    lucky = embedding.copy()
    lucky[1] = 1  # one query of eighty: within two standard errors
    better = np.maximum(embedding, np.array([0, 1, 0, 0, 1, 0, 0, 1] * 10))
    figures = {("embedding", 0.0): embedding, ("likelihood", 0.0): embedding * 0, ("fused", 0.1): lucky}
    assert choose(figures).default == "embedding"
    assert choose(figures).fused_weight == 0.1
    chosen = choose({**figures, ("fused", 0.3): better})
    assert (chosen.default, chosen.fused_weight) == ("fused", 0.3)


def test_the_choice_is_stored_with_the_weights(tiny_checkpoint, tmp_path):
    photos, annotations = tmp_path / "photos", tmp_path / "annotations"
    photos.mkdir()
    annotations.mkdir()
    rng = np.random.default_rng(0)
    data, described = [], []
    phrases = ["a red dog", "the brown dog", "two red lamp", "man on couch", "a brown couch"]
    for number in range(1, 4):
        Image.fromarray(rng.integers(0, 255, (80, 96, 3), dtype=np.uint8)).save(photos / f"{number}.jpg")
        data.append({"image_id": number, "width": 96, "height": 80})
        regions = [{"x": 5 * i, "y": 4, "width": 40, "height": 50, "phrase": p} for i, p in enumerate(phrases)]
        described.append({"id": number, "regions": regions})
    (annotations / "image_data.json").write_text(json.dumps(data))
    (annotations / "region_descriptions.json").write_text(json.dumps(described))
    weights = tmp_path / "w.safetensors"
    calibration = Calibration((1.0, 2.0, 3.0), (4.0, 5.0, 6.0, 7.0), 0.02)  # what else is stored stays
    before = load_checkpoint(tiny_checkpoint)
    save_checkpoint(weights, replace(before, scoring=replace(before.scoring, calibration=calibration)))
    command = [str(weights), "--photos", str(photos), "--annotations", str(annotations), "--queries", "3"]
    unchanged = weights.read_bytes()
    tried = CliRunner().invoke(main, [*command, "--dry-run"])
    assert tried.exit_code == 0, tried.output
    assert weights.read_bytes() == unchanged
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == tried.output.splitlines()[-1]
    after = load_checkpoint(weights)
    assert after.scoring.calibration == calibration
    assert f"fused weight {after.scoring.fused_weight:g}" in result.output
    for (name, a), b in zip(before.model.state_dict().items(), after.model.state_dict().values(), strict=True):
        assert a.equal(b), name
