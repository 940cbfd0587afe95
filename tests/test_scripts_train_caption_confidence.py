"""How sure it is of a region and its phrase, fitted: figures by hand, and the command with a stand-in for METEOR."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.caption_confidence import WEIGHTS, confidence_features
from helpers.labelled_photos import write_labels, write_photo
from scripts.evaluate.dense_captioning_metric import Labels, Prediction, remembered
from scripts.train.caption_confidence import Example, fit_and_judge, main, rightness
from test_scripts_evaluate_captions import BOXES, SameWords, same

SIZE = (100, 100)


def example(boxes: list, scores: list[float], captions: list[str], labels: Labels) -> Example:
    found = Prediction(np.array(boxes, float), np.array(scores), captions)
    return Example(labels, found, confidence_features(found.boxes, found.scores, captions, SIZE))


def test_rightness_is_the_share_of_thresholds_that_a_region_passes() -> None:
    labels = Labels(np.array([[0, 0, 40, 40], [60, 60, 100, 100]], float), [["a dog"], ["a cat"]])
    boxes = [
        [0, 0, 40, 40],  # the dog's, but a surer one has it
        [0, 0, 40, 22],  # IoU 0.55: passes 0.3, 0.4 and 0.5 of five
        [60, 60, 100, 100],  # says something else
        [45, 0, 50, 10],  # touches nothing
    ]
    right = rightness(example(boxes, [0.5, 0.9, 0.8, 0.7], ["a dog", "a dog", "a cow", "a dog"], labels), same)
    assert right.tolist() == pytest.approx([0, 3 / 5, 0, 0])


def test_where_duplicates_are_surer_than_other_things_the_fit_puts_them_last() -> None:
    """Of each thing two boxes with scores of 0.9 and 0.8, and of another one, with 0.5: right but after both."""
    labels = Labels(np.array([[0, 0, 40, 40], [60, 60, 100, 100]], float), [["a dog"], ["a cat"]])
    boxes = [[0, 0, 40, 40], [0, 0, 40, 38], [60, 60, 100, 100]]
    examples = [example(boxes, [0.9, 0.8, 0.5], ["a dog", "a dog", "a cat"], labels) for _ in range(8)]
    report = fit_and_judge(examples, same)
    assert report["mean_ap"]["confidence"] == report["localization_ap"]["confidence"] == pytest.approx(100)
    assert report["mean_ap"]["score"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert report["weights"][3] + report["weights"][4] < 0  # overlaps
    assert (report["photographs"], report["now"]) == (8, list(WEIGHTS))


def test_a_region_without_a_phrase_comes_last() -> None:
    labels = Labels(np.array([[0, 0, 40, 40]], float), [["a dog"]])
    examples = [example([[50, 50, 60, 60], [0, 0, 40, 40]], [0.9, 0.3], ["", "a dog"], labels) for _ in range(4)]
    assert fit_and_judge(examples, same)["mean_ap"] == pytest.approx({"score": 50, "confidence": 100})


def test_each_question_is_asked_once() -> None:
    asked = []

    def closeness(captions, references) -> list[float]:
        asked.extend(captions)
        return same(captions, references)

    ask = remembered(closeness)
    assert ask(["a", "b", "a"], [["a"], ["x"], ["a"]]) == [1, 0, 1]
    assert ask(["b", "a"], [["x"], ["b"]]) == [0, 0]
    assert asked == ["a", "b", "a"]  # of another thing


def test_the_command_prints_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_checkpoint: Path) -> None:
    monkeypatch.setattr("scripts.train.caption_confidence.Meteor", SameWords)
    numbers = range(1, 6)
    for number in numbers:
        write_photo(tmp_path / "photos" / f"{number}.jpg", seed=number)
    (tmp_path / "photos" / "5.jpg").write_bytes(b"no photograph")
    write_labels(tmp_path / "labels", {number: [(box, "a dog") for box in BOXES] for number in numbers})
    command = ["--photos", str(tmp_path / "photos"), "--annotations", str(tmp_path / "labels")]
    command += ["--weights", str(tiny_checkpoint), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["photographs"] == 4 and np.isfinite(report["weights"]).all() and len(report["weights"]) == 6
    assert "Left out" in result.stderr and "5.jpg" in result.stderr
    few = CliRunner().invoke(main, [*command, "--images", "4"])
    assert few.exit_code == 0 and "weights (" in few.stdout
    (tmp_path / "photos" / "4.jpg").write_bytes(b"no photograph")
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 1 and "four are needed" in refused.stderr
