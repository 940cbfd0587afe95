"""How photographs rank for queries: exact, though few regions are scored for a phrase to its end.

A query asks for one photograph, the right one, and what matters is how many of the others score higher. A photograph's
score is the mean over the query's phrases of its best region's (`search.ranking`), so those that score higher than the
right one do so for at least one of the phrases. Hence three passes, each with floors below which a score need not be
known (which spares a language model most of its words):

1. the right photographs' own scores for the phrases that ask for them, and where they answer them;
2. for each phrase, the photographs that reach the right one's score for it;
3. for each query, the other phrases' scores of those photographs, if they may still bring them before the right one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from db.records import Features, RegionScores
from search.ranking import Ranking, best_scores, rank_by_best

# Regions scored at a time: bounds memory.
_REGIONS = 8192
# Scores this close may tie: `search.ranking` rounds their mean.
_TIE = 1e-5


@dataclass(frozen=True)
class Scorer:
    """A way to score Q phrases, the same ones in the same order wherever they are meant."""

    # Regions, floors (Q, N) float32 -> scores (Q, N) float32, higher is better. One below its floor may be -inf.
    score: Callable[[Features, np.ndarray], np.ndarray]
    # A photograph's regions, scores (Q', N) of some phrases -> which region answers each of these phrases, (Q',) int64.
    ground: Callable[[Features, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Question:
    """Some of the phrases, and the photograph that they were written about."""

    phrases: list[int]  # numbers of the scorer's phrases, Q'
    photo_id: int


@dataclass(frozen=True)
class RankedQuestion:
    """How the photographs rank for a question, and where the right one answers."""

    ranking: Ranking  # down to the right photograph; those below it stand in no particular order, some at -inf
    region_ids: list[int]  # of the right photograph, Q': its region for each phrase


def rank_all(
    questions: Sequence[Question], phrases: Sequence[str], features: Features, scorer: Scorer, *, desc: str
) -> list[RankedQuestion]:
    """Rank the photographs of some regions for each question.

    phrases: all Q of the scorer's. features: the rows of a photograph stand together; each right photograph has some
    (else KeyError). desc: of the progress bars.
    """
    photo_ids = features.photo_ids[features.starts()]
    column = {photo_id: number for number, photo_id in enumerate(photo_ids.tolist())}
    # (Q, P) float64: each photograph's best region's score for each phrase; -inf: not known, for it does not matter.
    best = np.full((len(phrases), len(photo_ids)), -np.inf)

    answering: dict[tuple[int, int], int] = {}  # phrase, photograph's column -> region
    floors = np.full(best.shape, np.inf)
    for question in questions:
        floors[question.phrases, column[question.photo_id]] = -np.inf
    for columns, part, scores in _raise(best, floors, features, scorer, f"{desc}, 1 of 3"):
        for number, rows in zip(range(columns.start, columns.stop), part.slices()):
            asked = np.flatnonzero(np.isneginf(floors[:, number]))
            if len(asked):
                photo = part.take(rows)
                found = photo.region_ids[scorer.ground(photo, scores[asked, rows])]
                answering |= {(int(phrase), number): int(region) for phrase, region in zip(asked, found)}

    lowest = np.full((len(phrases), 1), np.inf)  # of the right photographs' scores for each phrase
    for question in questions:
        right = best[question.phrases, column[question.photo_id], None]
        lowest[question.phrases] = np.minimum(lowest[question.phrases], right)
    floors = np.where(np.isneginf(best), lowest - _TIE, np.inf)
    for _ in _raise(best, floors, features, scorer, f"{desc}, 2 of 3"):
        pass

    floors = np.full(best.shape, np.inf)
    for question in questions:
        needed = _needed(best[question.phrases], column[question.photo_id])
        floors[question.phrases] = np.minimum(floors[question.phrases], needed)
    for _ in _raise(best, floors, features, scorer, f"{desc}, 3 of 3"):
        pass

    ranked = []
    for question in questions:
        ranking = rank_by_best([phrases[phrase] for phrase in question.phrases], photo_ids, best[question.phrases])
        regions = [answering[phrase, column[question.photo_id]] for phrase in question.phrases]
        ranked.append(RankedQuestion(ranking, regions))
    return ranked


def _needed(best: np.ndarray, right: int) -> np.ndarray:
    """What the unknown scores of a question's phrases must reach to bring a photograph before the right one.

    best: (Q', P), -inf where unknown, which is then below the right photograph's (its column is `right`). Returns
    (Q', P) float64, inf for what is known or cannot bring it there.
    """
    of_right = best[:, [right]]
    unknown = np.isneginf(best)
    bounds = np.where(unknown, of_right, best).sum(axis=0)  # (P,): no photograph's scores are more together
    missing = of_right.sum() - bounds  # (P,)
    tie = _TIE * len(best)
    open_ = unknown & ~unknown.all(axis=0) & (missing <= tie)
    return np.where(open_, of_right + missing - tie, np.inf)


def _raise(
    best: np.ndarray, floors: np.ndarray, features: Features, scorer: Scorer, desc: str
) -> Iterator[tuple[slice, Features, np.ndarray]]:
    """Raise `best` to the scores that reach their floors, part by part of the regions; best, floors: (Q, P).

    Gives of each part the columns of its photographs, its regions, and their scores (Q, N).
    """
    done = 0
    for part in tqdm(list(whole_photographs(features)), desc=desc, unit="part", mininterval=5):
        sizes = part.sizes()
        columns = slice(done, done + len(sizes))
        scores = scorer.score(part, np.repeat(floors[:, columns].astype(np.float32), sizes, axis=1))
        found = best_scores(RegionScores(part.region_ids, part.photo_ids, scores))
        # Below its floor even a score that is known may not be the best: that of another region may not be.
        found[found < floors[:, columns]] = -np.inf
        best[:, columns] = np.maximum(best[:, columns], found)
        yield columns, part, scores
        done = columns.stop


def whole_photographs(features: Features) -> Iterator[Features]:
    """Parts of some _REGIONS regions, each the regions of whole photographs."""
    begin = 0
    for rows in features.slices():
        if rows.stop - begin >= _REGIONS or rows.stop == len(features.photo_ids):
            yield features.take(slice(begin, rows.stop))
            begin = rows.stop
