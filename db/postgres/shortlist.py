"""From nearest regions to photos: the first ones exactly, the others by what they may have at most."""

import numpy as np
from sqlalchemy.orm import Session

from db.candidates import DEEPER, DEEPEST, FIRST_DEPTH, best_found, best_photos, closest_photos
from db.postgres.nearest import best_cosines, nearest

# So many photos at the head of a shortlist are the right ones: an answer shows ten.
EXACT_PHOTOS = 20
# Photos whose regions are compared in one query (5 ms), and at most. Of the ten best for four phrases of a photo among
# 3,000, near-copies most of them, 0.95 were among the first 100 by what they might have, all among 400.
_AT_ONCE = 100
_COMPARED_PHOTOS = 800


def shortlist(
    session: Session, vectors: np.ndarray, count: int, region_count: int, condition: str, of_photo: str
) -> np.ndarray:
    """The `count` photos with the best mean over phrases of their best region: (P,) int64, ascending.

    A photo that a phrase's nearest regions lack has at most the last one's cosine for it. In the order of what they
    have at most, photos are compared region by region, until the best so far cannot be beaten.

    Args:
        region_count: in the collection.
        condition: SQL about regions that may be found; of_photo: the same of those of a photo that may be.
    """
    depth = FIRST_DEPTH
    while depth < DEEPEST or depth >= region_count:
        found = nearest(session, vectors, min(depth, max(1, region_count)), condition)
        photo_ids = np.unique(np.concatenate([ids for ids, _ in found]))
        if not len(photo_ids):
            return photo_ids
        if len(photo_ids) >= count or depth >= region_count:
            owners = [np.searchsorted(photo_ids, ids) for ids, _ in found]
            # A list that found nothing says nothing.
            said = [(owner, scores) for owner, (_, scores) in zip(owners, found) if len(scores)]
            bounds = best_found([owner for owner, _ in said], [scores for _, scores in said], len(photo_ids))
            return _refined(session, vectors, count, photo_ids, bounds, of_photo)
        depth *= DEEPER
    return closest_photos(best_cosines(session, vectors, None, condition), count)


def _refined(
    session: Session, vectors: np.ndarray, count: int, photo_ids: np.ndarray, bounds: np.ndarray, of_photo: str
) -> np.ndarray:
    """The best photos, given what each has at most for each phrase, (Q, P)."""
    if len(vectors) == 1:  # what is found is what it has
        return best_photos(photo_ids, bounds, count)
    most = bounds.mean(axis=0)
    order = np.lexsort((photo_ids, -most))
    wanted = min(count, EXACT_PHOTOS)
    means = np.empty(0, np.float32)  # of the first of `order`
    while len(means) < min(len(order), _COMPARED_PHOTOS):
        some = np.sort(photo_ids[order[len(means) : len(means) + _AT_ONCE]])
        exact = best_cosines(session, vectors, some, of_photo).scores.mean(axis=0)
        means = np.append(means, exact[np.searchsorted(some, photo_ids[order[len(means) : len(means) + _AT_ONCE]])])
        rest = order[len(means) :]
        if not len(rest) or np.sort(means)[-wanted:][0] >= most[rest[0]]:
            break
    compared = order[: len(means)]
    best = compared[np.argsort(-means, kind="stable")[:wanted]]
    others = order[~np.isin(order, best)][: count - len(best)]
    return np.sort(photo_ids[np.append(best, others)])
