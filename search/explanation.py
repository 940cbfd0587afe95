"""`Explanation`: why a photograph is a hit: which region answered what, what is said of things, parts of the score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np

from db.records import RegionRow, RegionScores
from fcln.vocabulary import words_of
from search.composition import Composition
from search.grounding import PhotoRegions, likeliest_regions, side_by_side
from search.hits import HitRegion
from search.wording.counts import Count
from search.wording.parse import Query


@dataclass(frozen=True)
class ExplainedThing:
    """A thing asked for, and the regions that answer it."""

    phrase: str
    score: float  # its part of the score: half of its best region's and half of its own one's, or the mean of several
    regions: list[HitRegion]
    share: float = 1.0  # of a thing in what the things score together; of the question as one thing in all


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

    score = share of as_one * as_one + (1 - that share) * as_things where the question was read in both ways, else
    as_things; as_things = sum of share * score of the things + sum of the relations' points.
    """

    won: Literal["one thing", "several things"] | None  # the reading that fits better; None: there is only one
    as_one: ExplainedThing | None
    as_things: float
    things: list[ExplainedThing]
    relations: list[ExplainedRelation] = field(default_factory=list)
    words: list[ExplainedWords] = field(default_factory=list)  # where the language model judged and it was asked for


@dataclass(frozen=True)
class Shown:
    """The regions of P photographs that may show where they answer a question."""

    scores: RegionScores  # in the scoring named; -inf: not judged
    regions: PhotoRegions  # in the same order
    parts: list[Composition] | None = None  # how each photograph answers; None: the question is not composed


def answers_of(
    query: Query,
    shown: Shown,
    scoring: str,
    rows_of: Callable[[Sequence[int]], Sequence[RegionRow]],
    likelihoods: Callable[[np.ndarray, np.ndarray], np.ndarray | None] | None = None,
) -> list[tuple[list[HitRegion], Explanation]]:
    """The regions that show where each of some photographs answers, and the parts of its score.

    rows_of: regions of the collection by their ids. likelihoods: how likely regions show it, of scores (P, Q, N), -inf
    where a photograph has fewer regions, and objectness (P, N): (P, Q, N), or None if that is not known.
    """
    scores, regions = side_by_side(shown.scores.scores, shown.scores.sizes(), shown.regions)
    likely = None if likelihoods is None else likelihoods(scores, regions.objectness)
    if shown.parts is None:
        rows = likeliest_regions(scores[:, 0], regions, scoring)
    else:
        rows = [_rows_of(parts) for parts in shown.parts]
    starts = shown.scores.starts().tolist()
    ids = shown.scores.region_ids
    asked = [int(ids[start + row]) for start, its_rows in zip(starts, rows, strict=True) for row in its_rows]
    found = {row.region_id: row for row in rows_of(list(dict.fromkeys(asked)))}

    def hit_region(photo: int, row: int, column: int) -> HitRegion:
        region = found[int(ids[starts[photo] + row])]
        probability = None if likely is None else likely[photo, column, row]
        score, phrase = scores[photo, column, row], query.phrases[column]
        return HitRegion.of(region.region_id, region.box, region.phrase, score, phrase, probability)

    if shown.parts is not None:
        return [_composed(query, parts, partial(hit_region, photo)) for photo, parts in enumerate(shown.parts)]
    answers = []
    for photo, its_rows in enumerate(rows):
        answering = [hit_region(photo, row, 0) for row in its_rows]
        best = _rounded(scores[photo, 0].max())
        thing = ExplainedThing(query.phrases[0], best, answering)
        answers.append((answering, Explanation(None, None, best, [thing])))
    return answers


def _rows_of(parts: Composition) -> list[int]:
    """The regions that answer a question or a part of it."""
    as_one = [] if parts.as_one is None else [parts.as_one_row]
    return [*as_one, *(row for thing in parts.things for row in thing.rows)]


def _composed(
    query: Query, parts: Composition, region: Callable[[int, int], HitRegion]
) -> tuple[list[HitRegion], Explanation]:
    """The answer of one photograph. region: by its row and the column of the phrase that it answers."""
    as_one = None
    if parts.as_one is not None:
        as_one = ExplainedThing(
            query.phrases[0], _rounded(parts.as_one), [region(parts.as_one_row, 0)], parts.weights.as_one
        )
    things = [
        ExplainedThing(
            query.phrases[thing.column],
            _rounded(thing.score),
            [region(row, thing.column) for row in thing.rows],
            round(float(share), 4),
        )
        for thing, share in zip(parts.things, parts.weights.things, strict=True)
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
