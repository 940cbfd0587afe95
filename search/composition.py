"""How photographs answer a question of several parts: pure functions over their regions, of many at once.

    score = w (the question as one thing) + (1 - w) (its things)
    the question as one thing = its best region's score
    its things = weighted mean of their scores + sum of weight * log(soft score) of what is said of them
    a thing = 1/2 (its best region's score) + 1/2 (the score of a region that is its own)

Each thing has a region of its own (`search.assignment`), one of which several are asked has several. What is said of
things: how two lie to each other, where one lies (`search.relations`), how many there are (`_several`). A soft
score is the one to expect over where the things may be: their regions' probabilities (`search.grounding`) times the
score of the boxes. The weights are those of `search.part_weights`. The reading that fits better has won, and its boxes
are shown.

Measured on `val` (`scripts.evaluate.relations`, `scripts.evaluate.questions`): half and half ranks better than the
better of both readings alone (mean AP of everyday questions 0.49, 0.47). Of 884 pairs of phrases from one photograph it
is the first of 1,000 for 13.9 % so, by best regions and by own regions alone for 13.9 and 13.8 %; of 139 pairs with the
same noun for 8.6 %, 7.9 % and 8.6 % (`scripts.evaluate.several_things`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fcln.boxes import iou
from search.assignment import SAME_THING, assign_all
from search.grounding import GROUNDING_WEIGHTS, PhotoRegions, ground, log_posteriors
from search.part_weights import PartWeights, part_weights
from search.relations import place_scores, relation_scores
from search.wording.counts import Count
from search.wording.parse import Query
from search.wording.relations import Relation

# Weights of the logarithms of soft scores, in cosines. Which side a thing is on tells nothing of what it is, so it has
# to weigh (`scripts.evaluate.relations`: 78 % of the pairs in order at 0.3, 62 % at 0.1). What lies on or in
# another thing the similarity knows already, and nearly all that says how many there are: questions from captions
# (`scripts.evaluate.composed_questions`) rank worse by more of these.
_WEIGHTS = {"on": 0.02, "in": 0.02, "inside": 0.02, "next to": 0.02}
_DIRECTION_WEIGHT = 0.4
_COUNT_WEIGHT = 0.05
_COSINE = GROUNDING_WEIGHTS["embedding"].score

# Regions of one thing that overlap by more are not two of it (intersection over union; over the smaller one: a head is
# no second dog). "Two dogs" and eleven more such questions: mean AP 0.138 as one thing, 0.178 so, 0.160 at 0.6 and 1.
_SAME_ONE, _SAME_ONE_INSIDE = 0.3, 0.5
# Log-odds that there are at least n: the n-th region's log posterior less the first one's, times this, plus this.
# Against what a detector counts in `val` (1,031 times one of seven kinds of things in a photograph) the area under the
# ROC curve of "at least 3" is 0.89, of "exactly 2" 0.74.
_COUNT_SLOPE, _COUNT_BIAS = 0.8, 1.3
_COUNT_SHOWN = 0.25  # a region that is less surely one of them is not shown

# What says more is more similar to its best region than the things it names are to theirs, in the first five hits of
# 122 questions by 0.09 on average, in a quarter of them by more than this (cosines): that region is the answer itself.
_AS_ONE_MARGIN = 0.15

ONE_THING: Literal["one thing"] = "one thing"
SEVERAL_THINGS: Literal["several things"] = "several things"


@dataclass(frozen=True)
class ThingPart:
    """A thing asked for."""

    column: int  # of the query's phrases
    rows: list[int]  # its regions, one for each that is asked for; fewer where there are hardly as many
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
    weights: PartWeights
    as_one: float | None  # score of the question as one thing; None: it is not read so
    as_one_row: int  # its region; -1: None
    as_things: float
    things: list[ThingPart]
    said: list[SaidPart]
    won: Literal["one thing", "several things"] | None  # which reading did; None: there is only one


@dataclass(frozen=True)
class ComposedScores:
    """The parts of the scores of P photographs."""

    weights: PartWeights
    scores: np.ndarray  # (P,) float64
    as_one: np.ndarray | None  # (P,) of the question as one thing; None: it is not read so
    as_things: np.ndarray  # (P,)
    things: np.ndarray  # (P, T) the score of each thing
    rows: list[np.ndarray]  # of each thing (P, how many are asked for): its regions; -1: hardly so many
    said: list[tuple[Relation | Count, tuple[int, ...], np.ndarray, np.ndarray]]  # as in SaidPart, the last two (P,)
    fits: list[np.ndarray]  # how well regions stand in each of the query's relations: (P, N, N), of a place (P, N)
    merits: np.ndarray  # (P, T, N) log posteriors
    overlaps: np.ndarray  # (P, N, N)

    def take(self, photos: Sequence[int]) -> "ComposedScores":
        """Those of some of the photographs."""
        return ComposedScores(
            self.weights,
            self.scores[photos],
            None if self.as_one is None else self.as_one[photos],
            self.as_things[photos],
            self.things[photos],
            [rows[photos] for rows in self.rows],
            [(said, of, score[photos], points[photos]) for said, of, score, points in self.said],
            [fits[photos] for fits in self.fits],
            self.merits[photos],
            self.overlaps[photos],
        )


def compose_all(
    query: Query,
    scores: np.ndarray,
    regions: PhotoRegions,
    sizes: np.ndarray,
    scoring: str,
    weights: PartWeights | None = None,
) -> ComposedScores:
    """How P photographs answer, each by N regions.

    scores: (P, Q, N) in the scoring named; -inf: not judged, or there are fewer regions, and at least one region of
    each phrase is judged. sizes: (P, 2) widths and heights, pixels. weights: None where nothing is known of how rare
    things are.
    """
    weights = weights or part_weights(query)
    columns = query.things
    place = {query.phrases[column]: i for i, column in enumerate(columns)}
    photos = np.arange(len(scores))
    scores = np.asarray(scores, np.float64)
    unit = weights.of_said * _COSINE / GROUNDING_WEIGHTS[scoring].score  # cosines to the scoring's own measure
    merits = log_posteriors(scores, regions, scoring)[:, columns]
    overlaps = iou(regions.boxes, regions.boxes)
    posteriors = np.exp(merits - merits.max(axis=2, keepdims=True))
    posteriors /= posteriors.sum(axis=2, keepdims=True)

    said: list[tuple[Relation | Count, tuple[int, ...], np.ndarray, np.ndarray]] = []
    fits: list[np.ndarray] = []
    for relation in query.relations:
        subject = place[relation.subject]
        of: tuple[int, ...] = (columns[subject],)
        if relation.object is None:
            fits.append(place_scores(relation.kind, regions.boxes, sizes[:, :1], sizes[:, 1:]))
            expected = (posteriors[:, subject] * fits[-1]).sum(axis=1)
        else:
            other = place[relation.object]
            of = (columns[subject], columns[other])
            fits.append(relation_scores(relation.kind, regions.boxes, regions.boxes))
            joint = _joint(posteriors[:, subject], posteriors[:, other], overlaps)
            expected = (joint * fits[-1]).sum(axis=(1, 2))
        said.append((relation, of, expected, _WEIGHTS.get(relation.kind, _DIRECTION_WEIGHT) * unit * np.log(expected)))

    # Objectness and relations say which region it is, but not how well the photograph answers: as one phrase everyday
    # questions rank worse by the scores of the regions shown (mean AP 0.464) than by the best ones (0.477).
    best = assign_all(scores[:, columns], overlaps)  # (P, T)
    rows = [best[:, i, None] for i in range(len(columns))]
    things = (scores[:, columns].max(axis=2) + _at(scores[:, columns], best)) / 2
    same_ones = _same_ones(regions.boxes, overlaps) if query.counts else overlaps > SAME_THING
    for i, column in enumerate(columns):
        if (count := query.counts.get(query.phrases[column])) is not None:
            others = np.delete(best, i, axis=1)
            its_rows, at_least = _several(best[:, i], others, count.number + 1, merits[:, i], same_ones)
            asked = its_rows[:, : count.number]
            rows[i] = np.where(at_least[:, : count.number] < _COUNT_SHOWN, -1, asked)
            surely = at_least[:, count.number - 1] * (1 if count.at_least else 1 - at_least[:, count.number])
            lowest = np.where(np.isneginf(scores[:, column]), np.inf, scores[:, column]).min(axis=1)
            its_scores = scores[photos[:, None], column, asked]
            things[:, i] = np.where(asked < 0, lowest[:, None], its_scores).mean(axis=1)
            said.append((count, (column,), surely, _COUNT_WEIGHT * unit * np.log(surely)))
    as_things = things @ weights.things
    for *_, points in said:
        as_things = as_things + points
    as_one = scores[:, 0].max(axis=1) if query.as_one else None
    together = as_things if as_one is None else weights.as_one * as_one + (1 - weights.as_one) * as_things
    return ComposedScores(weights, together, as_one, as_things, things, rows, said, fits, merits, overlaps)


def compose(
    query: Query,
    scores: np.ndarray,
    regions: PhotoRegions,
    sizes: np.ndarray,
    scoring: str,
    weights: PartWeights | None = None,
) -> list[Composition]:
    """How each of P photographs answers, and where. Arguments as of `compose_all`."""
    found = compose_all(query, scores, regions, sizes, scoring, weights)
    return compositions(query, scores, regions, found, scoring)


def compositions(
    query: Query, scores: np.ndarray, regions: PhotoRegions, found: ComposedScores, scoring: str
) -> list[Composition]:
    """The same, given the parts of their scores. Other arguments as of `compose_all`."""
    rows = [its_rows.tolist() for its_rows in _shown(query, found)]
    as_one_rows = [-1] * len(scores)
    if query.as_one:
        as_one_rows = ground(scores[:, :1], regions, scoring, found.overlaps)[:, 0].tolist()
    margin = _AS_ONE_MARGIN * _COSINE / GROUNDING_WEIGHTS[scoring].score
    composed = []
    for photo, as_one_row in enumerate(as_one_rows):
        things = [
            ThingPart(column, [row for row in its_rows[photo] if row >= 0], float(score))
            for column, its_rows, score in zip(query.things, rows, found.things[photo], strict=True)
        ]
        said = [SaidPart(said, of, float(how[photo]), float(points[photo])) for said, of, how, points in found.said]
        score, as_things = float(found.scores[photo]), float(found.as_things[photo])
        as_one = won = None
        if found.as_one is not None:
            as_one = float(found.as_one[photo])
            won = ONE_THING if as_one - as_things > margin else SEVERAL_THINGS
        composed.append(Composition(score, found.weights, as_one, as_one_row, as_things, things, said, won))
    return composed


def upper_bounds(query: Query, best: np.ndarray, weights: PartWeights | None = None) -> np.ndarray:
    """No photograph's score is higher: (P,) float64. best: (Q, P), the score of its best region for each phrase."""
    weights = weights or part_weights(query)
    things = weights.things @ best[query.things]
    return weights.as_one * best[0] + (1 - weights.as_one) * things if query.as_one else things


