"""How a photograph answers a question of several parts: pure functions over the regions of one photograph.

    score = 1/2 (the question as one thing) + 1/2 (its things)
    the question as one thing = its best region's score
    its things = mean over things of their scores + sum of weight * log(soft score) of what is said of them
    a thing = 1/2 (its best region's score) + 1/2 (the score of a region that is its own)

Each thing has a region of its own (`search.assignment`), one of which several are asked has several. What is said of
things: how two lie to each other, where one lies (`search.relations`), how many there are (`_count_score`). A soft
score is the one to expect over where the things may be: their regions' probabilities (`search.grounding`) times the
score of the boxes. The reading that fits better has won, and its boxes are shown.

Measured on `val` (`scripts.evaluate.relations`, `scripts.evaluate.questions`): half and half ranks better than the
better of both readings alone (mean AP of everyday questions 0.49, 0.47). Of 884 pairs of phrases from one photograph it
is the first of 1,000 for 13.9 % so, by best regions and by own regions alone for 13.9 and 13.8 %; of 139 pairs with the
same noun for 8.6 %, 7.9 % and 8.6 % (`scripts.evaluate.several_things`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fcln.boxes import iou
from search.assignment import SAME_THING, assign
from search.grounding import GROUNDING_WEIGHTS, PhotoRegions, ground, log_posteriors
from search.relations import place_scores, relation_scores
from search.wording.counts import Count
from search.wording.parse import Query
from search.wording.relations import Relation

# Weights of the logarithms of soft scores, in cosines. Which side a thing is on tells nothing of what it is, so it has
# to weigh (`scripts.evaluate.relations`: 78 % of the pairs in order at 0.3, 62 % at 0.1). What lies on or in
# another thing the similarity knows already: everyday questions rank best between 0.05 and 0.1.
_WEIGHTS = {"on": 0.07, "in": 0.07, "inside": 0.07, "next to": 0.07}
_DIRECTION_WEIGHT = 0.4
_COUNT_WEIGHT = 0.2
_COSINE = GROUNDING_WEIGHTS["embedding"].score

# Regions of one thing that overlap by more are not two of it (intersection over union; over the smaller one: a head is
# no second dog). "Two dogs" and eleven more such questions: mean AP 0.138 as one thing, 0.178 so, 0.160 at 0.6 and 1.
_SAME_ONE, _SAME_ONE_INSIDE = 0.3, 0.5
# Log-odds that there are exactly n: the n-th region's log posterior less the next one's, less this.
_COUNT_MARGIN = 1.2

# What says more is more similar to its best region than the things it names are to theirs, in the first five hits of
# 122 questions by 0.09 on average, in a quarter of them by more than this (cosines): that region is the answer itself.
_AS_ONE_MARGIN = 0.15

ONE_THING: Literal["one thing"] = "one thing"
SEVERAL_THINGS: Literal["several things"] = "several things"


@dataclass(frozen=True)
class ThingPart:
    """A thing asked for."""

    column: int  # of the query's phrases
    rows: list[int]  # its regions, one for each that is asked for; fewer if there are not as many
    score: float  # in the answer's scoring


@dataclass(frozen=True)
class SaidPart:
    """What a question says of its things."""

    said: Relation | Count
    of: tuple[int, ...]  # columns of the query's phrases
    score: float  # in (0, 1)
    points: float  # what it adds to the score of the things: never more than 0


@dataclass(frozen=True)
class Composition:
    """A photograph's answer."""

    score: float
    as_one: float | None  # score of the question as one thing; None: it is not read so
    as_one_row: int  # its region; -1: None
    as_things: float
    things: list[ThingPart]
    said: list[SaidPart]
    won: Literal["one thing", "several things"] | None  # which reading did; None: there is only one


