"""How sure it is of regions: hand-computed features, and what they are for."""

import numpy as np
import pytest

from fcln.caption_confidence import WEIGHTS, caption_confidences, confidence_features

SIZE = (200, 100)
# The second lies on the first by IoU 3000 / 5000, the third touches neither.
BOXES = np.array([[0, 0, 40, 100], [10, 0, 50, 100], [100, 50, 200, 100]], np.float32)
SCORES = np.array([0.5, 0.8, 0.2], np.float32)


def test_features_are_those_of_the_formula():
    features = confidence_features(BOXES, SCORES, ["a dog", "a dog", "a cat"], SIZE)
    shares = np.log([0.2, 0.2, 0.25])
    mass = np.log(1.5)
    expected = [
        [1, 0, shares[0], 0.6, 0.6, mass],
        [1, np.log(4), shares[1], 0, 0, mass],
        [1, -np.log(4), shares[2], 0, 0, mass],
    ]
    np.testing.assert_allclose(features, expected, atol=1e-6)
    features = confidence_features(BOXES, SCORES, ["a dog", "a puppy", "a cat"], SIZE)
    assert features[0, 3:5] == pytest.approx([0.6, 0])  # another phrase


def test_confidences_are_a_logistic_function_of_them():
    phrases = ["a dog", "a dog", "a cat"]
    z = confidence_features(BOXES, SCORES, phrases, SIZE) @ np.array(WEIGHTS)
    np.testing.assert_allclose(caption_confidences(BOXES, SCORES, phrases, SIZE), 1 / (1 + np.exp(-z)))


def test_a_second_box_of_one_thing_comes_after_another_thing():
    confidences = caption_confidences(BOXES, np.array([0.6, 0.8, 0.5]), ["a dog", "a dog", "a cat"], SIZE)
    assert confidences.argsort()[::-1].tolist() == [1, 2, 0]
    apart = caption_confidences(BOXES, np.array([0.6, 0.8, 0.5]), ["a man", "a dog", "a cat"], SIZE)
    assert apart[0] > 2 * confidences[0]  # something else may be said of what is in front of it


def test_equal_scores_leave_the_first_alone():
    first, second, _ = confidence_features(BOXES, np.array([0.7, 0.7, 0.1]), ["a dog"] * 3, SIZE)
    assert first[3] == 0 and second[3] == pytest.approx(0.6)


def test_where_nothing_is_said_there_is_no_confidence():
    assert caption_confidences(BOXES, SCORES, ["a dog", "", "a cat"], SIZE)[1] == 0


def test_in_a_crowd_each_is_less_sure():
    crowd = np.concatenate([BOXES[2:], [[x, 0, x + 10, 10] for x in range(0, 90, 10)]])
    alone = caption_confidences(BOXES[2:], SCORES[1:2], ["a cat"], SIZE)[0]
    among = caption_confidences(crowd, np.full(10, 0.8), ["a cat", *"abcdefghi"], SIZE)[0]
    assert 0 < among < alone < 1


def test_regions_beyond_the_fifty_surest_change_nothing():
    boxes = np.array([[x, 0, x + 3, 10] for x in range(0, 198, 3)], np.float32)
    scores = np.linspace(0.9, 0.1, 66)
    phrases = [f"thing {i}" for i in range(66)]
    all_of_them = caption_confidences(boxes, scores, phrases, SIZE)
    np.testing.assert_array_equal(caption_confidences(boxes[:50], scores[:50], phrases[:50], SIZE), all_of_them[:50])
    assert caption_confidences(boxes[:49], scores[:49], phrases[:49], SIZE)[0] > all_of_them[0]


def test_certain_scores_and_tiny_boxes_stay_finite():
    boxes = np.array([[0, 0, 200, 100], [5, 5, 5.001, 5.001]], np.float32)
    confidences = caption_confidences(boxes, np.array([1.0, 0.0]), ["a dog", "a dog"], SIZE)
    assert np.isfinite(confidences).all() and (confidences <= 1).all()