def _shown(query: Query, found: ComposedScores) -> list[np.ndarray]:
    """The regions of each thing, (P, how many) as in `ComposedScores.rows`, where all that is said is likeliest.

    Things of which there are several stay where they are, the single ones are put beside them.
    """
    rows = list(found.rows)
    single = [i for i, column in enumerate(query.things) if query.phrases[column] not in query.counts]
    if not single:
        return rows
    photos = np.arange(len(found.scores))
    place = {query.phrases[column]: i for i, column in enumerate(query.things)}
    merits = found.merits.copy()
    together: dict[tuple[int, int], np.ndarray] = {}  # what two things' regions merit beside
    for relation, fits in zip(query.relations, found.fits, strict=True):
        subject = place[relation.subject]
        if relation.object is None:
            merits[:, subject] += np.log(fits)
        else:
            pair = subject, place[relation.object]
            together[pair] = together.get(pair, 0.0) + np.log(fits)
    for i, its_rows in enumerate(rows):
        if i not in single:
            for row in its_rows.T:
                merits[photos[row >= 0], :, row[row >= 0]] = -np.inf
    between: dict[tuple[int, int], np.ndarray] = {}
    for (a, b), fits in together.items():
        if a in single and b in single:
            between[single.index(a), single.index(b)] = fits
        elif a in single:  # beside one of which there are several: the first of them
            merits[:, a] += fits[photos, :, rows[b][:, 0]]
        elif b in single:
            merits[:, b] += fits[photos, rows[a][:, 0]]
    merits = merits[:, single]
    left = np.all(np.any(merits > -np.inf, axis=2), axis=1)  # else there is nothing but the regions of the others
    chosen = assign_all(np.where(left[:, None, None], merits, 0.0), found.overlaps, between)
    for thing, its_row in zip(single, chosen.T, strict=True):
        rows[thing] = np.where(left[:, None], its_row[:, None], rows[thing])
    return rows