def compose(
    query: Query,
    scores: np.ndarray,
    regions: PhotoRegions,
    size: tuple[int, int],
    scoring: str,
    *,
    located: bool = True,
) -> Composition:
    """How a photograph answers.

    scores: (Q, N) of its N regions in the scoring named; -inf: not judged, and at least one region of each phrase is.
    size: the photograph's width and height, pixels. located: False leaves rows out, which ranking does not need.
    """
    columns = query.things
    place = {query.phrases[column]: i for i, column in enumerate(columns)}
    scores = np.asarray(scores, np.float64)
    weights = GROUNDING_WEIGHTS[scoring]
    unit = _COSINE / weights.score  # cosines to the scoring's own measure
    merits = log_posteriors(scores, regions, scoring)[columns]
    overlaps = iou(regions.boxes, regions.boxes)
    posteriors = np.exp(merits - merits.max(axis=1, keepdims=True))
    posteriors /= posteriors.sum(axis=1, keepdims=True)

    said: list[SaidPart] = []
    together: dict[tuple[int, int], np.ndarray] = {}  # what two things' regions merit beside
    alone = np.zeros_like(merits)  # what one thing's do
    for relation in query.relations:
        subject = place[relation.subject]
        of: tuple[int, ...] = (columns[subject],)
        if relation.object is None:
            fits = place_scores(relation.kind, regions.boxes, *size)
            expected = float(posteriors[subject] @ fits)
            alone[subject] += np.log(fits)
        else:
            other = place[relation.object]
            fits = relation_scores(relation.kind, regions.boxes, regions.boxes)
            expected = float((_joint(posteriors[subject], posteriors[other], overlaps) * fits).sum())
            of = (columns[subject], columns[other])
            together[subject, other] = together.get((subject, other), 0.0) + np.log(fits)
        points = _WEIGHTS.get(relation.kind, _DIRECTION_WEIGHT) * unit * float(np.log(expected))
        said.append(SaidPart(relation, of, expected, points))

    # Objectness and relations say which region it is, but not how well the photograph answers: as one phrase everyday
    # questions rank worse by the scores of the regions shown (mean AP 0.464) than by the best ones (0.477).
    best = assign(scores[columns], overlaps).tolist()
    rows = [[row] for row in best]
    found = [float(scores[column].max() + scores[column, row]) / 2 for column, row in zip(columns, best, strict=True)]
    for i, column in enumerate(columns):
        if (count := query.counts.get(query.phrases[column])) is not None:
            others = [row for j, row in enumerate(best) if j != i]
            rows[i], surely = _several(best[i], others, count, merits[i], regions.boxes, overlaps)
            judged = scores[column][scores[column] > -np.inf]
            missing = [judged.min()] * (count.number - len(rows[i]))
            found[i] = float(np.mean([*scores[column, rows[i]], *missing]))
            said.append(SaidPart(count, (column,), surely, _COUNT_WEIGHT * unit * float(np.log(surely))))
    if located:
        _relocate(rows, [i for i, column in enumerate(columns) if query.phrases[column] not in query.counts],
                  merits + alone, overlaps, together)  # fmt: skip
    things = [ThingPart(column, its_rows, score) for column, its_rows, score in zip(columns, rows, found, strict=True)]
    as_things = sum(thing.score for thing in things) / len(things) + sum(part.points for part in said)
    if not query.as_one:
        return Composition(as_things, None, -1, as_things, things, said, None)
    as_one = float(scores[0].max())
    row = int(ground(scores[:1], regions, scoring)[0]) if located else -1
    won = ONE_THING if as_one - as_things > _AS_ONE_MARGIN * unit else SEVERAL_THINGS
    return Composition((as_one + as_things) / 2, as_one, row, as_things, things, said, won)


def upper_bounds(query: Query, best: np.ndarray) -> np.ndarray:
    """No photograph's score is higher: (P,) float64. best: (Q, P), the score of its best region for each phrase."""
    things = best[query.things].mean(axis=0)
    return (best[0] + things) / 2 if query.as_one else things


def _relocate(
    rows: list[list[int]],
    single: list[int],
    merits: np.ndarray,
    overlaps: np.ndarray,
    together: Mapping[tuple[int, int], np.ndarray],
) -> None:
    """Put the single ones of some things where they are likeliest, beside those of which there are several.

    rows: of each thing, changed. merits: (things, N).
    """
    if not single:
        return
    taken = [row for i, its_rows in enumerate(rows) if i not in single for row in its_rows]
    merits = merits.copy()
    merits[:, taken] = -np.inf
    if not (merits[single] > -np.inf).any(axis=1).all():
        return  # nothing else is left
    places = {thing: place for place, thing in enumerate(single)}
    between = {(places[a], places[b]): fits for (a, b), fits in together.items() if a in places and b in places}
    for (a, b), fits in together.items():  # a single thing beside one of which there are several: the first of them
        if a in places and b not in places:
            merits[a] += fits[:, rows[b][0]]
        elif b in places and a not in places:
            merits[b] += fits[rows[a][0]]
    for thing, row in zip(single, assign(merits[single], overlaps, between).tolist(), strict=True):
        rows[thing] = [row]


def _joint(a: np.ndarray, b: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """How likely each two regions are those of two things, (N, N), rows the first's: two regions, if there are two."""
    both = np.outer(a, b)
    apart = np.where(overlaps > SAME_THING, 0.0, both)
    total = apart.sum()
    return apart / total if total > 1e-12 else both


def _several(
    first: int, others: Sequence[int], count: Count, merits: np.ndarray, boxes: np.ndarray, overlaps: np.ndarray
) -> tuple[list[int], float]:
    """The regions of the several things that a phrase names, the first given; and how surely there are that many.

    others: regions of other things. merits: (N,) log posteriors.
    """
    rows = [first]
    for row in np.argsort(-merits, kind="stable").tolist():
        if len(rows) > count.number or merits[row] == -np.inf:
            break
        if not any(_is_same_one(row, kept, boxes, overlaps) for kept in rows) and row not in others:
            rows.append(row)
    if len(rows) < count.number:
        return rows, _soft(-2 * _COUNT_MARGIN)
    if count.at_least or len(rows) == count.number:
        return rows[: count.number], _soft(2 * _COUNT_MARGIN)
    last, next_one = merits[rows[count.number - 1]], merits[rows[count.number]]
    return rows[: count.number], _soft(float(last - next_one) - _COUNT_MARGIN)


def _is_same_one(a: int, b: int, boxes: np.ndarray, overlaps: np.ndarray) -> bool:
    if overlaps[a, b] > _SAME_ONE:
        return True
    sides = np.minimum(boxes[a, 2:], boxes[b, 2:]) - np.maximum(boxes[a, :2], boxes[b, :2])
    areas = [(boxes[row, 2:] - boxes[row, :2]).prod() for row in (a, b)]
    return bool(np.maximum(sides, 0).prod() > _SAME_ONE_INSIDE * min(areas))


def _soft(odds: float) -> float:
    return float(0.02 + 0.96 / (1 + np.exp(-np.clip(odds, -50, 50))))
