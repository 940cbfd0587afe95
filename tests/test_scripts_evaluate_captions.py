"""Dense captioning measured on photographs: the command with a stand-in for METEOR."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from decoding.photos import OpenedPhoto
from fcln.caption_confidence import caption_confidences
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from helpers.labelled_photos import write_labels, write_photo
from scripts.evaluate.captions import Described, labelled_captions, main, summarize, table
from scripts.evaluate.dense_captioning_metric import Labels, Prediction
from scripts.evaluate.errors import EvaluationError

BOXES = ((0, 0, 40, 40), (50, 10, 40, 50), (20, 30, 60, 30))  # x y width height; no two overlap by much


def same(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    return [float(caption in texts) for caption, texts in zip(captions, references, strict=True)]


class SameWords:
    """In METEOR's place: 1 for a caption that somebody wrote word for word, else 0."""

    def __enter__(self) -> "SameWords":
        return self

    def __exit__(self, *_: object) -> None: ...

    def check(self) -> None: ...

    def __call__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        return same(captions, references)


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.evaluate.captions.Meteor", SameWords)


def run(folder: Path, weights: Path, options: str = "--json"):
    command = f"--photos {folder / 'photos'} --annotations {folder / 'labels'} --weights {weights} --device cpu"
    return CliRunner().invoke(main, f"{command} {options}")


