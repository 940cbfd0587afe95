"""Each phrase in a region of its own."""

from itertools import product

import numpy as np
import pytest

from search.assignment import SAME_THING, assign

APART = np.eye(4)


def test_the_better_fit_wins_and_the_other_phrase_takes_its_next_best():
    merits = np.array([[5.0, 4.0, 0.0, 0.0], [5.5, 1.0, 0.0, 0.0]])
    assert assign(merits, APART).tolist() == [1, 0]  # 4 + 5.5; each by itself would take the first
    assert assign(merits[::-1], APART).tolist() == [0, 1]


def test_phrases_that_do_not_meet_keep_their_best():
    merits = np.array([[1.0, 9.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0], [7.0, 6.0, 0.0, 0.0]])
    assert assign(merits, APART).tolist() == [1, 3, 0]


def test_regions_that_overlap_much_are_one_thing():
    overlaps = np.eye(3)
    overlaps[0, 1] = overlaps[1, 0] = SAME_THING + 0.01
    merits = np.array([[5.0, 4.9, 1.0], [5.5, 5.4, 0.0]])
    assert assign(merits, overlaps).tolist() == [2, 0]
    overlaps[0, 1] = overlaps[1, 0] = SAME_THING - 0.01
    assert assign(merits, overlaps).tolist() in ([0, 1], [1, 0])


def test_the_only_region_answers_all():
    assert assign(np.array([[1.0], [2.0]]), np.eye(1)).tolist() == [0, 0]
    # and what was not judged does not answer, even if nothing else is left
    merits = np.array([[1.0, -np.inf], [2.0, -np.inf]])
    assert assign(merits, np.eye(2)).tolist() == [0, 0]


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_best_of_all_assignments(seed):
    random = np.random.default_rng(seed)
    merits = random.normal(size=(3, 6))
    overlaps = random.uniform(0, 1, (6, 6)) * 0.8
    overlaps = np.maximum(np.triu(overlaps, 1), np.triu(overlaps, 1).T) + np.eye(6)

    def is_allowed(rows):
        return all(overlaps[a, b] <= SAME_THING for i, a in enumerate(rows) for b in rows[:i])

    allowed = [rows for rows in product(range(6), repeat=3) if is_allowed(rows)]
    if not allowed:
        pytest.skip("every three are the same thing")
    best = max(allowed, key=lambda rows: sum(merits[q, row] for q, row in enumerate(rows)))
    assert assign(merits, overlaps).tolist() == list(best)
