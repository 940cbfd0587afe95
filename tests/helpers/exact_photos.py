"""The right photos for a question, by comparing all of them."""

import numpy as np

from db.collection import Collection
from db.records import AreaRange


def exact_photos(
    collection: Collection, vectors: np.ndarray, count: int, allowed: np.ndarray | None = None,
    area: AreaRange | None = None,
) -> np.ndarray:  # fmt: skip
    """The `count` photos with the best mean over phrases of their best region that may answer, best first: (P,)."""
    cosines = collection.cosines(vectors, allowed)
    if area:
        cosines = cosines.take(np.isin(cosines.region_ids, collection.regions_of_area(area, allowed)))
    means = np.maximum.reduceat(cosines.scores, cosines.starts(), axis=1).mean(axis=0)
    return cosines.photo_ids[cosines.starts()][np.argsort(-means)[:count]]
