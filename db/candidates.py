"""From nearest regions to the photos worth scoring for some phrases."""

from collections.abc import Callable, Sequence

import numpy as np

from db.records import RegionScores

# Regions asked of FAISS for each phrase at first. Of 50 correlated regions a photo, the nearest 119 (median) fill 50
# photos; a mean over phrases needs each list to be deep enough to meet the others.
FIRST_DEPTH = 1000
DEEPER = 4  # times as many if those are regions of too few photos
# Beyond this depth comparing every region costs no more than FAISS's long list of the nearest.
DEEPEST = 64_000
# So many times as many photos as are wanted are compared where the nearest regions tell too little of the photos that
# they leave out. Of the ten with the highest score (its upper bound, 20 questions, 10,000,000 regions, 120 near-copies
# of each photograph) among the 200 best so: 0.965 of 200 proposed, 0.975 of 400, 0.99 of 600, 0.995 of 800.
COMPARED = 4

Found = list[tuple[np.ndarray, np.ndarray]]  # for each phrase region ids and inner products, best first


def nearest_photos(
    count: int,
    *,
    region_count: int,
    nearest: Callable[[int], Found],
    owners: Callable[[np.ndarray], np.ndarray],
    compare_all: Callable[[], RegionScores],
    compare: Callable[[np.ndarray], RegionScores] | None = None,
) -> np.ndarray:
    """The photos with the best mean over phrases of their best region, as far as the nearest regions tell.

    Asks for more regions until they fill `count` photos or nothing is left; from DEEPEST on, compares all.

    Args:
        region_count: regions in the collection.
        nearest: the so many nearest regions of each phrase.
        owners: region ids (N,) int64, ascending, some of them several times -> their photos (N,) int64.
        compare_all: the cosines of all regions.
        compare: those of the regions of some photos, ascending; None: the nearest regions tell enough.

    Returns:
        (P,) int64, ascending; P < count only if there are fewer photos.
    """
    if not region_count:
        return np.empty(0, np.int64)
    depth = FIRST_DEPTH
    while depth < DEEPEST or depth >= region_count:
        found = nearest(min(depth, region_count))
        region_ids = np.concatenate([ids for ids, _ in found])
        order = np.argsort(region_ids)  # the regions of a photo stand together then: quicker than `np.unique`
        photos = owners(region_ids[order])
        begins = np.ones(len(photos), bool)
        begins[1:] = photos[1:] != photos[:-1]
        photo_ids, owner = photos[begins], np.empty_like(order)
        owner[order] = np.cumsum(begins) - 1
        if len(photo_ids) >= count or depth >= region_count:
            ends = np.cumsum([len(ids) for ids, _ in found])[:-1]
            best = best_found(np.split(owner, ends), [scores for _, scores in found], len(photo_ids))
            if compare is None or len(found) == 1:  # of one phrase, the nearest regions have the best photos
                return best_photos(photo_ids, best, count)
            return closest_photos(compare(best_photos(photo_ids, best, COMPARED * count)), count)
        depth *= DEEPER
    return closest_photos(compare_all(), count)


def closest_photos(cosines: RegionScores, count: int) -> np.ndarray:
    """The photos with the best mean over phrases of their best region: (P,) int64, ascending, P <= count."""
    starts = cosines.starts()
    if not len(starts):
        return np.empty(0, np.int64)
    return best_photos(cosines.photo_ids[starts], np.maximum.reduceat(cosines.scores, starts, axis=1), count)


def best_photos(photo_ids: np.ndarray, best: np.ndarray, count: int) -> np.ndarray:
    """The `count` best of photos whose scores are known: photo_ids (P,) int64, best (Q, P). Ascending ids."""
    return np.sort(photo_ids[np.lexsort((photo_ids, -best.mean(axis=0)))[:count]])


def best_found(owner: Sequence[np.ndarray], scores: Sequence[np.ndarray], photos: int) -> np.ndarray:
    """The best score that each photo can have for each phrase, given the regions found: (Q, photos) float32.

    owner: Q arrays, the photo (0 .. photos - 1) of each region found. scores: Q arrays, descending. A photo of which
    nothing was found has at most the list's last score, and gets that. A list may be empty.
    """
    best = np.empty((len(scores), photos), dtype=np.float32)
    for row, photo, score in zip(best, owner, scores):
        row[:] = score[-1] if len(score) else -1  # the least cosine there is
        np.maximum.at(row, photo, score)
    return best
