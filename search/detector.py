"""`Detector`: the boxes that show what a phrase names, each with the probability that it does.

In photographs given as files, which are described on the spot, or in a collection. The probabilities are
`search.calibration`'s.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from db.records import AreaRange
from search.calibration import confidences, nms
from search.copies import Group, fold
from search.errors import DetectError
from search.file_description import Describer, Unreadable, describe_files
from search.filters import Filters, Selection
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto, Hit, HitRegion, Sort, described_photos, in_order
from search.model import Model, require_same_checkpoint
from search.probability import offsets_if_known, presences_of
from search.shortlist import SHORTLIST_PHOTOS
from search.wording.lexicon import Lexicon
from search.wording.parse import Query, parse_query

if TYPE_CHECKING:
    from db.collection import Collection

# Somebody who names photographs has a reason: as many show the thing as do not. (Over a collection: what labelled
# photographs say, which is stored with the weights.)
FILES_PRIOR = 0.5

# Confidence that a box needs to be shown. In photographs named, where precision and recall balance on the validation
# photographs; over a collection the best come first, and few are sure: one photograph in two hundred shows the thing.
FILES_THRESHOLD = 0.25
COLLECTION_THRESHOLD = 0.05


@dataclass(frozen=True)
class Detections:
    """What was detected: hits are the photographs with a box, the one with the surest box first.

    The scores of regions are confidences, in the order of phrases and, for each, the surest first; a photograph's score
    is the best of them.
    """

    query: list[str]  # the phrases as asked
    hits: list[Hit]
    unknown_words: list[str]  # words that the model has never met
    substitutions: dict[str, str]  # words read as others: slips, words of like meaning
    threshold: float  # the least confidence of a region
    prior: float  # share of the photographs that is taken to show the thing
    photographs: int  # how many were looked at: those described, or those of the collection that may answer
    unreadable: list[Unreadable]
    selection: Selection | None = None  # what filters came to; None: none were asked for
    sort: Sort = "score"  # the order of the hits
    scoring: Literal["confidence"] = "confidence"

    @property
    def scored(self) -> str:
        """What the scores are, for people."""
        return f"confidence of at least {self.threshold:g}"

    def label(self, region: HitRegion) -> str:
        """What stands at a region's box in a drawing."""
        # Of a single phrase, the heading tells.
        return f"{region.for_phrase} {region.score:.2f}" if len(self.query) > 1 else f"{region.score:.2f}"


class Detector:
    """Detects what phrases name. Not for concurrent use from several threads."""

    def __init__(self, model: Model, *, describer: Describer | None = None, lexicon: Lexicon | None = None):
        """describer: looks at photographs given as files. lexicon: how words are read; None for what the model knows.

        Raises DetectError if no calibration was fitted for the weights.
        """
        if model.scoring.calibration is None:
            raise DetectError(
                "These weights hold no confidence, so nothing can be said of boxes: "
                "`python -m scripts.train.choose_confidence WEIGHTS` fits one."
            )
        self._model = model
        self._calibration = model.scoring.calibration
        self._describer = describer
        self._lexicon = lexicon or Lexicon.of(model)

    def detect(
        self,
        phrases: Sequence[str],
        paths: Iterable[Path],
        *,
        k: int | None = None,
        threshold: float = FILES_THRESHOLD,
        prior: float = FILES_PRIOR,
        as_typed: bool = False,
        area: AreaRange | None = None,
    ) -> Detections:
        """Look for phrases in photographs given as files; nothing is written.

        k: the best photographs only, None for all. threshold: the least confidence of a box, in [0, 1]. prior: the
        share of the photographs, in (0, 1), that is expected to show the thing. as_typed: read no word as another one.
        area: of the only boxes that may answer, as shares of the photograph. Files that cannot be used are in the
        result's `unreadable`. Raises QueryError for phrases that cannot be asked, before any photograph is read.
        """
        if self._describer is None:
            raise ValueError("detecting in files needs a describer")
        query, read, vectors = self._read(phrases, as_typed)
        offsets = offsets_if_known(self._model.scoring.answers, vectors, prior)
        unreadable: list[Unreadable] = []
        looked_at, found = 0, []
        for photo, described in describe_files(self._describer, paths, unreadable):
            looked_at += 1
            similarities = vectors @ described.embeddings.T
            if area is not None:
                photo, similarities = _of_area(photo, similarities, area)
            if len(photo.region_ids) == 0:
                continue
            if regions := self._answering(photo, similarities, read, offsets, threshold, prior):
                found.append((photo, regions))
        return _detections(query, found, k, threshold, prior, looked_at, unreadable)

    def detect_described(
        self,
        phrases: Sequence[str],
        photo: DescribedPhoto,
        embeddings: np.ndarray,
        *,
        threshold: float = FILES_THRESHOLD,
        prior: float = FILES_PRIOR,
        as_typed: bool = False,
    ) -> Detections:
        """As `detect`, in one photograph that was described before. embeddings: (N, E) of its regions, unit length."""
        query, read, vectors = self._read(phrases, as_typed)
        offsets = offsets_if_known(self._model.scoring.answers, vectors, prior)
        regions = self._answering(photo, vectors @ embeddings.T, read, offsets, threshold, prior)
        return _detections(query, [(photo, regions)] if regions else [], None, threshold, prior, 1, [])

    def detect_in_collection(
        self,
        phrases: Sequence[str],
        collection: "Collection",
        *,
        k: int = 10,
        threshold: float = COLLECTION_THRESHOLD,
        prior: float | None = None,
        as_typed: bool = False,
        fold_similar: bool = False,
        filters: Filters | None = None,
        sort: Sort = "score",
    ) -> Detections:
        """Look for phrases in a collection, in the SHORTLIST_PHOTOS photographs (or k) closest to each.

        prior: None for the share that the labelled photographs of the fit had. as_typed: read no word as another one.
        filters: only these photographs and regions may answer. sort: the order of the k best. Raises QueryError for
        phrases that cannot be asked, CheckpointMismatch if other weights described the collection.
        """
        require_same_checkpoint(collection, self._model)
        if prior is None:
            prior = (self._model.scoring.answers or self._calibration).prevalence
        query, read, vectors = self._read(phrases, as_typed)
        offsets = offsets_if_known(self._model.scoring.answers, vectors, prior)
        selection = None if filters is None else Selection.of(collection, filters)
        allowed = None if selection is None else selection.photo_ids
        found = []
        for photo, similarities in _closest(collection, vectors, max(SHORTLIST_PHOTOS, k), selection):
            if regions := self._answering(photo, similarities, read, offsets, threshold, prior):
                found.append((photo, regions))

        def folded(photo_ids: list[int]) -> list[Group]:
            return fold(collection, photo_ids, k, similar=fold_similar, allowed=allowed)

        looked_at = collection.photo_count() if selection is None else selection.allowed
        detections = _detections(query, found, k, threshold, prior, looked_at, [], folded)
        return replace(detections, hits=in_order(detections.hits, sort), selection=selection, sort=sort)

    def _read(self, phrases: Sequence[str], as_typed: bool) -> tuple[Query, list[str], np.ndarray]:
        """The query; its phrases as they are scored, each once and none taken apart; their vectors."""
        query = parse_query(phrases, self._lexicon, as_typed=as_typed, taken_apart=False)
        read = list(dict.fromkeys(query.phrases))
        return query, read, self._model.encode_phrases(read)

    def _answering(
        self,
        photo: DescribedPhoto,
        similarities: np.ndarray,
        phrases: Sequence[str],
        offsets: np.ndarray | None,
        threshold: float,
        prior: float,
    ) -> list[HitRegion]:
        """The boxes of a photograph with N regions that show what a phrase names.

        similarities: (Q, N). offsets: (Q,) of the phrases at this prior (`search.probability`), if they are known.
        """
        presence = presences_of(self._model.scoring.answers, offsets, similarities)
        confidence = confidences(
            self._calibration, similarities, photo.regions.objectness, prior=prior, presence=presence
        )
        return [
            photo.hit_region(row, of_phrase[row], phrase)
            for phrase, of_phrase in zip(phrases, confidence)
            for row in nms(photo.regions.boxes, of_phrase, threshold=threshold)
        ]