def test_a_network_that_says_what_people_said_scores_100(
    no_java: None, tmp_path: Path, tiny_checkpoint: Path, tiny_predictor: Predictor
) -> None:
    regions = {}
    for image_id in (1, 2):
        path = write_photo(tmp_path / "photos" / f"{image_id}.jpg", seed=image_id)
        with open(path, "rb") as file:
            image = OpenedPhoto(file).decode().image
        corners = np.array([(x, y, x + w, y + h) for x, y, w, h in BOXES])
        said = tiny_predictor.describe_boxes(image, corners).phrases
        assert all(said)
        regions[image_id] = list(zip(BOXES, said, strict=True))
    write_labels(tmp_path / "labels", regions)
    result = run(tmp_path, tiny_checkpoint, "--max-regions 8 --json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    given = summary["labelled_boxes"]
    assert (given["mean_ap"], given["localization_ap"], given["meteor"]) == pytest.approx((100, 100, 1))
    assert given["ap"]["0.7"]["0.25"] == given["localization_ap_at"]["0.3"] == pytest.approx(100)
    assert (given["labels"], given["regions"], summary["images"], summary["boxes"]) == (6, 6, 2, 6)
    found = summary["predicted_boxes"]
    assert 0 <= found["mean_ap"] <= found["localization_ap"] <= 100
    assert found["labels"] == 6 and 2 <= found["regions"] <= 16
    for k, more in (("10", "50"), ("50", "100"), ("100", "300")):
        assert all(summary["box_recall"][k][t] <= summary["box_recall"][more][t] for t in ("0.3", "0.5", "0.7"))


def test_regions_are_ranked_as_they_are_described_or_by_their_scores(
    no_java: None, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo(tmp_path / "photos" / "1.jpg", seed=1)
    write_labels(tmp_path / "labels", {1: [(BOXES[0], "a dog")]})
    asked = []

    def summarized(photos: Sequence[Described], closeness: object) -> dict:
        asked.append(photos[0])
        return summarize(photos, SameWords())

    monkeypatch.setattr("scripts.evaluate.captions.summarize", summarized)
    for options in ("--json", "--rank-by score --json"):
        assert run(tmp_path, tiny_checkpoint, options).exit_code == 0
    ranked, by_score = (photo.predicted for photo in asked)
    size = load_annotations(tmp_path / "photos", tmp_path / "labels")[0]
    expected = caption_confidences(by_score.boxes, by_score.scores, by_score.captions, (size.width, size.height))
    np.testing.assert_array_equal(ranked.boxes, by_score.boxes)
    np.testing.assert_array_equal(ranked.scores, expected)
    np.testing.assert_array_equal(asked[0].given.scores, asked[1].given.scores)


def test_regions_that_overlap_are_left_out_as_is_asked(no_java: None, tmp_path: Path, tiny_checkpoint: Path) -> None:
    write_photo(tmp_path / "photos" / "1.jpg", seed=1)
    write_labels(tmp_path / "labels", {1: [(BOXES[0], "a dog")]})
    counts = []
    for options in ("", "--suppression 1", "--suppression 0.3", "--suppression 0"):
        result = run(tmp_path, tiny_checkpoint, f"{options} --json")
        assert result.exit_code == 0, result.output
        counts.append(json.loads(result.stdout)["predicted_boxes"]["regions"])
    own, everything, third, apart = counts  # the little network's own is 0.48, and nothing of it lies between
    assert everything > own >= third > apart >= 1


def test_photographs_that_cannot_be_judged_are_named(no_java: None, tmp_path: Path, tiny_checkpoint: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("no photograph")
    write_photo(tmp_path / "photos" / "2.jpg")
    write_photo(tmp_path / "photos" / "3.jpg")
    write_labels(tmp_path / "labels", {1: [(BOXES[0], "a dog")], 2: [(BOXES[0], "?!")], 3: [(BOXES[0], "a dog")]})
    result = run(tmp_path, tiny_checkpoint)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 1
    assert "1.jpg: a text file, not a photograph" in result.stderr
    assert "2.jpg: it has no phrase of 1 to 15 words" in result.stderr
    result = run(tmp_path, tiny_checkpoint, "--images 2")
    assert result.exit_code == 1
    assert "No photograph is left" in result.stderr


def test_without_meteor_one_sentence_says_what_to_install(
    tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photo(tmp_path / "photos" / "1.jpg")
    write_labels(tmp_path / "labels", {1: [(BOXES[0], "a dog")]})
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run(tmp_path, tiny_checkpoint)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: METEOR is ") and result.stderr.count("\n") == 1
    assert "install" in result.stderr and not result.stdout


def test_a_meteor_that_died_is_told_before_anything_is_described(
    no_java: None, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(self: SameWords) -> None:
        raise EvaluationError("METEOR's Java program has stopped.")

    monkeypatch.setattr(SameWords, "check", check)
    monkeypatch.setattr("scripts.evaluate.captions.describe", None)
    write_photo(tmp_path / "photos" / "1.jpg")
    write_labels(tmp_path / "labels", {1: [(BOXES[0], "a dog")]})
    result = run(tmp_path, tiny_checkpoint)
    assert result.exit_code == 1 and "Error: METEOR's Java program has stopped." in result.stderr


def test_labels_are_words_in_the_frame_of_the_image(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / "1.jpg")
    thing, other = (10, 20, 30, 40), (0, 0, 96, 64)
    long, longest = "a " * 16, "a " * 15
    labels = [(thing, "A man's T-shirt!"), (other, "?!"), (other, long), (thing, "shirt"), (other, longest)]
    write_labels(tmp_path / "labels", {1: labels})
    (photograph,) = load_annotations(tmp_path / "photos", tmp_path / "labels")
    boxes, captions = labelled_captions(photograph, (192, 64))
    assert captions == ["a mans tshirt", "shirt", longest.strip()]
    assert boxes.tolist() == [[20, 20, 80, 60], [20, 20, 80, 60], [0, 0, 192, 64]]


def described(found: tuple[float, ...], overlaps: dict[int, list[float]]) -> Described:
    """A photograph with two labelled boxes; the network finds one box and says "a dog", of given boxes too."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5]])
    return Described(
        Labels(boxes, [["a dog"], ["a dog", "a lamp"]]),
        Prediction(np.array([found]), np.array([0.5]), ["a dog"]),
        Prediction(boxes, np.array([0.5, 0.4]), ["a dog", "a dog"]),
        {k: np.array(values) for k, values in overlaps.items()},
    )


def test_the_table_says_what_the_summary_says() -> None:
    first = described((0, 0, 10, 10), {10: [0.1, 0.2], 50: [0.3, 0.2], 100: [0.5, 0.3], 300: [0.9, 0.7]})
    second = described((50, 0, 60, 10), {10: [0.3, 0.2], 50: [0.3, 0.2], 100: [0.3, 0.3], 300: [0.3, 0.5]})
    summary = summarize([first, second], same)
    assert json.loads(json.dumps(summary)) == summary
    # One of four labelled boxes is found, at precision 1 (it has the same score as the wrong one, and comes first).
    quarter = 100 * 26 / 101
    assert summary["predicted_boxes"]["mean_ap"] == pytest.approx(quarter)
    assert summary["predicted_boxes"]["ap"]["0.5"]["0.05"] == pytest.approx(quarter)
    assert summary["predicted_boxes"]["meteor"] == 1
    assert summary["labelled_boxes"]["mean_ap"] == pytest.approx(100)
    assert summary["box_recall"]["10"] == {"0.3": 0.25, "0.5": 0.0, "0.7": 0.0}
    assert summary["box_recall"]["100"] == {"0.3": 1.0, "0.5": 0.25, "0.7": 0.0}
    assert summary["box_recall"]["300"] == {"0.3": 1.0, "0.5": 0.75, "0.7": 0.5}
    lines = [" ".join(line.split()) for line in table(summary).splitlines()]
    assert lines[0] == "2 images, 4 labelled boxes, 4 merged ones, 2 regions found"
    assert "predicted boxes 25.74 1.000 25.74" in lines
    assert "labelled boxes 100.00 1.000 100.00" in lines
    assert " ".join(["IoU>=0.7", *["25.74"] * 7]) in lines
    assert "300 proposals 1.000 0.750 0.500" in lines
