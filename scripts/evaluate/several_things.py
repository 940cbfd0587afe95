"""Questions of two phrases from one photograph: each in a region of its own, against two separate questions.

\b
    python -m scripts.evaluate.several_things --photos PHOTOS --annotations VAL

Draws from each photograph at most one pair of different phrases of two words or more whose labelled boxes overlap by
less than half, and all such pairs (at most --shared a photograph) that end with the same noun ("a black dog", "a brown
dog"). Measured:

\b
    recall@1    how often the photograph is the first of all, its score by the assignment of regions
    averaged    the same, its score the mean of what two separate questions find
    both right  share of the pairs of which both phrases' boxes overlap their labelled ones by half or more, in the
                photograph that they are from: by the assignment, and by grounding each phrase on its own
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from db.collection import Collection
from fcln.boxes import iou
from fcln.phrase_model import PhraseModel
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto, labelled_collection
from scripts.evaluate.retrieval import is_askable
from search.composed_ranking import ComposedRanking
from search.composition import compose
from search.explanation import Shown, answers_of
from search.grounding import ground, side_by_side
from search.hits import described_photos
from search.ranking import rank_photographs
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query

# Boxes that overlap by more (intersection over union) may be one thing, and so may a box found and a labelled one.
SAME = 0.5


@dataclass(frozen=True)
class Pair:
    """Two phrases of a photograph."""

    photo_id: int
    phrases: tuple[str, str]
    boxes: np.ndarray  # (2, 4) float32, x1 y1 x2 y2 in pixels of the photograph


@dataclass(frozen=True)
class Outcome:
    """What became of a pair."""

    first: bool  # its photograph is, by the assignment
    first_averaged: bool
    right: bool  # both boxes are, by the assignment
    right_alone: bool


@click.command(help=__doc__)
@collection_options
@click.option("--pairs", type=click.IntRange(1), default=300, show_default=True, help="Of any nouns, at most.")
@click.option("--shared", type=click.IntRange(1), default=2, show_default=True, help="With one noun, of a photograph.")
@click.option("--seed", default=1, show_default=True)
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, pairs: int, shared: int, seed: int) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            model = PhraseModel.load(weights, device=device)
            lexicon = Lexicon.of(model)
            asked = {
                "any nouns": draw_pairs(labelled.photos, lexicon, seed=seed)[:pairs],
                "a shared noun": draw_pairs(labelled.photos, lexicon, seed=seed, shared=shared),
            }
            if not all(asked.values()):
                raise EvaluationError("No photograph has two phrases whose boxes are apart: other annotations, please.")
            figures = {
                name: summarize([ask(pair, labelled.collection, model, lexicon) for pair in tqdm(some, mininterval=5)])
                for name, some in asked.items()
            }
    show(figures, lambda: table(figures), as_json=as_json)


def draw_pairs(
    photos: Sequence[LabelledPhoto], lexicon: Lexicon, *, seed: int, shared: int | None = None
) -> list[Pair]:
    """One pair of each photograph that has any, in random order; shared: so many that end with one noun."""
    rng = random.Random(seed)
    found: list[Pair] = []
    for photo in photos:
        candidates = [pair for pair in _pairs(photo, lexicon) if shared is None or _is_one_noun(pair)]
        found += rng.sample(candidates, min(shared or 1, len(candidates)))
    rng.shuffle(found)
    return found


def _pairs(photo: LabelledPhoto, lexicon: Lexicon) -> Iterator[Pair]:
    """All pairs of a photograph's phrases that name one box each, boxes apart."""
    phrases = [phrase for of_box in photo.labels.phrases for phrase in dict.fromkeys(of_box)]
    boxes = {phrase: box for box, of_box in zip(photo.boxes, photo.labels.phrases, strict=True) for phrase in of_box}
    once = [
        phrase
        for phrase, count in Counter(phrases).items()
        if count == 1 and len(words_of(phrase)) >= 2 and is_askable(phrase, lexicon)
    ]
    for one, other in combinations(once, 2):
        if words_of(one) != words_of(other) and iou([boxes[one]], [boxes[other]])[0, 0] < SAME:
            yield Pair(photo.photo_id, (one, other), np.stack([boxes[one], boxes[other]]))


def _is_one_noun(pair: Pair) -> bool:
    one, other = map(words_of, pair.phrases)
    return one[-1] == other[-1]


def ask(pair: Pair, collection: Collection, model: PhraseModel, lexicon: Lexicon) -> Outcome:
    """Ask for both phrases among all photographs, and in the pair's own."""
    query = parse_query(pair.phrases, lexicon)
    vectors = model.encode_phrases(query.encoded)
    scores = collection.cosines(vectors)
    first = ComposedRanking(collection, query, scores, "embedding").first(1)
    averaged = rank_photographs(scores, query.phrases).first(1)
    ((photo, own),) = described_photos(collection, scores.of(pair.photo_id))
    side = side_by_side(own, np.array([own.shape[1]]), photo.regions)
    parts = compose(query, *side, np.array([(photo.width, photo.height)]), "embedding")
    shown = Shown(scores.of(pair.photo_id), photo.regions, parts)
    ((regions, _),) = answers_of(query, shown, "embedding", collection.regions)
    alone = photo.regions.boxes[ground(own, photo.regions, "embedding")]
    return Outcome(
        first == [pair.photo_id],
        averaged == [pair.photo_id],
        are_right([region.box for region in regions], pair.boxes),
        are_right(alone, pair.boxes),
    )


def are_right(found: Sequence[Sequence[float]] | np.ndarray, labelled: np.ndarray) -> bool:
    """Whether each box found overlaps the labelled one of the same place by half or more."""
    return all(iou([box], [right])[0, 0] >= SAME for box, right in zip(found, labelled, strict=True))


def summarize(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Shares of the pairs."""
    count = len(outcomes)
    return {
        "pairs": count,
        "recall@1": sum(outcome.first for outcome in outcomes) / count,
        "recall@1 averaged": sum(outcome.first_averaged for outcome in outcomes) / count,
        "both right": sum(outcome.right for outcome in outcomes) / count,
        "both right alone": sum(outcome.right_alone for outcome in outcomes) / count,
    }


def table(figures: dict[str, dict[str, float]]) -> str:
    """A line for each kind of pairs."""
    lines = [f"{'':<14} {'pairs':>6} {'recall@1':>9} {'averaged':>9} {'both right':>11} {'alone':>7}"]
    for name, some in figures.items():
        lines.append(
            f"{name:<14} {some['pairs']:>6} {some['recall@1']:9.3f} {some['recall@1 averaged']:9.3f} "
            f"{some['both right']:11.3f} {some['both right alone']:7.3f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
