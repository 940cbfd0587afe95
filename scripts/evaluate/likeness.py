"""Photographs like a photograph, judged by what is known of them: those that answer the same everyday question.

    python -m scripts.evaluate.likeness --photos PHOTOS --annotations VAL

Each photograph that answers a question of `questions.json` (as scripts.evaluate.questions reads it; at most --examples
of a question, drawn at random) is an example, as `search like` takes it: by its main regions (`search.example`). It
finds the others that answer that question, of all photographs but itself. Beside the number of regions that the product
takes: others. precision@5: the share of the first five that answer. Chance: the mean AP to expect of a random order.
With --phrase the question is asked beside the example, as in `search like photo.jpg "a question"`, and alone.
"""

import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from db.records import Features, RegionRow, RegionScores
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.questions import find_answers, read_questions
from search.example import MAIN_REGIONS, main_regions
from search.likeness import rank_alike
from search.metrics import average_precision, expected_by_chance, precision_at

COUNTS = (1, 3, MAIN_REGIONS, 8, 12)


@click.command(help=__doc__)
@collection_options
@click.option("--examples", type=click.IntRange(1), default=3, show_default=True, help="Of each question, at most.")
@click.option("--phrase", is_flag=True, help="The question beside the example, and alone.")
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, examples: int, phrase: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        questions = read_questions(annotations / "questions.json")
        photographs = load_annotations(photos, annotations, unlabelled=True)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            answers = {question.text: find_answers(question, labelled.photos) for question in questions}
            asked = draw(answers, examples)
            if not asked:
                raise EvaluationError("No question is answered by two photographs.")
            features = labelled.collection.features()
            rows = labelled.collection.regions(features.region_ids)
        words = dict(zip(answers, predictor.encode_phrases(list(answers)))) if phrase else {}
        results = {}
        for count in COUNTS:
            results[f"{count} regions"] = judge(asked, answers, features, rows, count, {})
        if phrase:
            results[f"{MAIN_REGIONS} regions and the question"] = judge(
                asked, answers, features, rows, MAIN_REGIONS, words
            )
            results["the question"] = judge(asked, answers, features, rows, 0, words)
        counts = [len(answers[text]) - 1 for text, _ in asked]
        chance = expected_by_chance(len(labelled.photos) - 1, counts)
    summary = {"examples": len(asked), "chance": chance, "results": results}
    show(summary, lambda: table(summary), as_json=as_json)


def draw(answers: dict[str, set[int]], examples: int) -> list[tuple[str, int]]:
    """Questions and photographs that answer them beside others; the same every time."""
    rng = random.Random(0)
    return [
        (text, photo_id)
        for text, found in answers.items()
        if len(found) > 1
        for photo_id in rng.sample(sorted(found), min(examples, len(found)))
    ]


def judge(
    asked: Sequence[tuple[str, int]],
    answers: dict[str, set[int]],
    features: Features,
    rows: Sequence[RegionRow],
    count: int,
    words: dict[str, np.ndarray],
) -> dict[str, float]:
    """Means over the examples, each of so many regions. words: the vectors of questions, asked too."""
    boxes = np.array([row.box for row in rows])
    objectness = np.array([row.score for row in rows])
    precisions, average_precisions = [], []
    for text, photo_id in tqdm(asked, unit="example", desc=f"{count} regions", mininterval=5):
        own = np.flatnonzero(features.photo_ids == photo_id)
        main = own[main_regions(boxes[own], objectness[own], count)] if count else own[:0]
        vectors = features.embeddings[main]
        if words:
            vectors = np.concatenate([vectors, words[text][None]])
        others = features.take(features.photo_ids != photo_id)
        scores = RegionScores(others.region_ids, others.photo_ids, vectors @ others.embeddings.T)
        ranking = rank_alike(scores, len(main), [""] * len(vectors))
        relevant = [found in answers[text] for found in ranking.photo_ids.tolist()]
        precisions.append(precision_at(relevant, 5))
        average_precisions.append(average_precision(relevant))
    return {"precision@5": statistics.fmean(precisions), "mean_ap": statistics.fmean(average_precisions)}


def table(summary: dict[str, Any]) -> str:
    """A line for each kind of example, one for chance."""
    lines = [f"{summary['examples']} examples                 P@5     mean AP"]
    for name, result in summary["results"].items():
        lines.append(f"{name:<28} {result['precision@5']:6.3f}   {result['mean_ap']:6.3f}")
    lines.append(f"{'chance':<28} {'':6}   {summary['chance']:6.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
