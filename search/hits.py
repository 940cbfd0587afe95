"""What a search finds, as plain values: photographs and the regions that answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from db.records import PhotoHeaders, PhotoRow, RegionRow, RegionScores
from fcln.caption_confidence import caption_confidences
from search.copies import Group
from search.grounding import PhotoRegions

if TYPE_CHECKING:
    from db.collection import Collection
    from search.explanation import Explanation


Sort = Literal["score", "date"]


@dataclass(frozen=True)
class HitRegion:
    """A region that answers a phrase of the query."""

    region_id: int | None  # None: of a photograph that is in no collection
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photograph, to a hundredth
    score: float  # in the answer's scoring, to a millionth
    phrase: str  # what the model wrote about the region; may be ""
    for_phrase: str  # the phrase of the query that it answers
    probability: float | None = None  # that somebody would agree, to a ten-thousandth; None: not known

    @classmethod
    def of(
        cls,
        region_id: int | None,
        box: Sequence[float],
        phrase: str,
        score: float,
        for_phrase: str,
        probability: float | None = None,
    ) -> "HitRegion":
        """A region as an answer, its numbers rounded."""
        x1, y1, x2, y2 = (round(side, 2) for side in box)
        sure = None if probability is None else round(float(probability), 4)
        return cls(region_id, (x1, y1, x2, y2), round(float(score), 6), phrase, for_phrase, sure)


@dataclass(frozen=True)
class Hit:
    """A photograph that answers."""

    rank: int  # from 1
    photo_id: int | None  # None: in no collection
    path: Path  # absolute; the file may have moved away since it was indexed
    score: float  # never rises with the rank
    width: int  # upright pixels, when it was indexed
    height: int
    regions: list[HitRegion]
    copies: tuple[Path, ...] = ()  # other files of the same content
    similar: tuple[Path, ...] = ()  # photographs that look the same, where they were folded
    headers: PhotoHeaders | None = None  # what they tell; None: they were not read
    explanation: "Explanation | None" = None  # None: found otherwise than by a question
    probability: float | None = None  # that it answers, in somebody's eyes, to a ten-thousandth; None: not known

    @classmethod
    def of(
        cls,
        group: Group,
        rank: int,
        score: float,
        regions: Sequence[HitRegion],
        explanation: "Explanation | None" = None,
    ) -> "Hit":
        """A photograph of a collection as an answer, with what it stands for."""
        photo = group.photo
        return cls(
            rank,
            photo.photo_id,
            photo.path,
            score,
            photo.width,
            photo.height,
            list(regions),
            tuple(group.copies),
            tuple(group.similar),
            photo.headers,
            explanation,
        )

    @property
    def taken(self) -> str | None:
        """The camera's local time, ISO 8601 to the second; None: its headers do not say."""
        return self.headers.taken if self.headers else None


@dataclass(frozen=True)
class DescribedPhoto:
    """A photograph and its N >= 1 regions, from a collection or described on the spot."""

    photo_id: int | None  # None: in no collection
    path: Path
    width: int  # upright pixels
    height: int
    regions: PhotoRegions
    region_ids: Sequence[int | None]  # N
    phrases: Sequence[str]  # N, what the model wrote about them
    headers: PhotoHeaders | None = None  # as in Hit

    @classmethod
    def from_rows(cls, photo: PhotoRow, regions: Sequence[RegionRow]) -> "DescribedPhoto":
        """A photograph of a collection and some of its regions."""
        return cls(
            photo.photo_id,
            photo.path,
            photo.width,
            photo.height,
            PhotoRegions.from_rows(regions),
            [row.region_id for row in regions],
            [row.phrase for row in regions],
            photo.headers,
        )

    def surest(self, count: int | None = None) -> list[tuple[int, float]]:
        """Its `count` (None: all) surest regions, best first: which, and how sure of box and phrase, in [0, 1]."""
        size = (self.width, self.height)
        confidences = caption_confidences(self.regions.boxes, self.regions.objectness, self.phrases, size)
        order = np.argsort(-confidences, kind="stable")[:count]
        return [(int(index), float(confidences[index])) for index in order]

    def hit_region(self, index: int, score: float, for_phrase: str, probability: float | None = None) -> HitRegion:
        """The region number `index` as an answer."""
        box = tuple(self.regions.boxes[index].tolist())
        return HitRegion.of(self.region_ids[index], box, self.phrases[index], score, for_phrase, probability)

    def hit(self, rank: int, score: float, regions: Sequence[HitRegion], group: Group | None = None) -> Hit:
        """The photograph as an answer. group: what it stands for."""
        beside = (tuple(group.copies), tuple(group.similar)) if group else ((), ())
        return Hit(rank, self.photo_id, self.path, score, self.width, self.height, list(regions), *beside, self.headers)


def in_order(hits: Sequence[Hit], sort: Sort) -> list[Hit]:
    """Hits, given best first, as they are to be shown. By date: the newest first, those without a date last."""
    if sort == "score":
        return list(hits)
    dated = sorted((hit for hit in hits if hit.taken), key=lambda hit: hit.taken or "", reverse=True)
    return [*dated, *(hit for hit in hits if not hit.taken)]


def described_photos(collection: "Collection", scores: RegionScores) -> Iterator[tuple[DescribedPhoto, np.ndarray]]:
    """The photographs of some regions of a collection, in their order, and the scores (Q, N) of each one's regions."""
    rows = collection.regions(scores.region_ids)
    photos = collection.photos(scores.photo_ids[scores.starts()])
    for photo, its_rows in zip(photos, scores.slices(), strict=True):
        yield DescribedPhoto.from_rows(photo, rows[its_rows]), scores.scores[:, its_rows]