def _of_area(photo: DescribedPhoto, similarities: np.ndarray, area: AreaRange) -> tuple[DescribedPhoto, np.ndarray]:
    """A photograph with those of its N regions only that cover such a share of it. similarities: (Q, N)."""
    x1, y1, x2, y2 = photo.regions.boxes.T
    share = (x2 - x1) * (y2 - y1) / (photo.width * photo.height)
    kept = np.flatnonzero((share >= area.least) & (share <= area.most)).tolist()
    regions = PhotoRegions(photo.regions.boxes[kept], photo.regions.objectness[kept])
    ids, phrases = [photo.region_ids[row] for row in kept], [photo.phrases[row] for row in kept]
    return replace(photo, regions=regions, region_ids=ids, phrases=phrases), similarities[:, kept]


def _closest(
    collection: "Collection", vectors: np.ndarray, count: int, selection: Selection | None
) -> Iterator[tuple[DescribedPhoto, np.ndarray]]:
    """The photographs closest to each of Q vectors, and the similarities (Q, N) of their N regions, as may answer."""
    if not collection.region_count() or (selection and not selection.allowed):
        return
    allowed = (None, None) if selection is None else (selection.photo_ids, selection.filters.area)
    photo_ids = np.array(
        sorted({int(i) for vector in vectors for i in collection.candidates(vector[None], count, *allowed)})
    )
    ask = collection.cosines if selection is None else partial(selection.cosines, collection)
    yield from described_photos(collection, ask(vectors, photo_ids))


def _detections(
    query: Query,
    found: Iterable[tuple[DescribedPhoto, list[HitRegion]]],
    k: int | None,
    threshold: float,
    prior: float,
    looked_at: int,
    unreadable: list[Unreadable],
    fold: Callable[[list[int]], list[Group]] | None = None,
) -> Detections:
    """The k best of the photographs found, ranked by their surest box; equally sure ones in the order given.

    fold: of photo ids, for those of one content to be one hit.
    """
    scored = [(max(region.score for region in regions), photo, regions) for photo, regions in found]
    best_first = sorted(scored, key=lambda entry: -entry[0])
    shown: list[tuple[float, DescribedPhoto, list[HitRegion], Group | None]]
    if fold is None:
        shown = [(*entry, None) for entry in best_first[:k]]
    else:
        groups = fold([photo.photo_id for _, photo, _ in best_first if photo.photo_id is not None])
        shown = [(*best_first[group.rank], group) for group in groups]
    hits = []
    for rank, (score, photo, regions, group) in enumerate(shown, 1):
        hit = photo.hit(rank, score, regions, group)
        hits.append(hit if group is None else replace(hit, photo_id=group.photo.photo_id, path=group.photo.path))
    return Detections(
        query.given, hits, query.unknown_words, query.substitutions, threshold, prior, looked_at, unreadable
    )
