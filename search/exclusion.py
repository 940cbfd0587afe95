"""Photographs that show what a question does not want ("without a person", --not): they fall away, with the evidence.

A photograph falls away if the probability that it shows an unwanted thing is EXCLUDED_PRESENCE or more, as if half of
the photographs did. Three things tell: how near the closest region is to what it takes for the phrase
(`search.probability`), how near the best placed one is (`search.calibration`), and whether what the network wrote about
a region names the thing. The evidence is the region that shows it most surely.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcln.vocabulary import words_of
from search.calibration import confidences, presences, sigmoid
from search.grounding import logit
from search.hits import DescribedPhoto, HitRegion
from search.probability import offsets_if_known, presences_of
from search.wording.inflection import same_word

if TYPE_CHECKING:
    from fcln.scoring import Scoring

# Chosen on both `val`s and 20 frequent things of each (`scripts.evaluate.negation`): of photographs that are said to
# show the thing 7 % stay, of the others 86 % (at 0.38 6 % and 85 %, at 0.47 9 % and 88 %). With earlier
# weights and on Flickr8k alone, where 10 % of the first stayed, 76 % of the others did, 73 % and 74 % by either
# probability alone, 75 % without what is written about regions.
EXCLUDED_PRESENCE = 0.42
# As if half of the photographs showed it.
_PRIOR = 0.5
# Added to the log-odds if a region is called so.
_CALLED = 1.0
# Photographs looked at together.
_BATCH = 50


@dataclass(frozen=True)
class Excluded:
    """A photograph that would have been a hit."""

    photo_id: int | None
    path: Path
    region: HitRegion  # the evidence: its score is the confidence, its for_phrase the unwanted phrase


def evidence(
    photo: DescribedPhoto,
    similarities: np.ndarray,
    phrases: Sequence[str],
    offsets: np.ndarray | None,
    scoring: "Scoring",
) -> HitRegion | None:
    """The region that shows an unwanted thing, as surely as the photograph does; None if it does not surely enough.

    similarities: (X, N) cosines of X unwanted phrases and the photograph's N regions. offsets: (X,) of
    `unwanted_offsets`. scoring: with a calibration.
    """
    presence = unwanted_presences(photo, similarities, phrases, offsets, scoring)
    phrase = int(presence.argmax())
    if presence[phrase] < EXCLUDED_PRESENCE:
        return None
    assert scoring.calibration is not None
    confidence = confidences(scoring.calibration, similarities, photo.regions.objectness, presence=presence)
    row = int(confidence[phrase].argmax())
    return photo.hit_region(row, confidence[phrase, row], phrases[phrase])


def unwanted_offsets(vectors: np.ndarray, scoring: "Scoring") -> np.ndarray | None:
    """What depends on the phrases alone, once for all photographs: vectors (X, E) -> (X,); None if it is not known."""
    return offsets_if_known(scoring.answers, vectors, _PRIOR)


def unwanted_presences(
    photo: DescribedPhoto,
    similarities: np.ndarray,
    phrases: Sequence[str],
    offsets: np.ndarray | None,
    scoring: "Scoring",
) -> np.ndarray:
    """The probability that a photograph shows each of X unwanted things, as if half did: (X,). Arguments as above."""
    assert scoring.calibration is not None
    odds = logit(presences(scoring.calibration, similarities, photo.regions.objectness))
    answers = presences_of(scoring.answers, offsets, similarities)
    if answers is not None:
        odds = (odds + logit(answers)) / 2
    called = {word for phrase in photo.phrases for word in words_of(phrase)}
    return sigmoid(odds + _CALLED * np.array([_is_called(phrase, called) for phrase in phrases]))


def _is_called(phrase: str, words: set[str]) -> bool:
    """Whether some words name the thing of a phrase, which is its last word."""
    return any(same_word(word, name) for name in words_of(phrase)[-1:] for word in words)


def keep_wanted(
    photo_ids: Sequence[int], count: int, judge: Callable[[Sequence[int]], Sequence[Excluded | None]]
) -> tuple[list[int], list[Excluded]]:
    """The first `count` of some photographs that show nothing unwanted, and those before the last of them that do.

    photo_ids: best first. judge: of each photograph why it falls away, None if it does not.
    """
    kept: list[int] = []
    excluded: list[Excluded] = []
    for start in range(0, len(photo_ids), _BATCH):
        batch = photo_ids[start : start + _BATCH]
        for photo_id, reason in zip(batch, judge(batch), strict=True):
            if reason is None:
                kept.append(photo_id)
            else:
                excluded.append(reason)
            if len(kept) == count:
                return kept, excluded
    return kept, excluded
