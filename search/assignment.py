"""Several phrases, each in a region of its own of the same photograph."""

from collections.abc import Mapping

import numpy as np

# Two regions that overlap by more are the same thing (intersection over union). Of 217 pairs of phrases of `val` with
# the same noun, whose boxes overlap by less than 0.5, both regions are right in 6.5 % (0.5: 6.5 %, 0.3: 7.4 %, each
# phrase by itself: 4.6 %); of 400 fours of any phrases all four in 6.2 % (6.0 %, 2.5 %, 5.2 %).
SAME_THING = 0.6
# Regions tried for a phrase, and partial assignments kept.
_CHOICES = 16
_BEAM = 64
# What sharing a region costs: only assignments without a choice share one.
_SHARED = 1e9


def assign(
    merits: np.ndarray, overlaps: np.ndarray, together: Mapping[tuple[int, int], np.ndarray] | None = None
) -> np.ndarray:
    """The regions with the largest sum of merits, no two of which are the same thing: (Q,) int64.

    A region answers two phrases only where there are not enough of them. Phrases with a clear favourite choose
    first. A beam search: exact for the few phrases that people ask for at once.

    merits: (Q, N) float64, higher is better; -inf: does not answer, and at least one region of each phrase does.
    overlaps: (N, N), intersection over union of the regions. together: what regions of two phrases merit beside, as
    {(phrase, other phrase): (N, N) float64}, rows the first's regions.
    """
    of_one = {phrases: beside[None] for phrases, beside in (together or {}).items()}
    return assign_all(merits[None], overlaps[None], of_one)[0]


def assign_all(
    merits: np.ndarray, overlaps: np.ndarray, together: Mapping[tuple[int, int], np.ndarray] | None = None
) -> np.ndarray:
    """`assign` of P photographs at once: (P, Q) int64. All arrays have a first axis of P more."""
    photos, phrases, regions = merits.shape
    count = min(_CHOICES, regions)
    photo = np.arange(photos)[:, None, None]
    choices = np.argsort(-merits, axis=2, kind="stable")[..., :count]  # (P, Q, C), best first
    gains = merits[photo, np.arange(phrases)[:, None], choices]
    order = np.argsort(gains[..., min(1, count - 1)] - gains[..., 0], axis=1, kind="stable")  # (P, Q)
    choices, gains = choices[photo[..., 0], order], gains[photo[..., 0], order]
    same = overlaps > SAME_THING
    costs = np.zeros((photos, 1))  # (P, B) of the partial assignments
    rows = np.empty((photos, 1, 0), np.int64)  # (P, B, phrases assigned so far)
    for place in range(phrases):
        next_rows = choices[:, place, None, :]  # (P, 1, C)
        longer = costs[..., None] - gains[:, place, None, :]  # (P, B, C)
        shared = np.zeros(longer.shape, bool)
        for before in range(place):
            shared |= same[photo, rows[..., before, None], next_rows]
        longer = longer + _SHARED * shared
        for (phrase, other), beside in (together or {}).items():
            for before in range(place):
                these = np.flatnonzero((order[:, before] == phrase) & (order[:, place] == other))
                longer[these] -= beside[these[:, None, None], rows[these][..., before, None], next_rows[these]]
                these = np.flatnonzero((order[:, before] == other) & (order[:, place] == phrase))
                longer[these] -= beside[these[:, None, None], next_rows[these], rows[these][..., before, None]]
        longer = longer.reshape(photos, -1)
        if place < phrases - 1:
            kept = np.argsort(longer, axis=1, kind="stable")[:, :_BEAM]
        else:
            kept = longer.argmin(axis=1)[:, None]
        costs = longer[photo[..., 0], kept]
        partial, choice = np.divmod(kept, count)
        chosen = choices[photo[..., 0], place, choice]
        rows = np.concatenate([rows[photo[..., 0], partial], chosen[..., None]], axis=2)
    found = np.empty((photos, phrases), np.int64)
    np.put_along_axis(found, order, rows[:, 0], axis=1)
    return found
