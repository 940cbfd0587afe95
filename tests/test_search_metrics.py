import math

import pytest

from search.metrics import (
    average_precision,
    best_f1,
    list_f1,
    localization_recall,
    median_iou,
    median_rank,
    precision_at,
    recall_at,
    standard_error,
)


def test_recall_and_median_rank():
    ranks = [1, 5, 6, 40]
    assert [recall_at(ranks, k) for k in (1, 5, 10)] == [0.25, 0.5, 0.75]
    assert median_rank(ranks) == 5.5


def test_localization():
    ious = [0.0, 0.1, 0.3, 0.49999, 0.5, 1.0]
    assert localization_recall(ious, 0.1) == pytest.approx(5 / 6)
    assert localization_recall(ious, 0.3) == pytest.approx(4 / 6)
    assert localization_recall(ious, 0.5) == pytest.approx(2 / 6)
    assert median_iou(ious) == pytest.approx((0.3 + 0.49999) / 2)


def test_average_precision():
    assert average_precision([1, 0, 1, 0, 0]) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert average_precision([0, 0, 0, 1]) == 0.25
    assert average_precision([1, 1, 0]) == 1.0
    assert average_precision([0, 0]) == 0.0


def test_precision():
    assert precision_at([1, 0, 1, 1, 0, 1], 5) == pytest.approx(3 / 5)
    assert precision_at([1, 1], 5) == pytest.approx(2 / 5)


def test_standard_error():
    # Deviations from the mean 2: -1, 0, 1; sample variance 1; over sqrt(3).
    assert standard_error([1, 2, 3]) == pytest.approx(1 / math.sqrt(3))
    assert math.isnan(standard_error([0.4]))


def test_f1_of_a_list_and_of_the_best_one():
    assert list_f1([True, False, True], 4) == pytest.approx(2 * 2 / (3 + 4))
    assert list_f1([], 4) == 0
    # Cut after one: 2 * 1 / (1 + 3); after three: 2 * 2 / (3 + 3); after six: 2 * 3 / (6 + 3).
    assert best_f1([True, False, True, False, False, True]) == pytest.approx(2 / 3)
    assert best_f1([False, False]) == 0 and best_f1([]) == 0
