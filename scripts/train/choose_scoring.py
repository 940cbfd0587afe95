"""Fit the weight of the fused scoring, choose the default scoring, and store both in a weights file.

\b
    python -m scripts.train.choose_scoring WEIGHTS --photos PHOTOS --annotations VAL

Asks the queries of the paper's retrieval experiment (see scripts.evaluate.retrieval) under each scoring.
The figure compared is the mean of recall@1, @5 and @10. Embedding scoring is the default unless another is better by
more than two standard errors of the difference: it costs a thousandth of the language model's time.
"""

import math
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from db.records import Features, RegionScores
from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.predictor import Predictor
from fcln.scoring import Scoring
from fcln.training.annotations import load_annotations
from fcln.vocabulary import token_count
from scripts.evaluate.command import errors_as_sentences
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.retrieval import RetrievalQuery, draw_queries, find_candidates
from search.likelihood import JUDGED_REGIONS, closest_regions, fuse, log_likelihoods
from search.ranking import rank_photographs

WEIGHTS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)
_DEPTHS = (1, 5, 10)


@click.command(help=__doc__)
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--annotations", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--images", type=click.IntRange(2), default=500, show_default=True, help="The first of them.")
@click.option("--queries", type=click.IntRange(2), default=200, show_default=True)
@click.option("--collection", type=click.Path(path_type=Path), help="Keep the collection here.")
@click.option("--dry-run", is_flag=True, help="Do not store them: collections of the weights stay usable.")
def main(weights: Path, photos: Path, annotations: Path, images: int, queries: int, collection: Path | None,
         dry_run: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)[:images]
        predictor = Predictor.load(weights)
        with labelled_collection(photographs, predictor, max_regions=50, kept_at=collection) as labelled:
            candidates = find_candidates(labelled.photos, 3)
            features = labelled.collection.features()
            ranks = [
                ranks_by_scoring(query, predictor, features)
                for query in tqdm(draw_queries(candidates, queries, "choose scoring"), unit="query", mininterval=5)
            ]
        figures = {name: np.array([score(rank[name]) for rank in ranks]) for name in ranks[0]}
        for (scoring, weight), values in figures.items():
            click.echo(f"{scoring:<10} {weight:<5g} {values.mean():.4f}")
        chosen = choose(figures)
        if not dry_run:
            checkpoint = load_checkpoint(weights)
            stored = replace(checkpoint.scoring, default=chosen.default, fused_weight=chosen.fused_weight)
            save_checkpoint(weights, replace(checkpoint, scoring=stored))
        click.echo(f"{weights}: default {chosen.default}, fused weight {chosen.fused_weight:g}")


def ranks_by_scoring(query: RetrievalQuery, predictor: Predictor, features: Features) -> dict[tuple[str, float], int]:
    """The rank of the query's photograph, from 1, under each (scoring, weight of the fused one or 0)."""
    phrases = [phrase.text for phrase in query.phrases]
    cosines = predictor.encode_phrases(phrases) @ features.embeddings.T
    regions = RegionScores(features.region_ids, features.photo_ids, cosines)
    judged = closest_regions(regions, JUDGED_REGIONS)
    likelihoods = log_likelihoods(predictor, phrases, features.codes, judged)
    tokens = [token_count(phrase) for phrase in phrases]
    scores = {("embedding", 0.0): cosines, ("likelihood", 0.0): likelihoods}
    scores |= {("fused", weight): fuse(cosines, likelihoods, tokens, weight) for weight in WEIGHTS}
    return {name: _rank(query.photo_id, replace(regions, scores=value), phrases) for name, value in scores.items()}


def _rank(photo_id: int, regions: RegionScores, phrases: list[str]) -> int:
    ranking = rank_photographs(regions, phrases)
    return int(np.flatnonzero(ranking.photo_ids == photo_id)[0]) + 1


def score(rank: int) -> float:
    """A query's share of recall@1, @5 and @10."""
    return sum(rank <= depth for depth in _DEPTHS) / len(_DEPTHS)


def choose(figures: dict[tuple[str, float], np.ndarray]) -> Scoring:
    """figures: for each (scoring, weight) the score of each query, in the same order."""

    def mean(name: tuple[str, float]) -> float:
        return float(figures[name].mean())

    fused = max((name for name in figures if name[0] == "fused"), key=mean)
    embedding = next(name for name in figures if name[0] == "embedding")
    best = max(figures, key=mean)
    gain = figures[best] - figures[embedding]
    clearly = gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain))
    return Scoring(default=best[0] if clearly else "embedding", fused_weight=fused[1])


if __name__ == "__main__":
    main()
