"""The paper's retrieval experiment: find the photograph that four phrases came from, and the box of each.

    python -m scripts.evaluate.retrieval --photos PHOTOS --annotations VAL

Indexes the photographs with the product's own pipeline. A query is four different phrases of one photograph (paper,
"Image Retrieval using Regions and Captions"); 100 photographs are drawn, all photographs are ranked for each query as
`search query` ranks them, and that is repeated with other draws. recall@k: how often the query's photograph is among
the first k. localization@t: how often the best region of a phrase in that photograph overlaps the phrase's box (the
best of them, if it has several) by at least t, intersection over union. Every figure is the mean over the draws, with
its standard error. `--scoring likelihood --exact` is the paper's own score.
"""

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from fcln.boxes import iou
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, scoring_options, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto, labelled_collection
from search.errors import QueryError
from search.likelihood import JUDGED_REGIONS
from search.metrics import localization_recall, median_iou, median_rank, recall_at, standard_error
from search.ranking import Ranking
from search.searcher import Searcher
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query

PHRASES = 4  # of a query (paper)


@dataclass(frozen=True)
class LabelledPhrase:
    """A phrase of a photograph."""

    text: str  # as it is first written there
    boxes: np.ndarray  # (B, 4) float32, all boxes it belongs to, x1 y1 x2 y2, pixels of the upright photograph


@dataclass(frozen=True)
class RetrievalQuery:
    """Phrases of one photograph, which is to be found by them."""

    photo_id: int
    phrases: tuple[LabelledPhrase, ...]


@dataclass(frozen=True)
class Outcome:
    """How one query went."""

    rank: int  # of its photograph, from 1
    ious: tuple[float, ...]  # of each phrase's grounding in that photograph, with the phrase's best box; none: no boxes


_QUERY_OPTIONS = (
    click.option("--draws", type=click.IntRange(1), default=10, show_default=True),
    click.option(
        "--queries", type=click.IntRange(1), default=100, show_default=True, help="Of a draw, fewer if too few."
    ),
    click.option(
        "--min-words", type=click.IntRange(1), default=3, show_default=True, help="Shorter phrases are not asked."
    ),
    click.option("--seed", default=1, show_default=True, help="Of the draws."),
)


def query_options(command: Callable[..., None]) -> Callable[..., None]:
    """How many queries of what are drawn."""
    for option in reversed(_QUERY_OPTIONS):
        command = option(command)
    return command


@click.command(help=__doc__)
@collection_options
@scoring_options
@query_options
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, scoring: str | None, exact: bool, draws: int, queries: int, min_words: int,
         seed: int) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            scoring = scoring or predictor.scoring.default
            lexicon = Lexicon.of(predictor)
            drawn = draw_all(labelled.photos, lexicon, draws=draws, queries=queries, min_words=min_words, seed=seed)
            searcher = Searcher(labelled.collection, predictor, lexicon=lexicon)
            judged_regions = None if exact else JUDGED_REGIONS

            def ask(query: RetrievalQuery) -> Outcome:
                phrases = [phrase.text for phrase in query.phrases]
                ranking = searcher.rank(phrases, scoring=scoring, judged_regions=judged_regions)
                found = searcher.ground(phrases, query.photo_id, scoring=scoring, judged_regions=judged_regions)
                return judge(query, ranking, [region.box for region in found])

            with tqdm(total=sum(map(len, drawn)), unit="query", desc="Asking", mininterval=5) as bar:
                outcomes = []
                for asked in drawn:
                    outcomes.append([ask(query) for query in asked])
                    bar.update(len(asked))
            figures = summarize(outcomes)
            figures |= {"images": len(labelled.photos), "queries": len(drawn[0]), "scoring": scoring}
    show(figures, lambda: table(figures, draws), as_json=as_json)


def draw_all(
    photos: Sequence[LabelledPhoto], lexicon: Lexicon, *, draws: int, queries: int, min_words: int, seed: int
) -> list[list[RetrievalQuery]]:
    """The queries of each draw, of phrases that the search takes; says on stderr if they are fewer than wanted."""
    candidates = find_candidates(photos, min_words, lambda phrase: is_askable(phrase, lexicon))
    drawn = [draw_queries(candidates, queries, f"{seed}/{number}") for number in range(draws)]
    if len(candidates) < queries:
        click.echo(f"Only {len(candidates)} photographs have {PHRASES} phrases to ask for.", err=True)
    return drawn


