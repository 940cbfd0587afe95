"""`Explanation`: why a photograph is a hit: which region answered what, what is said of things, parts of the score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from fcln.vocabulary import words_of
from search.composition import Composition, compose
from search.grounding import PhotoRegions, answering_regions, side_by_side
from search.hits import DescribedPhoto, HitRegion
from search.wording.counts import Count
from search.wording.parse import Query


@dataclass(frozen=True)
class ExplainedThing:
    """A thing asked for, and the regions that answer it."""

    phrase: str
    score: float  # its part of the score: half of its best region's and half of its own one's, or the mean of several
    regions: list[HitRegion]


@dataclass(frozen=True)
class ExplainedRelation:
    """Something said of things: how two lie to each other, where one lies, how many there are."""

    text: str  # "a dog left of a child", "a dog in the foreground", "2 of a dog"
    kind: str  # "left of", "foreground", "count"
    score: float  # how well it holds, in (0, 1)
    points: float  # what it adds to the score of the things, in the answer's scoring: never more than 0


@dataclass(frozen=True)
class ExplainedWords:
    """The language model's judgement of a region, word by word."""

    phrase: str
    region_id: int | None
    words: list[tuple[str, float]]  # each word, END last, with log p(word | words before, region)


@dataclass(frozen=True)
class Explanation:
    """The parts of a photograph's score.

    score = (as_one + as_things) / 2 where the question was read in both ways, else as_things;
    as_things = mean of things + sum of the relations' points.
    """

    won: Literal["one thing", "several things"] | None  # the reading that fits better; None: there is only one
    as_one: ExplainedThing | None
    as_things: float
    things: list[ExplainedThing]
    relations: list[ExplainedRelation] = field(default_factory=list)
    words: list[ExplainedWords] = field(default_factory=list)  # where the language model judged and it was asked for


def answers_of(
    query: Query,
    all_scores: Sequence[np.ndarray],
    photos: Sequence[DescribedPhoto],
    scoring: str,
    likely: Sequence[np.ndarray | None] | None = None,
) -> list[tuple[list[HitRegion], Explanation]]:
    """The regions that show where each of some photographs answers, and the parts of its score.

    all_scores: of each (Q, N) of its N regions in the scoring named; -inf: not judged. likely: of each (Q, N) how
    likely its regions show it.
    """
    compositions: Sequence[Composition | None] = [None] * len(photos)
    if query.is_composed and photos:
        sizes = np.array([len(photo.region_ids) for photo in photos])
        regions = PhotoRegions(
            np.concatenate([photo.regions.boxes for photo in photos]),
            np.concatenate([photo.regions.objectness for photo in photos]),
        )
        scores, regions = side_by_side(np.concatenate(all_scores, axis=1), sizes, regions)
        photo_sizes = np.array([(photo.width, photo.height) for photo in photos])
        compositions = compose(query, scores, regions, photo_sizes, scoring)
    likelihoods = likely or [None] * len(photos)
    return [
        _answer_of(query, *its_own, scoring)
        for its_own in zip(all_scores, photos, likelihoods, compositions, strict=True)
    ]


def _answer_of(
    query: Query,
    scores: np.ndarray,
    photo: DescribedPhoto,
    likely: np.ndarray | None,
    parts: Composition | None,
    scoring: str,
) -> tuple[list[HitRegion], Explanation]:
    """The answer of one photograph. parts: None for a question that is not composed."""

    def region(row: int, column: int) -> HitRegion:
        probability = None if likely is None else likely[column, row]
        return photo.hit_region(row, scores[column, row], query.phrases[column], probability)

    if parts is None:
        found = [region(row, column) for row, column in answering_regions(scores, photo.regions, [0], scoring)]
        best = _rounded(scores[0].max())
        return found, Explanation(None, None, best, [ExplainedThing(query.phrases[0], best, found)])
    as_one = None
    if parts.as_one is not None:
        as_one = ExplainedThing(query.phrases[0], _rounded(parts.as_one), [region(parts.as_one_row, 0)])
    things = [
        ExplainedThing(
            query.phrases[thing.column], _rounded(thing.score), [region(row, thing.column) for row in thing.rows]
        )
        for thing in parts.things
    ]
    explanation = Explanation(parts.won, as_one, _rounded(parts.as_things), things, _relations(query, parts))
    if as_one is not None and parts.won == "one thing":
        return as_one.regions, explanation
    return [region for thing in things for region in thing.regions], explanation


def with_words(
    explanation: Explanation,
    query: Query,
    region_words: Callable[[str, int], np.ndarray],
) -> Explanation:
    """The explanation with the language model's words for each region. region_words: log p of each word of a phrase,
    END last, of a region by its id."""
    judged = [*explanation.things, *([explanation.as_one] if explanation.as_one else [])]
    found = []
    for thing in judged:
        phrase = query.canonical.get(thing.phrase, thing.phrase)
        for region in thing.regions:
            if region.region_id is not None:
                logs = [_rounded(log) for log in region_words(phrase, region.region_id)]
                words = list(zip([*words_of(phrase), "END"], logs, strict=True))
                found.append(ExplainedWords(thing.phrase, region.region_id, words))
    return replace(explanation, words=found)


def _relations(query: Query, parts: Composition) -> list[ExplainedRelation]:
    found = []
    for part in parts.said:
        if isinstance(part.said, Count):
            text, kind = f"{part.said} of {query.phrases[part.of[0]]}", "count"
        else:
            text, kind = str(part.said), part.said.kind
        found.append(ExplainedRelation(text, kind, round(part.score, 4), _rounded(part.points)))
    return found


def _rounded(score: float) -> float:
    return round(float(score), 6)
