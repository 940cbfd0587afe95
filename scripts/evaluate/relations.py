"""How things lie: does the photograph with the asked relation come before one with the opposite relation?

    python -m scripts.evaluate.relations --photos PHOTOS --annotations VAL

Things are the frequent last words of labelled phrases. A photograph holds a relation of two of them if all of their
labelled boxes do, clearly:

\b
    left of, right of          centres a tenth of the photograph's width apart or more
    above, below               the same of its height
    bigger than, smaller than  one and a half times the area or more

Drawn are pairs of photographs that hold both things, one with the relation and one with its opposite; asked is
"<thing> <relation> <thing>", as the search reads it, of these two photographs. Measured is the share of the pairs in
which the photograph with the asked relation comes first; a fair coin has half.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from db.collection import Collection
from fcln.phrase_model import PhraseModel
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto, labelled_collection
from search.composed_ranking import ComposedRanking
from search.errors import QueryError
from search.part_weights import part_weights
from search.wording.inflection import singular
from search.wording.lexicon import Lexicon
from search.wording.parse import Query, parse_query

OPPOSITES = {"left of": "right of", "above": "below", "bigger than": "smaller than"}
# Of a photograph's width or height; of areas.
APART, LARGER = 0.1, 1.5
# Things asked for; photographs that a thing is in at least; pairs of photographs of two things and a relation.
_THINGS, _PHOTOS, _EACH = 60, 20, 3


@dataclass(frozen=True)
class RelationPair:
    """Two photographs that hold the same two things."""

    kind: str
    question: str
    right: int  # photo id: the relation holds
    wrong: int  # photo id: the opposite does


@click.command(help=__doc__)
@collection_options
@click.option("--pairs", type=click.IntRange(1), default=600, show_default=True, help="At most.")
@click.option("--seed", default=1, show_default=True)
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, pairs: int, seed: int) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            model = PhraseModel.load(weights, device=device)
            lexicon = Lexicon.of(model)
            drawn = draw_pairs(labelled.photos, seed=seed)
            asked: list[tuple[RelationPair, Query]] = []
            for pair in drawn:
                if len(asked) < pairs and (query := read(pair, lexicon)) is not None:
                    asked.append((pair, query))
            if not asked:
                raise EvaluationError("No two photographs hold two things the other way round: other annotations.")
            won = [
                (pair.kind, comes_first(pair, query, labelled.collection, model))
                for pair, query in tqdm(asked, unit="pair", mininterval=5)
            ]
    figures = summarize(won)
    show(figures, lambda: table(figures), as_json=as_json)


def draw_pairs(photos: Sequence[LabelledPhoto], *, seed: int) -> list[RelationPair]:
    """All pairs, at most _EACH of two things and a relation, in random order."""
    things = {photo.photo_id: boxes_of_things(photo) for photo in photos}
    frequent = frequent_things(photos, things)
    holding: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for photo in photos:
        boxes = {thing: its for thing, its in things[photo.photo_id].items() if thing in frequent}
        for one, other in permutations(sorted(boxes), 2):
            for kind in held(boxes[one], boxes[other], _size(photo)):
                holding[kind, one, other].append(photo.photo_id)
    rng = random.Random(seed)
    pairs = []
    for (kind, one, other), right in sorted(holding.items()):
        wrong = holding.get((kind, other, one), [])
        count = min(len(right), len(wrong), _EACH)
        for a, b in zip(rng.sample(right, count), rng.sample(wrong, count), strict=True):
            # "a is right of b" where b is left of a.
            question = (kind, f"{one} {kind} {other}") if rng.random() < 0.5 else (
                OPPOSITES[kind], f"{other} {OPPOSITES[kind]} {one}"
            )  # fmt: skip
            pairs.append(RelationPair(*question, a, b))
    rng.shuffle(pairs)
    return pairs


def boxes_of_things(photo: LabelledPhoto) -> dict[str, list[np.ndarray]]:
    """The labelled boxes of each thing: of phrases by their last word, in the singular."""
    found: dict[str, list[np.ndarray]] = defaultdict(list)
    for box, phrases in zip(photo.boxes, photo.labels.phrases, strict=True):
        for thing in {_thing(words[-1]) for words in map(words_of, phrases) if words}:
            found[thing].append(box)
    return dict(found)


def frequent_things(photos: Sequence[LabelledPhoto], things: Mapping[int, Mapping[str, object]]) -> set[str]:
    """The things of most photographs, words left out that are the last of a phrase in fewer than half of the cases."""
    in_photos = Counter(thing for its in things.values() for thing in its)
    phrases = [words_of(phrase) for photo in photos for of_box in photo.labels.phrases for phrase in of_box]
    anywhere = Counter(_thing(word) for words in phrases for word in words)
    last = Counter(_thing(words[-1]) for words in phrases if words)
    names = [
        thing for thing, count in in_photos.most_common() if count >= _PHOTOS and 2 * last[thing] >= anywhere[thing]
    ]
    return set(names[:_THINGS])


def _thing(word: str) -> str:
    return singular(word, lambda _: True) or word


def _size(photo: LabelledPhoto) -> np.ndarray:
    """Width and height in the frame of its boxes."""
    scale = photo.boxes[0] / np.maximum(photo.labels.boxes[0], 1e-6)
    return np.array([photo.labels.width, photo.labels.height]) * np.nan_to_num(scale.max(), nan=1.0)


def held(ones: Sequence[np.ndarray], others: Sequence[np.ndarray], size: np.ndarray) -> Iterator[str]:
    """The relations of OPPOSITES that every box of one thing has to every box of another."""
    one, other = np.array(ones)[:, None], np.array(others)[None]
    apart = ((other[..., :2] + other[..., 2:]) - (one[..., :2] + one[..., 2:])) / 2 / size
    if (apart[..., 0] >= APART).all():
        yield "left of"
    if (apart[..., 1] >= APART).all():
        yield "above"
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (one, other)]
    if (areas[0] >= LARGER * areas[1]).all():
        yield "bigger than"


def read(pair: RelationPair, lexicon: Lexicon) -> Query | None:
    """The question as the search reads it; None if it does not name two things."""
    try:
        query = parse_query([pair.question], lexicon)
    except QueryError:
        return None
    return query if len(query.things) == 2 and len(query.relations) == 1 else None


def comes_first(pair: RelationPair, query: Query, collection: Collection, model: PhraseModel) -> bool:
    """Whether the photograph with the asked relation does."""
    vectors = model.encode_phrases(query.encoded)
    scores = collection.cosines(vectors, sorted({pair.right, pair.wrong}))
    ranking = ComposedRanking(collection, query, scores, "embedding", part_weights(query, model.scoring, vectors))
    ranking.first(2)
    return ranking.score_of(pair.right) > ranking.score_of(pair.wrong)


def summarize(won: Sequence[tuple[str, bool]]) -> dict:
    """The share of pairs in the right order, of all and of each relation."""
    kinds = sorted({kind for kind, _ in won})
    of_kind = {kind: [right for each, right in won if each == kind] for kind in kinds}
    return {
        "pairs": len(won),
        "right": sum(right for _, right in won) / len(won),
        "relations": {kind: {"pairs": len(some), "right": sum(some) / len(some)} for kind, some in of_kind.items()},
    }


def table(figures: dict) -> str:
    """A line a relation, and one for all."""
    lines = [f"{'relation':<14} {'pairs':>6} {'asked one first':>16}"]
    for kind, some in figures["relations"].items():
        lines.append(f"{kind:<14} {some['pairs']:>6} {some['right']:16.3f}")
    lines.append(f"{'all':<14} {figures['pairs']:>6} {figures['right']:16.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
