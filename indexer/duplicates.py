"""Photographs that are there more than once: files of one content, and those that only look the same."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from db.records import PhotoRow
from fcln.similarity import Look, are_alike, worth_a_look

if TYPE_CHECKING:
    from db.collection import Collection

# Photographs whose regions are in memory at one time while they are read: 0.5 MB each thousand regions.
_AT_ONCE = 256


@dataclass(frozen=True)
class DuplicateGroup:
    """Photographs that are one, in the order in which they were added."""

    photos: list[PhotoRow]
    same_content: bool  # byte by byte; else they look the same


def find_duplicates(collection: "Collection", *, near: bool = False) -> list[DuplicateGroup]:
    """The groups of files of one content; with `near` also of photographs that look the same.

    A group of those that look the same has one file of each content. It is made of a chain: each looks like another
    one of the group.
    """
    groups = [DuplicateGroup(collection.photos(ids), True) for ids in collection.repeated()]
    if near:
        groups += [DuplicateGroup(collection.photos(ids), False) for ids in _alike(collection)]
    return groups


def _alike(collection: "Collection") -> list[list[int]]:
    others = {photo_id for ids in collection.repeated() for photo_id in ids[1:]}
    photo_ids = [photo_id for photo_id in collection.photo_ids().tolist() if photo_id not in others]
    if len(photo_ids) < 2:
        return []
    means = np.concatenate(
        [_means(collection, photo_ids[start : start + _AT_ONCE]) for start in range(0, len(photo_ids), _AT_ONCE)]
    )
    leader = list(range(len(photo_ids)))  # of each photograph: another of its group, at last the first one

    def first(i: int) -> int:
        while leader[i] != i:
            i = leader[i]
        return i

    looks: dict[int, Look] = {}
    for i, j in worth_a_look(means):
        if first(i) != first(j) and are_alike(*(_look(collection, photo_ids[n], looks) for n in (i, j))):
            leader[max(first(i), first(j))] = min(first(i), first(j))
    groups: dict[int, list[int]] = {}
    for i, photo_id in enumerate(photo_ids):
        groups.setdefault(first(i), []).append(photo_id)
    return [ids for ids in groups.values() if len(ids) > 1]


def _means(collection: "Collection", photo_ids: list[int]) -> np.ndarray:
    """(P, D) float32: the mean embedding of each photograph."""
    features = collection.features(photo_ids)
    whole = np.array([0.0, 0.0, 1.0, 1.0])
    by_photo = {
        int(features.photo_ids[rows][0]): Look(features.embeddings[rows], whole).mean for rows in features.slices()
    }
    return np.stack([by_photo[photo_id] for photo_id in photo_ids])


def _look(collection: "Collection", photo_id: int, looks: dict[int, Look]) -> Look:
    """What there is to compare of a photograph; the last few are kept, for pairs come sorted."""
    if photo_id not in looks:
        if len(looks) >= _AT_ONCE:
            looks.pop(next(iter(looks)))
        (row,) = collection.photos([photo_id])
        features = collection.features([photo_id])
        boxes = np.array([region.box for region in collection.regions(features.region_ids)])
        looks[photo_id] = Look.of(features.embeddings, boxes, row.width, row.height)
    return looks[photo_id]
