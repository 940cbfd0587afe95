"""Every photograph ranked for every question, and how well that answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fcln.boxes import iou
from search.errors import EvaluationError, QueryError
from search.evaluation.question_file import Box, Question
from search.likelihood import JUDGED_REGIONS
from search.metrics import (
    average_precision,
    bootstrap_interval,
    expected_by_chance,
    median_rank,
    recall_at,
)

if TYPE_CHECKING:
    from db.collection import Collection
    from db.records import RegionRow
    from search.searcher import Searcher

# Photographs of a ranking that are kept, to show what came first.
_KEPT = 10

RIGHT_IOU = 0.5  # a box is right that overlaps a labelled one so much


@dataclass(frozen=True)
class Judged:
    """How well one question was answered."""

    question: Question
    first: list[int]  # photo ids, best first
    answers: int  # different photographs that answer
    rank: int  # of the best-ranked photograph that answers, from 1; copies of a photograph count once
    average_precision: float
    places: dict[int, tuple[Box, float]]  # photo id with labelled boxes -> the box found, its best IoU with one of them


@dataclass(frozen=True)
class Evaluation:
    """The questions that could be asked, as judged, and those that could not, with the reason."""

    photographs: int  # different ones that were ranked
    judged: list[Judged]
    refused: dict[str, str]  # phrase -> the sentence

    def figures(self) -> dict[str, Any]:
        """Each figure and its interval of 95 %: {"recall@1": {"value", "low", "high"}, ...}.

        Localization is missing where no box was labelled. Intervals come from resampling the questions (bootstrap); the
        seed is fixed, so the same questions have the same interval.
        """
        ranks = [judged.rank for judged in self.judged]
        precisions = [judged.average_precision for judged in self.judged]
        figures = {f"recall@{k}": _figure(ranks, partial(recall_at, k=k)) for k in (1, 5, 10)}
        figures["median rank"] = _figure(ranks, median_rank)
        figures["mean AP"] = _figure(precisions, lambda drawn: float(np.mean(drawn)))
        overlaps = [np.mean([place[1] >= RIGHT_IOU for place in j.places.values()]) for j in self.judged if j.places]
        if overlaps:  # a question's boxes are drawn together: they are not independent
            figures[f"localization@{RIGHT_IOU}"] = _figure(overlaps, lambda drawn: float(np.mean(drawn)))
        return figures

    @property
    def chance(self) -> float:
        """The mean AP to expect of a random order."""
        return expected_by_chance(self.photographs, [judged.answers for judged in self.judged])

    def worst(self, count: int) -> list[Judged]:
        """The questions answered worst: least average precision first, then the box that is furthest off."""
        return sorted(self.judged, key=lambda judged: (judged.average_precision, _least_overlap(judged)))[:count]


def evaluate(
    searcher: "Searcher",
    collection: "Collection",
    questions: Sequence[Question],
    *,
    scoring: str | None = None,
    progress: Callable[[Sequence[Question]], Any] = iter,
) -> Evaluation:
    """Ask every question of the whole collection.

    questions: at least one. progress: makes an iterator of them that shows how far it is.

    Raises EvaluationError if none can be asked.
    """
    same = {photo_id: group[0] for group in collection.repeated() for photo_id in group}
    photo_ids = collection.photo_ids().tolist()
    photographs = len({same.get(photo_id, photo_id) for photo_id in photo_ids})
    judged, refused = [], {}
    for question in progress(questions):
        try:
            judged.append(_judge(searcher, question, same, scoring))
        except QueryError as error:
            refused[question.phrase] = str(error)
    if not judged:
        raise EvaluationError(f"No question can be asked; of the first: {next(iter(refused.values()))}")
    return Evaluation(photographs, judged, refused)


def _judge(searcher: "Searcher", question: Question, same: dict[int, int], scoring: str | None) -> Judged:
    ranked = searcher.rank([question.phrase], scoring=scoring, judged_regions=JUDGED_REGIONS).photo_ids.tolist()
    contents = list(dict.fromkeys(same.get(photo_id, photo_id) for photo_id in ranked))
    answers = {same.get(photo_id, photo_id) for photo_id in question.answers}
    relevant = [content in answers for content in contents]
    places = {}
    for photo_id, boxes in question.answers.items():
        if boxes:
            region = found_region(searcher, question.phrase, photo_id, scoring)
            places[photo_id] = (region.box, float(iou([region.box], boxes).max()))
    return Judged(
        question, contents[:_KEPT], len(answers), relevant.index(True) + 1, average_precision(relevant), places
    )


def found_region(searcher: "Searcher", phrase: str, photo_id: int, scoring: str | None) -> "RegionRow":
    """The region of a photograph that answers a whole question best."""
    return searcher.ground([phrase], photo_id, scoring=scoring, judged_regions=JUDGED_REGIONS)[0]


def _least_overlap(judged: Judged) -> float:
    return min((overlap for _, overlap in judged.places.values()), default=1.0)


def _figure(values: Sequence[Any], statistic: Callable[[Any], float]) -> dict[str, float]:
    low, high = bootstrap_interval(values, statistic)
    return {"value": statistic(np.asarray(values)), "low": low, "high": high}