def is_askable(phrase: str, lexicon: Lexicon) -> bool:
    """Whether the search takes a phrase: not if it is too long, or the model knows none of its words."""
    try:
        parse_query([phrase], lexicon)
    except QueryError:
        return False
    return True


def find_candidates(
    photos: Sequence[LabelledPhoto], min_words: int, can_be_asked: Callable[[str], bool] = lambda phrase: True
) -> list[tuple[int, list[LabelledPhrase]]]:
    """The photographs with enough phrases for a query: (photo id, their different phrases of min_words or more).

    Phrases are the same if their words are (fcln.vocabulary.words_of), and then have the boxes of all.
    """
    candidates = []
    for photo in photos:
        spelling: dict[str, str] = {}
        boxes: dict[str, list[np.ndarray]] = {}
        for box, phrases in zip(photo.boxes, photo.labels.phrases, strict=True):
            of_box = {" ".join(words_of(phrase)): phrase for phrase in reversed(phrases)}
            for same, phrase in of_box.items():
                if len(same.split()) >= min_words and can_be_asked(phrase):
                    spelling.setdefault(same, phrase)
                    boxes.setdefault(same, []).append(box)
        if len(boxes) >= PHRASES:
            candidates.append(
                (photo.photo_id, [LabelledPhrase(spelling[same], np.stack(boxes[same])) for same in boxes])
            )
    return candidates


def draw_queries(
    candidates: Sequence[tuple[int, Sequence[LabelledPhrase]]], count: int, seed: str
) -> list[RetrievalQuery]:
    """Queries from `count` different photographs, or from all if there are fewer; the same for the same seed.

    Raises EvaluationError if there is nothing to draw from.
    """
    if not candidates:
        raise EvaluationError(f"No photograph has {PHRASES} different phrases that are long enough: lower --min-words.")
    rng = random.Random(seed)
    return [
        RetrievalQuery(photo_id, tuple(rng.sample(phrases, PHRASES)))
        for photo_id, phrases in rng.sample(candidates, min(count, len(candidates)))
    ]


def judge(query: RetrievalQuery, ranking: Ranking, boxes: Sequence[Sequence[float]]) -> Outcome:
    """Where a ranking has the query's photograph, and how well boxes ground its phrases there.

    boxes: one for each phrase, x1 y1 x2 y2 in pixels of the photograph; none where nothing is grounded.
    """
    (place,) = np.flatnonzero(ranking.photo_ids == query.photo_id)
    overlaps = (float(iou([box], phrase.boxes).max()) for phrase, box in zip(query.phrases, boxes))
    return Outcome(int(place) + 1, tuple(overlaps))


def summarize(draws: Sequence[Sequence[Outcome]]) -> dict:
    """Mean of each figure over the draws, and under "standard_error" its standard error (None for a single draw).

    Outcomes without groundings have no figures of localization.
    """
    by_draw = [_figures(draw) for draw in draws]
    names = by_draw[0].keys()
    errors = {name: standard_error([figures[name] for figures in by_draw]) for name in names}
    return {
        **{name: statistics.fmean(figures[name] for figures in by_draw) for name in names},
        "standard_error": {name: None if math.isnan(error) else error for name, error in errors.items()},
    }


def _figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    ranks = [outcome.rank for outcome in outcomes]
    ious = [value for outcome in outcomes for value in outcome.ious]
    figures = {f"recall@{k}": recall_at(ranks, k) for k in (1, 5, 10)} | {"median_rank": median_rank(ranks)}
    if not ious:
        return figures
    located = {f"localization@{threshold}": localization_recall(ious, threshold) for threshold in (0.1, 0.3, 0.5)}
    return figures | located | {"median_iou": median_iou(ious)}


def table(figures: dict, draws: int) -> str:
    """The figures for people: a line each, with the standard error."""
    lines = [
        f"{figures['images']} images, {figures['queries']} queries of {PHRASES} phrases, {draws} draws, "
        f"{figures['scoring']} scoring",
        "",
    ]
    for name, error in figures["standard_error"].items():
        lines.append(f"{name:<16} {figures[name]:7.3f}" + ("" if error is None else f" ± {error:.3f}"))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
