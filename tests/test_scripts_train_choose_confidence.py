"""How verdicts are drawn and figures computed, by hand; the program itself on a few drawn photographs."""

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from fcln.checkpoint import load_checkpoint
from fcln.scoring import AnswerCalibration, Calibration
from helpers.labelled_photos import write_labelled_photos, write_labels, write_photo
from scripts.train.choose_confidence import (
    RIGHT,
    UNKNOWN,
    WRONG,
    Case,
    Described,
    calibration_error,
    detection_precision,
    find_things,
    fit,
    fit_logistic,
    judge,
    judge_collection,
    main,
    make_cases,
    match,
    prevalence,
    reliability,
    thresholds,
)
from search.calibration import confidences


def described(phrases, *, captions="", labelled=((0, 0, 10, 10), (50, 0, 60, 10)), similarities=(0, 0, 0, 0)):
    """A photograph of four regions: on the first box, half on it, on the second, on nothing."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 4], [50, 0, 60, 10], [80, 80, 90, 90]], float)
    texts = [captions, *(phrase for box in phrases for phrase in box)]
    return Described(
        boxes,
        np.full(4, 0.5),
        np.array(similarities, np.float32)[:, None],
        np.array(labelled[: len(phrases)], float),
        [frozenset(box) for box in phrases],
        frozenset(word for text in texts for word in text.split()),
    )


def encode(phrases):
    return np.ones((len(phrases), 1), np.float32)


def nouns(phrase):
    """Noun phrases as the network's tagger finds them."""
    return [part for part in phrase.split(" in ") if part != "two"]


# -- which photographs lack a phrase


def test_a_photograph_lacks_what_nobody_mentions():
    things = find_things([described([["a dog"]]), described([["a cat"]])], nouns)
    assert things.lacks(described([["a cat"]], captions="it sleeps"), "a dog")
    assert not things.lacks(described([["a cat"]], captions="the dog looks"), "a dog")


def test_words_that_people_use_for_the_same_boxes_stand_for_the_same_things():
    photos = [described([["a man", "the guy"]]), *[described([["a man"]])] * 9, described([["a woman"]])]
    things = find_things(photos, nouns)
    assert not things.lacks(described([["one guy"]]), "a man")  # all boxes of "guy" are called "man" too
    assert not things.lacks(described([["one man"]]), "the guy")
    assert things.lacks(described([["a woman"]]), "a man")


def test_a_slip_of_one_in_many_boxes_makes_no_synonym():
    photos = [described([["a man", "a woman"]]), *[described([["a man"]])] * 10, *[described([["a woman"]])] * 10]
    things = find_things(photos, nouns)
    assert things.lacks(described([["one woman"]]), "a man")


def test_every_thing_of_a_phrase_must_be_lacking():
    things = find_things([described([["a man in a hat"]])], nouns)
    assert not things.lacks(described([["a red hat"]]), "a man in a hat")
    assert not things.lacks(described([["one man"]]), "a man in a hat")
    assert things.lacks(described([["a dog"]]), "a man in a hat")


def test_a_phrase_without_a_noun_phrase_stands_for_its_last_word():
    things = find_things([described([["two"]])], nouns)
    assert things.lacks(described([["a dog"]]), "two")
    assert not things.lacks(described([["two dogs"]]), "two")


# -- which regions are right


def test_verdicts_in_a_phrases_own_photograph():
    own, other = described([["a brown dog", "the dog"], ["a black dog"]]), described([["a cat"]])
    cases = make_cases([own, other], find_things([own, other], nouns), encode, seed=0)
    assert [case.present for case in cases] == [True, False] * 4
    verdicts = {
        phrase: case.verdicts.tolist()
        for phrase, case in zip(("a black dog", "a brown dog", "the dog", "a cat"), cases[::2])
    }
    # The second region overlaps the first box by 0.4 only; the fourth touches nothing that anybody labelled.
    assert verdicts["a brown dog"] == [RIGHT, WRONG, WRONG, UNKNOWN]
    assert verdicts["a black dog"] == [WRONG, WRONG, RIGHT, UNKNOWN]
    # In the second photograph nobody labelled where the third region is.
    assert verdicts["a cat"] == [RIGHT, WRONG, UNKNOWN, UNKNOWN]
    for case in cases[1::2]:
        assert case.verdicts.tolist() == [WRONG] * 4
        assert case.overlaps.shape == (4, 0)


def test_a_phrase_with_all_the_words_names_the_same():
    photos = [described([["the dog"], ["the big dog"]]), described([["a cat"]])]
    cases = make_cases(photos, find_things(photos, nouns), encode, seed=0)
    big, dog = (case for case in cases[:4] if case.present)
    assert dog.verdicts.tolist() == [RIGHT, WRONG, RIGHT, UNKNOWN]
    assert big.verdicts.tolist() == [WRONG, WRONG, RIGHT, UNKNOWN]
    assert dog.overlaps.shape == (4, 1)  # it is still one box that is labelled with the phrase


