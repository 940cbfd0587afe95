"""Photographs that show what a question does not want ("without a person", --not): they fall away, with the evidence.

A photograph falls away if the probability that it shows an unwanted thing is EXCLUDED_PRESENCE or more, as if half of
the photographs did (`search.calibration`). The evidence is the region that shows it most surely.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from search.calibration import confidences, presences
from search.hits import DescribedPhoto, HitRegion

if TYPE_CHECKING:
    from fcln.scoring import Calibration

# Of 514 photographs of `val` and 23 frequent things: of the photographs whose phrases and captions name the thing 9 %
# stay, of the others 80 % (0.3: 8 % and 77 %; 0.5: 15 % and 85 %). The confidence of the surest region tells them apart
# less well (11 % and 81 % at 0.15), the similarity alone much less (17 % and 84 %).
EXCLUDED_PRESENCE = 0.35
# Photographs looked at together.
_BATCH = 50


@dataclass(frozen=True)
class Excluded:
    """A photograph that would have been a hit."""

    photo_id: int | None
    path: Path
    region: HitRegion  # the evidence: its score is the confidence, its for_phrase the unwanted phrase


def evidence(
    photo: DescribedPhoto, similarities: np.ndarray, phrases: Sequence[str], calibration: "Calibration"
) -> HitRegion | None:
    """The region that most surely shows an unwanted thing; None if none does surely enough.

    similarities: (X, N) cosines of X unwanted phrases and the photograph's N regions.
    """
    presence = presences(calibration, similarities, photo.regions.objectness)
    phrase = int(presence.argmax())
    if presence[phrase] < EXCLUDED_PRESENCE:
        return None
    confidence = confidences(calibration, similarities, photo.regions.objectness)
    row = int(confidence[phrase].argmax())
    return photo.hit_region(row, confidence[phrase, row], phrases[phrase])


def keep_wanted(
    photo_ids: Sequence[int],
    count: int,
    describe: Callable[[Sequence[int]], Sequence[tuple[DescribedPhoto, np.ndarray]]],
    phrases: Sequence[str],
    calibration: "Calibration",
) -> tuple[list[int], list[Excluded]]:
    """The first `count` of some photographs that show nothing unwanted, and those before the last of them that do.

    photo_ids: best first. describe: photographs and the similarities (X, N) of each one's regions to the phrases.
    """
    kept: list[int] = []
    excluded: list[Excluded] = []
    for start in range(0, len(photo_ids), _BATCH):
        batch = photo_ids[start : start + _BATCH]
        for photo_id, (photo, similarities) in zip(batch, describe(batch)):
            if region := evidence(photo, similarities, phrases, calibration):
                excluded.append(Excluded(photo.photo_id, photo.path, region))
            else:
                kept.append(photo_id)
            if len(kept) == count:
                return kept, excluded
    return kept, excluded
