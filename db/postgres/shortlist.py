"""From nearest regions to photos: the first ones exactly, the others by what is known of them."""

from collections.abc import Callable

import numpy as np

from db.candidates import DEEPER, DEEPEST, best_photos, closest_photos
from db.postgres.nearest import Nearest
from db.records import RegionScores

# So many photos at the head of a shortlist for several phrases are the right ones: an answer shows ten.
EXACT_PHOTOS = 20
# Regions asked of all partitions together for each phrase, and at least of each. For one phrase the photos of the
# nearest regions are the answer: the nearest 119 (median) fill 50 photos. For several, each phrase must be asked deep
# enough to meet the photos of the others: of the ten best for four phrases of a photo among 20,000, near-copies most of
# them, 0.90 were met by the nearest 500 of each, 0.96 by the nearest 1,000, 0.98 by the nearest 2,000. Deeper at first
# costs more than asking again where it is not certain that none was missed: with 1,600 seven questions of ten are
# answered at once (scripts.benchmark.server).
ONE_PHRASE, SEVERAL_PHRASES = 6, 1600
_LEAST = 100
_DEEPENED = 1  # so many times, for several phrases: what is not met then is left
# Photos whose regions are compared at first for each phrase (2 ms), twice as many each further time, and at most.
_FIRST_COMPARED = 50
_COMPARED_PHOTOS = 2000
# What a phrase that did not meet a photo is taken for, in the order of comparing: so far below the last region that it
# met, in times of the distance from the first to the last. By what the photo has at most, 0.60 of the ten best were
# among the first 50, so 0.67.
_BELOW = 0.5
# Few lists miss regions of photos that they meet by others, so a photo may have a little more than the most that was
# found of it: with 0, of the ten best for four phrases 0.980 were found, with 0.002 0.984, and a sixth more compared.
_MISSED = 0.003

# How many regions of each phrase and partition, whether it is asked again since the first answer was not enough.
AskNearest = Callable[[int, bool], Nearest]
AskBest = Callable[[np.ndarray], np.ndarray]  # photo ids (P,) -> (Q, P) float32, the cosine of the best region


def shortlist(
    count: int,
    phrases: int,
    *,
    region_count: int,
    parts: int,
    nearest: AskNearest,
    best: AskBest,
    compare_all: Callable[[], RegionScores],
) -> np.ndarray:
    """The `count` photos with the best mean over phrases of their best region: (P,) int64, ascending.

    Args:
        region_count: in the collection.
        parts: partitions of it, each of which is asked for the same number of regions.
        nearest: asks each partition for so many. Again, it may look into more lists.
        best: the cosine of each phrase with the best region of some photos.
        compare_all: the cosine of each phrase with the best region of all photos.
    """
    wanted = count if phrases == 1 else min(count, EXACT_PHOTOS)
    depth = max(_LEAST, -(-(ONE_PHRASE * count if phrases == 1 else SEVERAL_PHRASES) // parts))
    known: dict[int, float] = {}  # photo -> mean, of those that were compared
    deepened = 0
    while depth < DEEPEST or depth >= region_count:
        found = nearest(min(depth, max(1, region_count)), deepened > 0)
        if not len(found.photo_ids):
            return found.photo_ids
        everything = depth >= region_count
        if phrases == 1:
            enough = len(found.photo_ids) >= count and np.sort(found.bounds[0])[-count] >= found.unmet.max()
            if enough or everything:
                return best_photos(found.photo_ids, found.bounds, count)
        elif len(found.photo_ids) >= count or everything:
            last = _compare(found, wanted, known, best)
            if last >= found.unmet.mean(axis=0).max() or everything or deepened == _DEEPENED:
                return _chosen(found, count, wanted, known)
            deepened += 1
        depth *= DEEPER
    return closest_photos(compare_all(), count)


def _compare(found: Nearest, wanted: int, known: dict[int, float], best: AskBest) -> float:
    """Compare photos until none of the others can be among the `wanted` best; the mean of the last of these.

    known: what was compared before, and is then.
    """
    order = np.lexsort((found.photo_ids, -_likely(found)))
    ids, most = found.photo_ids[order], found.bounds.mean(axis=0)[order]
    left = ~np.isin(ids, np.fromiter(known, np.int64, len(known)))
    means = np.fromiter(known.values(), float, len(known))
    size = _FIRST_COMPARED * len(found.bounds)
    while True:
        last = float(np.partition(means, -wanted)[-wanted]) if len(means) >= wanted else -np.inf
        rows = np.flatnonzero(left & (most > last - _MISSED))[:size]
        if not len(rows) or len(means) >= _COMPARED_PHOTOS:
            return last
        left[rows] = False
        some = np.sort(ids[rows])
        of_them = best(some).mean(axis=0)
        known.update(zip(some.tolist(), of_them.tolist(), strict=True))
        means = np.append(means, of_them)
        size *= 2


def _likely(found: Nearest) -> np.ndarray:
    """(P,) the mean that a photo may have: in the order of these, the best are compared soon."""
    lowered = found.unmet - _BELOW * (found.bounds.max(axis=1, keepdims=True) - found.unmet)
    return np.where(found.met, found.bounds, lowered[:, found.part]).mean(axis=0)


def _chosen(found: Nearest, count: int, wanted: int, known: dict[int, float]) -> np.ndarray:
    """The best of those that were compared, then those that are likely."""
    values = _likely(found)
    compared = np.isin(found.photo_ids, np.fromiter(known, np.int64, len(known)))
    values[compared] = [known[photo_id] for photo_id in found.photo_ids[compared].tolist()]
    first = np.flatnonzero(compared)
    first = first[np.argsort(-values[first], kind="stable")[:wanted]]
    others = np.argsort(-values, kind="stable")
    others = others[~np.isin(others, first)][: count - len(first)]
    return np.sort(found.photo_ids[np.append(first, others)])
