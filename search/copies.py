"""One hit a content: the other files of it stand beside the hit, and what merely looks the same too, if asked for."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db.records import PhotoRow
from fcln.similarity import Look, are_alike
from search.grounding import PhotoRegions

if TYPE_CHECKING:
    from db.collection import Collection

# Ranked photographs looked at together, for each hit wanted; at first so many as are wanted, for few have copies.
_AT_ONCE = 4


@dataclass
class Group:
    """A photograph to show, and those that need not be shown beside it."""

    photo: PhotoRow  # one whose file is there, if any is
    rank: int  # of the best of them in the ranking, from 0
    copies: list[Path] = field(default_factory=list)  # files of the same content that are there
    similar: list[Path] = field(default_factory=list)  # photographs that look the same, best first


def fold(
    collection: "Collection",
    photo_ids: Sequence[int],
    k: int,
    *,
    similar: bool = False,
    allowed: np.ndarray | None = None,
) -> list[Group]:
    """The first k of some ranked photographs, those of one content as one.

    The first groups of a longer answer are those of a shorter one.

    Args:
        photo_ids: best first.
        similar: what looks like a photograph before it, by its regions, goes beside that one too.
        allowed: the only photographs to show, ascending; None: any copy of a ranked one may be shown for it.
    """
    groups: list[Group] = []
    looks: list[Look] = []
    seen: set[int] = set()  # of each content the first file
    may_be_shown = None if allowed is None else set(allowed.tolist())
    done = 0
    while len(groups) < k and done < len(photo_ids):
        some = list(photo_ids[done : done + (_AT_ONCE * k if done else k)])
        contents = collection.contents(some)
        for rank, photo_id in enumerate(some, done):
            copies = contents[photo_id]
            if copies[0].photo_id in seen:
                continue
            if len(groups) == k:
                break
            seen.add(copies[0].photo_id)
            ranked = next(row for row in copies if row.photo_id == photo_id)
            group = _group(ranked, copies, rank, may_be_shown)
            if similar:
                look = _look(collection, photo_id, ranked)
                like = next((i for i, other in enumerate(looks) if are_alike(other, look)), None)
                if like is not None:
                    groups[like].similar += [group.photo.path, *group.copies]
                    continue
                looks.append(look)
            groups.append(group)
        done += len(some)
    return groups


def _group(ranked: PhotoRow, copies: Sequence[PhotoRow], rank: int, may_be_shown: Set[int] | None) -> Group:
    """A content as one group. A file that is gone never stands beside one that is there."""
    if len(copies) == 1:
        return Group(ranked, rank)
    there = [row for row in copies if row.path.exists()]
    others = [row for row in there if may_be_shown is None or row.photo_id in may_be_shown]
    shown = ranked if ranked in there or not others else others[0]
    return Group(shown, rank, [row.path for row in there if row.photo_id != shown.photo_id])


def _look(collection: "Collection", photo_id: int, row: PhotoRow) -> Look:
    features = collection.features([photo_id])
    boxes = PhotoRegions.from_rows(collection.regions(features.region_ids)).boxes
    return Look.of(features.embeddings, boxes, row.width, row.height)
