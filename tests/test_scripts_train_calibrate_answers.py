"""What is asked of labelled photographs, the fit, and the program itself on a few drawn photographs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.checkpoint import load_checkpoint
from fcln.scoring import AnswerCalibration
from helpers.labelled_photos import write_labels, write_photo
from scripts.evaluate.errors import EvaluationError
from scripts.train.calibrate_answers import Asked, LabelledSet, fit, half, judge, main, pairs_of, ridge
from scripts.train.choose_confidence import Described
from search.probability import answer_probabilities, phrase_offsets


def described(*embeddings) -> Described:
    vectors = np.array(embeddings, np.float32)
    return Described(
        np.zeros((len(vectors), 4)), np.full(len(vectors), 0.5), vectors, np.zeros((0, 4)), [], frozenset()
    )


def test_ridge_finds_a_linear_function():
    vectors = np.random.default_rng(0).normal(size=(5000, 2))
    assert ridge(vectors, 0.3 + vectors @ [0.5, -0.2]) == pytest.approx((0.5, -0.2, 0.3), abs=1e-3)


def world(seed: int, truth: AnswerCalibration) -> LabelledSet:
    """Photographs that show what they are asked for with the probability that known numbers say."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(30, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    photos = []
    for _ in range(400):
        regions = rng.normal(size=(6, 4))
        photos.append(described(*(regions / np.linalg.norm(regions, axis=1, keepdims=True))))
    closest = np.stack([(vectors @ photo.embeddings.T).max(axis=1) for photo in photos], axis=1)
    shows = rng.random(closest.shape) < answer_probabilities(truth, phrase_offsets(truth, vectors), closest)
    return LabelledSet(photos, [Asked(vector, row, ~row) for vector, row in zip(vectors, shows)])


TRUTH = AnswerCalibration(-6.0, 7.0, 0.0, 0.0, (0.0,) * 5, (0.0,) * 5, 0.2)


def test_the_fit_finds_numbers_that_tell_the_truth():
    fitted = fit([world(0, TRUTH)], np.random.default_rng(1).normal(size=(50, 4)))
    assert fitted.closest == pytest.approx(7.0, abs=0.6)
    assert judge([world(2, TRUTH)], fitted)["calibration_error_from_0.1"] < 0.03
    wrong = AnswerCalibration(-2.0, 7.0, 0.0, 0.0, (0.0,) * 5, (0.0,) * 5, 0.2)
    assert judge([world(2, TRUTH)], wrong)["calibration_error_from_0.1"] > 0.1


def test_pairs_that_neither_show_nor_lack_are_not_asked():
    photos = [described((1, 0)), described((0, 1)), described((0.6, 0.8))]
    asked = Asked(np.array([1.0, 0.0]), np.array([True, False, False]), np.array([False, True, False]))
    fitted = fit([LabelledSet(photos, [asked] * 20)], np.eye(2))
    assert fitted.prevalence == 0.5
    with pytest.raises(EvaluationError, match="all of them show"):
        fit([LabelledSet(photos, [Asked(asked.vector, asked.shows, np.zeros(3, bool))])], np.eye(2))


def test_pairs_are_asked_for_together_if_both_are_often_there_and_not_the_same():
    shows = np.zeros((4, 40), bool)
    shows[0, :20], shows[1, 10:30], shows[2, 25:], shows[3, :20] = True, True, True, True
    things = [Asked(np.ones(1), row, ~row) for row in shows]
    assert pairs_of(things) == [(0, 1), (1, 3)]  # 10 each; 5 of the second and third, and the last is the first


def test_all_parts_at_once_are_rarer_than_each():
    rng = np.random.default_rng(0)
    vectors = np.eye(4)
    photos = [described(*(row / np.linalg.norm(row) for row in rng.normal(size=(3, 4)))) for _ in range(3000)]
    closest = np.stack([(vectors @ photo.embeddings.T).max(axis=1) for photo in photos], axis=1)
    shows = rng.random(closest.shape) < 1 / (1 + np.exp(-(8 * closest - 4)))
    one = LabelledSet(photos, [Asked(v, row, ~row) for v, row in zip(vectors, shows)], [(0, 1), (0, 2), (1, 3)])
    fitted = fit([one], rng.normal(size=(50, 4)))
    assert fitted.parts_constant < -0.3 and fitted.parts_slope > 1
    assert judge([one], fitted)["pairs_calibration_error_from_0.1"] < 0.05


def test_halves_are_disjoint_and_complete():
    photos = [described((number, 1)) for number in range(5)]
    one = LabelledSet(photos, [Asked(np.ones(2), np.arange(5) == 3, np.arange(5) == 4)])
    first, second = half(one, 0), half(one, 1)
    assert [photo.embeddings[0, 0] for photo in first.photos] == [0, 2, 4]
    assert second.asked[0].shows.tolist() == [False, True] and first.asked[0].lacks.tolist() == [False, False, True]


@pytest.fixture
def folders(tmp_path):
    """A set of labelled regions, and one of questions that list their answers."""
    labels = {
        number: [((0, 0, 96, 64), "a red dog" if number % 4 < 2 else "a brown lamp"), ((8, 8, 40, 40), "the man")]
        for number in range(1, 13)
    }
    for number in range(1, 25):
        write_photo(tmp_path / "photos" / f"{number}.jpg", seed=number)
    boxed = write_labels(tmp_path / "boxed", labels)
    listed = write_labels(tmp_path / "listed", {number: [] for number in range(13, 25)})
    questions = [{"question": "a dog", "answers": [13, 14, 15]}, {"question": "dog on a lamp", "answers": [16]}]
    (listed / "questions.json").write_text(json.dumps(questions))
    return tmp_path / "photos", boxed, listed


def test_the_numbers_are_stored_with_the_weights(tiny_checkpoint, tmp_path, folders):
    photos, boxed, listed = folders
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(tiny_checkpoint.read_bytes())
    before = load_checkpoint(weights)
    options = [weights, "--photos", photos, "--annotations", boxed, "--photos", photos, "--annotations", listed]
    kept = ["--collection", tmp_path / "kept1", "--collection", tmp_path / "kept2", "--device", "cpu"]
    dry = run(*options, *kept, "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    assert weights.read_bytes() == tiny_checkpoint.read_bytes()
    report = json.loads(dry.stdout)
    assert [one["photographs"] for one in report["judged_on"]] == [6, 6]
    assert report["judged_on"][1]["phrases"] == 1  # the question of two things is not one phrase
    assert report["fitted_on"][1]["shown"] + report["judged_on"][1]["shown"] == 3
    result = run(*options, *kept)
    assert result.exit_code == 0, result.output
    assert "set 2: calibration error" in result.stdout
    after = load_checkpoint(weights)
    assert after.scoring.answers == AnswerCalibration.from_json(report["answers"])
    assert after.scoring.calibration == before.scoring.calibration
    for (name, a), b in zip(before.model.state_dict().items(), after.model.state_dict().values(), strict=True):
        assert a.equal(b), name


def test_options_that_belong_together_are_counted(tiny_checkpoint, folders):
    photos, boxed, listed = folders
    result = run(tiny_checkpoint, "--photos", photos, "--annotations", boxed, "--annotations", listed)
    assert result.exit_code == 2 and "belong together" in result.output


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])
