"""`Detector`: the boxes that show what a phrase names, each with the probability that it does.

In photographs given as files, which are described on the spot, or in a collection. The probabilities are
`search.calibration`'s.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto, Photograph
from search.calibration import best_answers, confidences
from search.errors import DetectError
from search.searcher import Answer, Hit, HitRegion, require_same_checkpoint
from search.shortlist import SHORTLIST_PHOTOS, shortlist
from search.wording.parse import Query, read_query

if TYPE_CHECKING:
    from db.collection import Collection
    from fcln.predictor import Predictor

# Somebody who names photographs has a reason: as many show the thing as do not. (Over a collection: what labelled
# photographs say, which is stored with the weights.)
NAMED_PRIOR = 0.5

# Confidence that a box needs to be shown. In photographs named, where precision and recall balance on the validation
# photographs; over a collection the best come first, and few are sure: one photograph in two hundred shows the thing.
NAMED_THRESHOLD = 0.25
COLLECTION_THRESHOLD = 0.05

# As many as a build keeps of each photograph: the same photograph gives the same boxes.
MAX_REGIONS = 50

# Photographs that go through the network together.
_BATCH = 8


@dataclass(frozen=True)
class Unreadable:
    """A file that was skipped."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Detections(Answer):
    """What was detected: hits are the photographs with a box, the one with the surest box first.

    The scores of regions are confidences, in the order of phrases and, for each, the surest first; a photograph's score
    is the best of them.
    """

    threshold: float = 0.0  # the least confidence of a region
    prior: float = NAMED_PRIOR  # share of the photographs that is taken to show the thing
    photographs: int = 0  # how many were looked at: those described, or those of the collection
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def scored(self) -> str:
        return f"confidence of at least {self.threshold:g}"

    def label(self, region: HitRegion) -> str:
        # Of a single phrase, the heading tells.
        return f"{region.for_phrase} {region.score:.2f}" if len(self.query) > 1 else f"{region.score:.2f}"


@dataclass(frozen=True)
class _Described:
    """A photograph and its N regions."""

    photo_id: int | None
    path: Path
    width: int
    height: int
    boxes: np.ndarray  # (N, 4) x1 y1 x2 y2, upright pixels
    scores: np.ndarray  # (N,)
    embeddings: np.ndarray  # (N, E)
    phrases: list[str]
    region_ids: Sequence[int | None]