def _at(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One number of each last axis: array (..., N), rows (...) -> (...)."""
    return np.take_along_axis(array, rows[..., None], axis=-1)[..., 0]


def _joint(a: np.ndarray, b: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """How likely each two regions are those of two things, (P, N, N), rows the first's: two regions, if there are two.

    a, b: (P, N) how likely each is that of the one and the other thing.
    """
    both = a[:, :, None] * b[:, None, :]
    apart = np.where(overlaps > SAME_THING, 0.0, both)
    total = apart.sum(axis=(1, 2), keepdims=True)
    return np.where(total > 1e-12, apart / np.maximum(total, 1e-12), both)


def _several(
    first: np.ndarray, others: np.ndarray, number: int, merits: np.ndarray, same_ones: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The regions of several things of a kind, the likeliest first, and how surely there are at least so many.

    first: (P,) one of them. others: (P, T - 1) regions of other things. merits: (P, N) log posteriors. same_ones:
    (P, N, N) of `_same_ones`. Returns rows (P, number), -1 where there are not as many, and (P, number) in (0, 1).
    """
    photos = np.arange(len(first))
    taken = same_ones[photos, first]  # (P, N)
    np.put_along_axis(taken, others, True, axis=1)
    rows = np.full((len(first), number), -1)
    rows[:, 0] = first
    for place in range(1, number):
        free = np.where(taken, -np.inf, merits)
        row = free.argmax(axis=1)
        there = _at(free, row) > -np.inf
        rows[there, place] = row[there]
        taken |= there[:, None] & same_ones[photos, row]
    found = np.where(rows < 0, -np.inf, np.take_along_axis(merits, rows, axis=1))
    return rows, _soft(_COUNT_SLOPE * (found - found[:, :1]) + _COUNT_BIAS)


def _same_ones(boxes: np.ndarray, overlaps: np.ndarray) -> np.ndarray:
    """Whether two regions are not two of a thing: boxes (P, N, 4), overlaps (P, N, N) -> (P, N, N) bool."""
    a, b = boxes[:, :, None], boxes[:, None, :]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(axis=2)
    smaller = np.minimum(areas[:, :, None], areas[:, None, :])
    return (overlaps > _SAME_ONE) | (np.maximum(sides, 0).prod(axis=3) > _SAME_ONE_INSIDE * smaller)


def _soft(odds: np.ndarray) -> np.ndarray:
    return 0.02 + 0.96 / (1 + np.exp(-np.clip(odds, -50, 50)))
