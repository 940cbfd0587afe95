"""The photos worth scoring: of one phrase by its nearest regions, of several by comparing those that are proposed."""

from collections.abc import Callable

import numpy as np

from db.candidates import DEEPER, DEEPEST, best_photos, closest_photos
from db.postgres.nearest import Nearest
from db.postgres.proposals import Proposed
from db.records import RegionScores

# So many photos at the head of a shortlist for several phrases are the right ones: an answer shows ten.
EXACT_PHOTOS = 20
_SHOWN = 10
# Regions asked of all partitions together, and at least of each: the nearest 119 (median) fill 50 photos.
_REGIONS_A_PHOTO = 6
_LEAST = 100
# Photos of each partition (10,000 of 50 regions) whose groups are looked at: at first, for where one of the best is
# among the later half of them, more are. Of questions of four phrases one in fifteen asks again, of two phrases of
# different photos one in seven; without that, 0.97 and 0.93 of the ten best would be found.
_PROPOSED = 1000
# Photos that are compared at first; half as many as were until now each further time, until the last third of them has
# none of the best; and at most.
_FIRST_COMPARED = 240
_COMPARED_PHOTOS = 2000


def shortlist_of_one(
    count: int,
    *,
    region_count: int,
    parts: int,
    nearest: Callable[[int], Nearest],
    compare_all: Callable[[], RegionScores],
) -> np.ndarray:
    """The `count` photos with the best regions for a phrase: (P,) int64, ascending.

    Args:
        region_count: in the collection.
        parts: partitions of it, each of which is asked for the same number of regions.
        nearest: asks each partition for so many.
        compare_all: the cosine of the phrase with the best region of all photos.
    """
    depth = max(_LEAST, -(-_REGIONS_A_PHOTO * count // parts))
    while depth < DEEPEST or depth >= region_count:
        found = nearest(min(depth, max(1, region_count)))
        enough = len(found.photo_ids) >= count and np.sort(found.best)[-count] >= found.unmet
        if enough or depth >= region_count or not len(found.photo_ids):
            return best_photos(found.photo_ids, found.best[None], count)
        depth *= DEEPER
    return closest_photos(compare_all(), count)


def shortlist_of_several(
    count: int,
    *,
    filtered: bool,
    propose: Callable[[int], Proposed],
    best: Callable[[np.ndarray], np.ndarray],
    compare_all: Callable[[], RegionScores],
) -> np.ndarray:
    """The `count` photos with the best mean over phrases of their best region: (P,) int64, ascending.

    Those at the head as compared, the others as proposed.

    Args:
        filtered: not every region may answer, so a photo that is proposed may have none: all `count` are compared.
        propose: asks each partition for so many photos.
        best: photo ids (P,), ascending -> (Q, P), the cosine of the best region; -1 where no region may answer.
        compare_all: the cosine of each phrase with the best region of all photos.
    """
    exact = count if filtered else min(count, EXACT_PHOTOS)
    limit = max(_PROPOSED, count)
    compared: dict[int, float] = {}  # photo -> mean, of those that may answer at all; else -1
    while True:
        proposed = propose(limit)
        _compare(proposed.photo_ids, compared, exact, best)
        ids = _first(compared, exact)
        may_follow = bool(np.isin(proposed.photo_ids[proposed.late], ids[:_SHOWN]).any())
        if (len(ids) == exact and not may_follow) or len(proposed.photo_ids) < limit:
            break
        if len(compared) >= _COMPARED_PHOTOS:
            if len(ids) < exact:
                return closest_photos(compare_all(), count)
            break
        limit *= DEEPER
    if filtered:
        return np.sort(np.array(ids, np.int64))
    others = proposed.photo_ids[~np.isin(proposed.photo_ids, ids)]
    return np.sort(np.array([*ids, *others[: count - len(ids)]], np.int64))


def _compare(
    proposed: np.ndarray, compared: dict[int, float], exact: int, best: Callable[[np.ndarray], np.ndarray]
) -> None:
    """Compare photos, (P,) int64, best first, until the later ones are not among the first `exact`.

    compared: what was compared before, and is then, in that order.
    """
    left = proposed[~np.isin(proposed, list(compared))]
    while len(left) and len(compared) < _COMPARED_PHOTOS:
        size = len(compared) // 2 or _FIRST_COMPARED
        some, left = left[:size], left[size:]
        order, means = np.argsort(some), np.empty(len(some))
        means[order] = best(some[order]).mean(axis=0)
        compared.update(zip(some.tolist(), means.tolist(), strict=True))
        later, first = list(compared)[-(len(compared) // 3) :], _first(compared, exact)
        if len(first) == exact and not set(first) & set(later):
            break


def _first(compared: dict[int, float], count: int) -> list[int]:
    """The best photos of those that may answer; of equal ones those that were compared first."""
    ranked = sorted(compared.items(), key=lambda each: -each[1])
    return [photo_id for photo_id, mean in ranked if mean > -1][:count]