class Detector:
    """Detects what phrases name. Not for concurrent use from several threads."""

    def __init__(self, predictor: "Predictor"):
        """Raises DetectError if no confidence was fitted for the weights."""
        if predictor.confidence is None:
            raise DetectError(
                "These weights hold no confidence, so nothing can be said of boxes: "
                "`python -m scripts.train.choose_confidence WEIGHTS` fits one."
            )
        self._predictor = predictor
        self._numbers = predictor.confidence

    def detect(
        self,
        phrases: Sequence[str],
        paths: Iterable[Path],
        *,
        k: int | None = None,
        threshold: float = NAMED_THRESHOLD,
        prior: float = NAMED_PRIOR,
        as_typed: bool = False,
    ) -> Detections:
        """Look for phrases in photographs given as files; nothing is written.

        k: the best photographs only, None for all. threshold: the least confidence of a box, in [0, 1]. prior: the
        share of the photographs, in (0, 1), that is expected to show the thing. as_typed: read no word as another one.
        Files that cannot be used are in the result's `unreadable`. Raises QueryError for phrases that cannot be asked,
        before any photograph is read.
        """
        query, read, vectors = self._read(phrases, as_typed)
        unreadable: list[Unreadable] = []
        looked_at, hits = 0, []
        for photo in self._describe(paths, unreadable):
            looked_at += 1
            hits += self._hits(photo, read, vectors, threshold, prior)
        return self._answer(query, hits, k, threshold, prior, looked_at, unreadable)

    def detect_in_collection(
        self,
        phrases: Sequence[str],
        collection: "Collection",
        *,
        k: int = 10,
        threshold: float = COLLECTION_THRESHOLD,
        prior: float | None = None,
        as_typed: bool = False,
    ) -> Detections:
        """Look for phrases in a collection, in the SHORTLIST_PHOTOS photographs (or k) closest to each.

        prior: None for the share that the labelled photographs of the fit had. as_typed: read no word as another one.
        Raises QueryError for phrases that cannot be asked, CheckpointMismatch if other weights described the
        collection.
        """
        require_same_checkpoint(collection, self._predictor)
        prior = self._numbers.prevalence if prior is None else prior
        query, read, vectors = self._read(phrases, as_typed)
        hits = []
        for photo in self._closest(collection, vectors, max(SHORTLIST_PHOTOS, k)):
            hits += self._hits(photo, read, vectors, threshold, prior)
        return self._answer(query, hits, k, threshold, prior, collection.photo_count(), [])

    def _read(self, phrases: Sequence[str], as_typed: bool) -> tuple[Query, list[str], np.ndarray]:
        """The query; its phrases as they are scored, each once and none taken apart; their vectors."""
        query = read_query(phrases, self._predictor, as_typed=as_typed)
        read = list(dict.fromkeys(query.phrases[: len(query.given)]))
        return query, read, self._predictor.encode_phrases(read)

    def _describe(self, paths: Iterable[Path], unreadable: list[Unreadable]) -> Iterator[_Described]:
        decoded = self._decode(paths, unreadable)
        while batch := list(islice(decoded, _BATCH)):
            found = self._predictor.describe([photo.image for _, photo in batch], max_regions=MAX_REGIONS)
            for (path, photo), regions in zip(batch, found):
                yield _Described(
                    None,
                    path.absolute(),
                    photo.width,
                    photo.height,
                    photo.full_boxes(regions.boxes),
                    regions.scores,
                    regions.embeddings,
                    regions.phrases,
                    [None] * len(regions.boxes),
                )

    @staticmethod
    def _decode(paths: Iterable[Path], unreadable: list[Unreadable]) -> Iterator[tuple[Path, Photograph]]:
        """The photographs as a build decodes them, and so describes them alike."""
        for path in paths:
            try:
                with open(path, "rb") as file:
                    photo = OpenedPhoto(file).decode()
            except FileNotFoundError:
                reason = "there is no such file"
            except OSError as error:
                reason = f"cannot be read ({error.strerror or error})"
            except PhotoError as error:
                reason = str(error)
            else:
                yield path, photo
                continue
            unreadable.append(Unreadable(path.absolute(), reason))

    @staticmethod
    def _closest(collection: "Collection", vectors: np.ndarray, count: int) -> Iterator[_Described]:
        if not collection.region_count():
            return
        photo_ids = sorted({int(i) for vector in vectors for i in shortlist(collection, vector[None], count)})
        features = collection.features(photo_ids)
        rows = collection.regions(features.region_ids.tolist())
        photos = collection.photos(features.photo_ids[features.starts()].tolist())
        for photo, its_rows in zip(photos, features.slices(), strict=True):
            regions = rows[its_rows]
            yield _Described(
                photo.photo_id,
                photo.path,
                photo.width,
                photo.height,
                np.array([region.box for region in regions]),
                np.array([region.score for region in regions]),
                features.embeddings[its_rows],
                [region.phrase for region in regions],
                [region.region_id for region in regions],
            )

    def _hits(
        self, photo: _Described, phrases: Sequence[str], vectors: np.ndarray, threshold: float, prior: float
    ) -> list[Hit]:
        """The photograph as a hit, if it has a box for a phrase; ranked later."""
        sure = confidences(self._numbers, vectors @ photo.embeddings.T, photo.scores, prior=prior)
        regions = []
        for phrase, confidence in zip(phrases, sure):
            for row in best_answers(photo.boxes, confidence, least=threshold):
                x1, y1, x2, y2 = (round(float(side), 2) for side in photo.boxes[row])
                box = (x1, y1, round(x2 - x1, 2), round(y2 - y1, 2))
                score = round(float(confidence[row]), 6)
                regions.append(HitRegion(photo.region_ids[row], box, score, photo.phrases[row], phrase))
        if not regions:
            return []
        best = max(region.score for region in regions)
        return [Hit(0, photo.photo_id, photo.path, best, photo.width, photo.height, regions)]

    @staticmethod
    def _answer(
        query: Query,
        hits: Sequence[Hit],
        k: int | None,
        threshold: float,
        prior: float,
        looked_at: int,
        unreadable: list[Unreadable],
    ) -> Detections:
        best_first = sorted(hits, key=lambda hit: -hit.score)[:k]  # equally good ones in the order given
        return Detections(
            query.given,
            "confidence",
            [replace(hit, rank=rank) for rank, hit in enumerate(best_first, 1)],
            query.unknown_words,
            query.readings,
            threshold,
            prior,
            looked_at,
            unreadable,
        )