def test_prevalence():
    photos = [
        described([["a dog"]]),
        described([["a dog"]]),
        described([["a cat"]]),
        described([["a bird"]], captions="dog"),
    ]
    things = find_things(photos, nouns)
    # dog: 2 of 3, for one photograph mentions a dog without a label; cat and bird: 1 of 4.
    assert prevalence(photos, things) == pytest.approx((2 + 1 + 1) / (3 + 4 + 4))


# -- the fit


def test_logistic_regression_finds_the_odds():
    # Without a slope: 3 of 4 are 1. With one: odds of 1 and of 4 at 0 and at 1.
    assert fit_logistic(np.ones((400, 1)), np.array([1, 1, 1, 0] * 100)) == pytest.approx([math.log(3)], abs=1e-3)
    features = np.stack([np.ones(1000), np.repeat([0.0, 1.0], 500)], axis=1)
    targets = np.concatenate([np.tile([0, 1], 250), np.tile([1, 1, 1, 1, 0], 100)])
    assert fit_logistic(features, targets) == pytest.approx([0, math.log(4)], abs=1e-3)


def test_separable_data_stay_finite():
    features = np.stack([np.ones(20), np.repeat([0.0, 1.0], 10)], axis=1)
    weights = fit_logistic(features, np.repeat([0, 1], 10))
    assert np.isfinite(weights).all()
    assert weights[1] > 5


def make_world(count, seed):
    """Photographs whose regions are right with the probability that known numbers say."""
    rng = np.random.default_rng(seed)
    boxes = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(8)], float)
    truth = Calibration(presence=(-3.0, 8.0, 0.3), place=(-2.0, 3.0, 1.0, 0.4), prevalence=0.02)
    cases = []
    while len(cases) < count:
        present = len(cases) % 2 == 0
        similarities = rng.uniform(-0.2, 0.8, (1, 8)).astype(np.float32)
        scores = rng.uniform(0.1, 0.9, 8)
        sure = confidences(truth, similarities, scores, prior=1 - 1e-9)[0]  # the place alone
        shows = confidences(truth, similarities, scores)[0, 0] / sure[0]  # the presence alone
        if (rng.random() < shows) != present:
            continue
        photo = Described(boxes, scores, np.empty((8, 0)), boxes[:1], [frozenset()], frozenset())
        verdicts = (rng.random(8) < sure).astype(int) if present else np.zeros(8, int)
        overlaps = np.eye(8)[:, verdicts == 1] if present else np.empty((8, 0))
        cases.append(Case(photo, similarities, present, verdicts, overlaps, np.zeros(1)))
    return cases, truth


def test_the_fit_finds_numbers_that_tell_the_truth():
    cases, truth = make_world(6000, seed=0)
    numbers = fit(cases, 0.02)
    assert numbers.place == pytest.approx(truth.place, abs=0.6)
    report = judge(make_world(3000, seed=1)[0], numbers)
    assert report["calibration_error"] < 0.02
    wrong = Calibration(presence=(3.0, 8.0, 0.3), place=truth.place, prevalence=0.02)
    assert judge(cases, wrong)["calibration_error"] > 0.05


def test_boxes_are_judged_with_the_presence_that_the_weights_tell():
    cases = make_world(400, seed=0)[0]
    numbers = fit(cases, 0.02)
    never = AnswerCalibration(-20.0, 0.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0), 0.5)
    assert judge(cases, numbers)["thresholds"][0]["recall"] > 0.3
    assert judge(cases, numbers, never)["thresholds"][0]["recall"] == 0


def test_every_photograph_is_asked_as_in_a_collection():
    photos = [
        described([["a dog"]], similarities=(1, 0, 0, 0)),
        described([["a cat"]], similarities=(1, 1, 0, 0)),
        described([["a cat"]], captions="dog", similarities=(1, 0, 0, 0)),
    ]
    # A region is certain if it is similar, else impossible, and the prior says that every other photograph has it.
    numbers = Calibration(presence=(0.0, 0.0, 0.0), place=(-50.0, 100.0, 0.0, 0.0), prevalence=0.5)
    # a dog: right on the first, wrong on the second twice (they overlap by just 0.4), the third neither has nor lacks
    # it. a cat: wrong on the first, right and wrong on the second, right on the third.
    rows = judge_collection(photos, find_things(photos, nouns), encode, numbers)
    assert rows == [{"from": 0.5, "answers": 7, "confidence": 0.5, "right": round(3 / 7, 4)}]
    rare = Calibration(numbers.presence, numbers.place, 0.05)
    assert judge_collection(photos, find_things(photos, nouns), encode, rare) == []


