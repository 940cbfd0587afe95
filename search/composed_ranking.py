"""`ComposedRanking`: photographs ranked by all parts of a question, no further than is asked for.

No photograph scores more than its best regions would (`search.composition.upper_bounds`), so those whose
bound is below what is found need not be looked at closely.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from db.records import RegionScores, joined
from search.composition import ComposedScores, Composition, compose_all, compositions, upper_bounds
from search.grounding import PhotoRegions, side_by_side
from search.likelihood import closest_regions
from search.part_weights import PartWeights, part_weights
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


@dataclass(frozen=True)
class _LookedAt:
    """Photographs looked at together."""

    photo_ids: list[int]
    scores: RegionScores  # of the regions of each that are worth it
    regions: PhotoRegions  # in the same order
    scores_side_by_side: np.ndarray  # as of `side_by_side`
    regions_side_by_side: PhotoRegions
    found: ComposedScores


class ComposedRanking:
    """The photographs of some scored regions, best first; equal ones by id."""

    def __init__(
        self,
        collection: "Collection",
        query: Query,
        regions: RegionScores,
        scoring: str,
        weights: PartWeights | None = None,
    ):
        """weights: of the query's parts; None where nothing is known of how rare things are."""
        self._scores: dict[int, float] = {}  # of the photographs looked at, by id
        self._looked_at: list[_LookedAt] = []
        self._collection = collection
        self._query = query
        self._scoring = scoring
        self._weights = weights or part_weights(query)
        self._regions = regions
        bounds = upper_bounds(query, best_scores(regions), self._weights)
        self._in_their_order, self._sizes = regions.photo_ids[regions.starts()], regions.sizes()
        order = np.lexsort((self._in_their_order, -bounds))
        self._photo_ids, self._bounds = self._in_their_order[order], bounds[order]  # the most promising first

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

    def parts(self, photo_ids: Sequence[int]) -> tuple[RegionScores, PhotoRegions, list[Composition]]:
        """How photographs that `first` gave answer, in the order asked, and their regions that were looked at.

        The rows of a Composition are those of its photograph among these regions.
        """
        wanted = set(photo_ids)
        parts: dict[int, tuple[_LookedAt, slice, Composition]] = {}
        for some in self._looked_at:
            places = [place for place, photo_id in enumerate(some.photo_ids) if photo_id in wanted]
            if not places:
                continue
            composed = compositions(
                self._query,
                some.scores_side_by_side[places],
                some.regions_side_by_side.take(places),
                some.found.take(places),
                self._scoring,
            )
            slices = some.scores.slices()
            for place, composition in zip(places, composed, strict=True):
                parts[some.photo_ids[place]] = some, slices[place], composition
        in_order = [parts[photo_id] for photo_id in photo_ids]
        scores = joined([some.scores.take(rows) for some, rows, _ in in_order])
        boxes = np.concatenate([some.regions.boxes[rows] for some, rows, _ in in_order])
        objectness = np.concatenate([some.regions.objectness[rows] for some, rows, _ in in_order])
        return scores, PhotoRegions(boxes, objectness), [composition for *_, composition in in_order]

    def _look_at(self, photo_ids: np.ndarray) -> None:
        rows = np.flatnonzero(np.repeat(np.isin(self._in_their_order, photo_ids), self._sizes))
        regions = worth_looking_at(self._regions.take(rows))
        ids = regions.photo_ids[regions.starts()].tolist()
        its_regions = PhotoRegions.from_boxes(self._collection.boxes(regions.region_ids))
        scores, their_regions = side_by_side(regions.scores, regions.sizes(), its_regions)
        photo_sizes = np.ones((len(ids), 2))
        if any(relation.object is None for relation in self._query.relations):  # only places need them
            photo_sizes = np.array([(photo.width, photo.height) for photo in self._collection.photos(ids)])
        found = compose_all(self._query, scores, their_regions, photo_sizes, self._scoring, self._weights)
        self._looked_at.append(_LookedAt(ids, regions, its_regions, scores, their_regions, found))
        by_id = dict(zip(ids, rounded(found.scores).tolist(), strict=True))
        self._scores |= {photo_id: by_id[photo_id] for photo_id in photo_ids.tolist()}


def worth_looking_at(regions: RegionScores) -> RegionScores:
    """Those of the regions of each photograph that may answer one of Q phrases, or tell how surely others do."""
    return regions.take(np.flatnonzero(closest_regions(regions, CHOICES).any(axis=0)))
