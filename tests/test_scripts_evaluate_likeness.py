"""Photographs like a photograph: which examples are taken, and how what they find is judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from db.records import Features, RegionRow
from helpers.labelled_photos import write_labelled_photos
from scripts.evaluate.likeness import draw, judge, main, table


def test_examples_have_company() -> None:
    answers = {"a dog": {1, 2, 3, 4}, "a cat": {5}, "nothing": set()}
    asked = draw(answers, 3)
    assert [text for text, _ in asked] == ["a dog"] * 3
    assert len({photo_id for _, photo_id in asked}) == 3 and draw(answers, 3) == asked
    assert len(draw(answers, 9)) == 4


def test_what_an_example_finds_is_judged_without_itself() -> None:
    # Photographs 1 to 4 of one region each; 2 is the most like 1, then 3, then 4.
    angles = np.radians([0, 10, 20, 80])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ids = np.arange(1, 5)
    features = Features(ids, ids, np.zeros((4, 1), np.float16), embeddings)
    rows = [RegionRow(i, i, (0, 0, 10, 10), 0.5, "") for i in ids.tolist()]
    answers = {"a dog": {1, 3}}
    found = judge([("a dog", 1)], answers, features, rows, 5, {})
    assert found == {"precision@5": pytest.approx(0.2), "mean_ap": pytest.approx(1 / 2)}
    # A question like 4 only: alone it ranks 4, 3, 2; beside the example 2 and 3 gain.
    words = {"a dog": embeddings[3]}
    assert judge([("a dog", 1)], answers, features, rows, 0, words)["mean_ap"] == pytest.approx(1 / 2)
    assert judge([("a dog", 1)], {"a dog": {1, 4}}, features, rows, 0, words)["mean_ap"] == 1


def test_the_program_compares_numbers_of_regions(tmp_path: Path, tiny_checkpoint: Path) -> None:
    photos, annotations = write_labelled_photos(tmp_path, 4)
    (annotations / "questions.json").write_text(json.dumps([{"question": "a lamp", "answers": [1, 2, 4]}]))
    options = ["--photos", photos, "--annotations", annotations, "--weights", tiny_checkpoint, "--device", "cpu"]
    result = CliRunner().invoke(main, [*map(str, options), "--phrase", "--json"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["examples"] == 3
    assert list(summary["results"]) == [
        "1 regions", "3 regions", "5 regions", "8 regions", "12 regions", "5 regions and the question", "the question",
    ]  # fmt: skip
    for found in summary["results"].values():
        # Of three others two answer: at best both first, at worst behind the third.
        assert 0.58 < found["mean_ap"] <= 1 and found["precision@5"] == pytest.approx(0.4)
    assert table(summary).splitlines()[-1].split()[0] == "chance"
    (annotations / "questions.json").write_text(json.dumps([{"question": "a lamp", "answers": [1]}]))
    result = CliRunner().invoke(main, list(map(str, options)))
    assert result.exit_code != 0 and "No question is answered by two photographs" in result.output
