"""`ComposedRanking`: photographs ranked by all parts of a question, no further than is asked for.

No photograph scores more than the mean of its best regions does (`search.composition.upper_bounds`), so those whose
bound is below what is found need not be looked at closely.
"""

from typing import TYPE_CHECKING

import numpy as np

from db.records import RegionScores
from search.composition import compose_all, upper_bounds
from search.grounding import PhotoRegions, side_by_side
from search.likelihood import closest_regions
from search.ranking import best_scores, rounded
from search.wording.parse import Query

if TYPE_CHECKING:
    from db.collection import Collection

# Of each photograph these many regions are looked at for each phrase, those with the best scores: as many as an
# assignment tries (`search.assignment`).
CHOICES = 16
# Photographs looked at together; at first half as many again as are asked for: seldom does one further down belong to
# them.
_BATCH = 50


class ComposedRanking:
    """The photographs of some scored regions, best first; equal ones by id."""

    def __init__(self, collection: "Collection", query: Query, regions: RegionScores, scoring: str):
        self._scores: dict[int, float] = {}  # of the photographs looked at, by id
        self._collection = collection
        self._query = query
        self._scoring = scoring
        self._regions = regions
        bounds = upper_bounds(query, best_scores(regions))
        photo_ids = regions.photo_ids[regions.starts()]
        order = np.lexsort((photo_ids, -bounds))
        self._photo_ids, self._bounds = photo_ids[order], bounds[order]

    def first(self, count: int) -> list[int]:
        """The ids of the first `count` photographs, or of all if there are fewer."""
        while True:
            seen = len(self._scores)
            best_first = sorted(self._scores, key=lambda photo_id: (-self._scores[photo_id], photo_id))
            if seen == len(self._photo_ids):
                return best_first[:count]
            if seen < count:
                worth = count + count // 2 - seen
            else:  # rounded up, as scores may be
                worth = int(np.count_nonzero(self._bounds[seen:] + 1e-6 >= self._scores[best_first[count - 1]]))
                if not worth:
                    return best_first[:count]
            self._look_at(self._photo_ids[seen : seen + min(worth, _BATCH)])

    def score_of(self, photo_id: int) -> float:
        """The score of a photograph that `first` gave."""
        return self._scores[photo_id]

    def _look_at(self, photo_ids: np.ndarray) -> None:
        of_these = self._regions.take(np.flatnonzero(np.isin(self._regions.photo_ids, photo_ids)))
        regions = worth_looking_at(of_these)
        ids = regions.photo_ids[regions.starts()].tolist()
        boxes = self._collection.boxes(regions.region_ids)
        its_regions = PhotoRegions(boxes[:, :4], boxes[:, 4])
        scores, their_regions = side_by_side(regions.scores, regions.sizes(), its_regions)
        photo_sizes = np.ones((len(ids), 2))
        if any(relation.object is None for relation in self._query.relations):  # only places need them
            photo_sizes = np.array([(photo.width, photo.height) for photo in self._collection.photos(ids)])
        found = compose_all(self._query, scores, their_regions, photo_sizes, self._scoring)
        by_id = dict(zip(ids, rounded(found.scores).tolist(), strict=True))
        self._scores |= {photo_id: by_id[photo_id] for photo_id in photo_ids.tolist()}


def worth_looking_at(regions: RegionScores) -> RegionScores:
    """Those of the regions of each photograph that may answer one of Q phrases, or tell how surely others do."""
    return regions.take(np.flatnonzero(closest_regions(regions, CHOICES).any(axis=0)))
