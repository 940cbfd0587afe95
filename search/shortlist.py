"""Candidate photographs of a query: what FAISS proposes, to be scored in full."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from db.collection import Collection

# Photographs proposed for a query; every hit is one of them. Of the first ten places of 100 queries among 1,000
# photographs as many are those of `--exact` (scripts.evaluate.shortlist; processor time of the whole search):
#
#                   10      50      100     200 photographs
#   one phrase      98.6 %  100 %   100 %   100 %
#   four phrases    71.5 %  97.6 %  99.9 %  100 %
#   four, time      109 ms  127 ms  151 ms  173 ms (two cores without AVX-512, all their work added up)
SHORTLIST_PHOTOS = 200
# Regions asked of FAISS for each phrase at first: 50 correlated regions a photograph fill 50 photographs with 119
# (median; reference peers F.1), and a mean over phrases needs each list to be deep enough to meet the others.
SHORTLIST_REGIONS = 1000


def shortlist(collection: "Collection", vectors: np.ndarray, size: int) -> np.ndarray:
    """Ids of candidate photographs, ascending: the `size` most promising ones.

    vectors: (Q, E) float32 unit length, one a phrase. Asks FAISS for more regions until they fill `size` photographs or
    nothing is left.
    """
    depth = SHORTLIST_REGIONS
    everything = collection.region_count()
    while True:
        found = collection.nearest(vectors, min(depth, everything))
        photo_ids, owner = _owners(collection, [ids for ids, _ in found])
        if len(photo_ids) >= size or depth >= everything:
            break
        depth *= 4
    best = best_found(owner, [scores for _, scores in found], len(photo_ids))
    return np.sort(photo_ids[np.lexsort((photo_ids, -best.mean(axis=0)))[:size]])


def best_found(owner: Sequence[np.ndarray], scores: Sequence[np.ndarray], photos: int) -> np.ndarray:
    """The best score that each photograph can have for each phrase, given the regions found: (Q, photos) float32.

    owner: Q arrays, the photograph (0 .. photos - 1) of each region found. scores: Q arrays, descending. A photograph
    of which nothing was found has at most the list's last score, and gets that.
    """
    best = np.empty((len(scores), photos), dtype=np.float32)
    for row, photo, score in zip(best, owner, scores):
        row[:] = score[-1]
        np.maximum.at(row, photo, score)
    return best


def _owners(collection: "Collection", region_ids: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The distinct photographs of regions, ascending, and for each list of regions each one's place among them."""
    distinct, place = np.unique(np.concatenate(region_ids), return_inverse=True)
    photo_ids, owner = np.unique(collection.photo_ids_of(distinct), return_inverse=True)
    return photo_ids, np.split(owner[place], np.cumsum([len(ids) for ids in region_ids])[:-1])