# -- the figures


def test_calibration_error_and_reliability():
    confidence, right = np.array([0.05, 0.15, 0.95, 0.85, 0.9, 1.0]), np.array([0, 1, 1, 0, 1, 0])
    # Bins 0, 1, 8, 9: |0.05 - 0|, |0.15 - 1|, |0.85 - 0|, |0.95 + 0.9 + 1 - 2|
    assert calibration_error(confidence, right) == pytest.approx((0.05 + 0.85 + 0.85 + 0.85) / 6)
    rows = reliability(confidence, right)
    assert [row["from"] for row in rows] == [0, 0.1, 0.8, 0.9]
    assert rows[3] == {"from": 0.9, "answers": 3, "confidence": 0.95, "right": 0.6667}


def test_each_labelled_box_is_found_once():
    overlaps = np.array([[0.6, 0.0], [0.9, 0.5], [0.7, 0.0], [0.4, 0.1], [0.0, 0.0], [0.0, 0.0]])
    verdicts = np.array([RIGHT, RIGHT, RIGHT, WRONG, UNKNOWN, RIGHT])
    # The second finds the other box, for the first is taken; the third is one too many; the last is right by a box that
    # carries another phrase.
    assert match(overlaps, verdicts).tolist() == [RIGHT, RIGHT, WRONG, WRONG, UNKNOWN, UNKNOWN]
    assert match(np.empty((2, 0)), np.array([WRONG, WRONG])).tolist() == [WRONG, WRONG]


def test_detection_precision():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    hits = np.array([RIGHT, WRONG, RIGHT, UNKNOWN, WRONG])
    assert detection_precision(confidence, hits, 2) == pytest.approx((1 + 2 / 3) / 2)
    assert detection_precision(confidence, hits, 4) == pytest.approx((1 + 2 / 3) / 4)
    assert detection_precision(confidence[::-1], hits, 2) == pytest.approx((2 / 4 + 2 / 4) / 2)  # never falls backwards
    assert detection_precision(np.array([0.5]), np.array([RIGHT]), 1) == 1


def test_thresholds():
    rows = {
        row["threshold"]: row for row in thresholds(np.array([0.9, 0.4, 0.35]), np.array([RIGHT, WRONG, UNKNOWN]), 2)
    }
    assert rows[0.3] == {"threshold": 0.3, "precision": 0.5, "recall": 0.5}
    assert rows[0.5] == {"threshold": 0.5, "precision": 1, "recall": 0.5}


# -- the program


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def world(tmp_path):
    """Photographs of a dog, or of a lamp."""
    labels = {
        number: [((0, 0, 96, 64), "a red dog" if number % 4 < 2 else "a brown lamp"), ((8, 8, 40, 40), "the man")]
        for number in range(1, 13)
    }
    for number in labels:
        write_photo(tmp_path / "photos" / f"{number}.jpg", seed=number)
    return tmp_path / "photos", write_labels(tmp_path / "annotations", labels)


def test_the_numbers_are_stored_with_the_weights(tiny_checkpoint, tmp_path, world):
    photos, annotations = world
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(tiny_checkpoint.read_bytes())
    before = load_checkpoint(weights)
    options = [weights, "--photos", photos, "--annotations", annotations, "--device", "cpu"]
    dry = run(*options, "--dry-run", "--json", "--collection", tmp_path / "kept")
    assert dry.exit_code == 0, dry.output
    assert weights.read_bytes() == tiny_checkpoint.read_bytes()
    report = json.loads(dry.stdout)
    assert report["judged_on"]["photographs"] == 6
    assert {"calibration_error", "average_precision", "reliability", "collection", "thresholds"} <= set(report)
    result = run(*options, "--collection", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    assert "average precision: " in result.stdout
    after = load_checkpoint(weights)
    assert after.scoring.calibration == Calibration(
        tuple(report["confidence"]["presence"]),
        tuple(report["confidence"]["place"]),
        report["confidence"]["prevalence"],
    )
    assert (after.scoring.default, after.scoring.fused_weight) == (before.scoring.default, before.scoring.fused_weight)
    for (name, a), b in zip(before.model.state_dict().items(), after.model.state_dict().values(), strict=True):
        assert a.equal(b), name


def test_photographs_that_all_show_everything_are_refused(tiny_checkpoint, tmp_path):
    photos, annotations = write_labelled_photos(tmp_path)
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(tiny_checkpoint.read_bytes())
    result = run(weights, "--photos", photos, "--annotations", annotations, "--device", "cpu")
    assert result.exit_code == 1
    assert "Error: There are too few labelled photographs" in result.output
    assert weights.read_bytes() == tiny_checkpoint.read_bytes()
