"""Singular, plural and article: do "cat", "a cat", "the cat" and "cats" find the same photographs?

    python -m scripts.evaluate.agreement --photos PHOTOS --annotations VAL

Asks for the most frequent things that captions, phrases and names of the photographs name, in each of these forms, with
the product's own search. Measured is the share of photographs that the first ten of two forms have in common, the mean
over pairs of forms and things. (Plurals by inflect: `pip install -e '.[train]'`.)
"""

import statistics
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import click
import inflect
from tqdm import tqdm

from fcln.phrase_model import PhraseModel
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.negation import frequent_things
from search.errors import QueryError
from search.searcher import Searcher
from search.wording.lexicon import Lexicon

FIRST = 10


@click.command(help=__doc__)
@collection_options
@click.option("--things", type=click.IntRange(1), default=100, show_default=True)
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, things: int) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations, names=True, unlabelled=True)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            model = PhraseModel.load(weights, device=device)
            searcher = Searcher(labelled.collection, model)
            names = frequent_things(labelled.photos, Lexicon.of(model))[:things]
            if not names:
                raise EvaluationError("Captions, phrases and names name no thing: other annotations, please.")
            found: dict[str, dict[str, list[int]]] = {
                name: {form: first_photos(searcher, form) for form in forms(name)}
                for name in tqdm(names, unit="thing", mininterval=5)
            }
    figures = summarize(found)
    show(figures, lambda: table(figures), as_json=as_json)


def forms(name: str) -> list[str]:
    """A thing as it may be asked for: "cat", "a cat", "the cat", "cats", "the cats"."""
    engine = inflect.engine()
    plural = engine.plural_noun(name)
    return [name, engine.a(name), f"the {name}", plural, f"the {plural}"]


def first_photos(searcher: Searcher, question: str) -> list[int]:
    """The ids of the first ten photographs, none where the question is refused."""
    try:
        return [hit.photo_id for hit in searcher.search([question], k=FIRST).hits if hit.photo_id is not None]
    except QueryError:
        return []


def summarize(found: dict[str, dict[str, list[int]]]) -> dict:
    """The mean share in common, and that of each thing, the least first."""
    of_thing = {name: agreement(list(lists.values())) for name, lists in found.items()}
    return {
        "things": len(found),
        "agreement": statistics.fmean(of_thing.values()),
        "of_thing": dict(sorted(of_thing.items(), key=lambda entry: entry[1])),
    }


def agreement(lists: Sequence[Sequence[int]]) -> float:
    """The mean over pairs of lists of the share of places that they have in common."""
    shares = [len(set(one) & set(other)) / max(len(one), len(other), 1) for one, other in combinations(lists, 2)]
    return statistics.fmean(shares)


def table(figures: dict) -> str:
    """The mean, and the things whose forms agree least."""
    least = ", ".join(f"{name} {share:.2f}" for name, share in list(figures["of_thing"].items())[:10])
    return f"{figures['things']} things: {figures['agreement']:.3f} of the first {FIRST} in common (least: {least})"


if __name__ == "__main__":
    main()
