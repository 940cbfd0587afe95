"""What is not wanted: do photographs that show it fall away, and do the others stay?

    python -m scripts.evaluate.negation --photos PHOTOS --annotations VAL

Takes the most frequent things that captions and names of the photographs name; of those with several captions only
things that people agree to name: if one caption does, two in five do on average (people do not name everything that is
there). For each of them asks for some of the others, first plainly, then with --not. Measured:

\b
    remain   of the first 20 photographs of the plain answer that captions, phrases or names say to show the unwanted
             thing (its word, singular or plural), the share that is still there with --not
    stay     of all photographs that nobody says to show it, the share that is still there
    stay, first 20    of the first 20 of the plain answer those
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from tqdm import tqdm

from db.collection import Collection
from fcln.phrase_model import PhraseModel
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledPhoto, labelled_collection
from search.composed_ranking import worth_looking_at
from search.exclusion import EXCLUDED_PRESENCE, unwanted_offsets, unwanted_presences
from search.hits import described_photos
from search.searcher import Searcher
from search.wording.inflection import singular
from search.wording.lexicon import Lexicon

# Words that are the last of phrases and name nothing that could be left out by itself.
_NO_THINGS = frozenset({"one", "other", "background", "air", "side", "front", "photo", "picture", "group", "something"})


# Of the captions of a photograph that one of them says to show a thing, so many do on average.
_AGREED = 0.4


@click.command(help=__doc__)
@collection_options
@click.option("--things", type=click.IntRange(2), default=20, show_default=True, help="That are not wanted, each once.")
@click.option("--first", type=click.IntRange(1), default=20, show_default=True, help="Photographs of an answer.")
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, things: int, first: int) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations, names=True, unlabelled=True)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            model = PhraseModel.load(weights, device=device)
            if model.scoring.calibration is None:
                raise EvaluationError("These weights hold no confidence: `python -m scripts.train.choose_confidence`.")
            named = {photo.photo_id: named_things(photo) for photo in labelled.photos}
            unwanted = agreed_things(labelled.photos, Lexicon.of(model))[:things]
            if len(unwanted) < 2:
                raise EvaluationError("Captions and names agree on fewer than two things: other annotations, please.")
            gone = fallen(unwanted, labelled.collection, model)
            searcher = Searcher(labelled.collection, model)
            answers = {
                thing: [hit.photo_id for hit in searcher.search([f"a {thing}"], k=first).hits if hit.photo_id]
                for thing in tqdm(unwanted, unit="question", mininterval=5)
            }
    figures = summarize({thing: count(thing, gone[thing], named, answers) for thing in unwanted})
    show(figures, lambda: table(figures), as_json=as_json)


def named_things(photo: LabelledPhoto) -> frozenset[str]:
    """The words that people said of a photograph, plurals in the singular too."""
    words = {*photo.words(), *(word for name in photo.labels.names for word in words_of(name))}
    return frozenset({_one(word) for word in words} | words)


def frequent_things(photos: Sequence[LabelledPhoto], lexicon: Lexicon) -> list[str]:
    """The things that most photographs' phrases and names end with, most frequent first."""
    counts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    for photo in photos:
        texts = [*photo.labels.names, *(phrase for phrases in photo.labels.phrases for phrase in phrases)]
        phrases = [words for words in map(words_of, texts) if words]
        counts.update({_one(words[-1]) for words in phrases})
        ends.update(_one(words[-1]) for words in phrases)
        anywhere.update(_one(word) for words in phrases for word in words)
    return [
        thing
        for thing, _ in counts.most_common()
        if thing not in _NO_THINGS
        and 2 * ends[thing] >= anywhere[thing]  # "a red" is mostly no thing
        and lexicon.noun_phrases(f"a {thing}") == [f"a {thing}"]
    ]


def agreed_things(photos: Sequence[LabelledPhoto], lexicon: Lexicon) -> list[str]:
    """Those of the frequent things that captions agree on, or that no caption names."""
    shares: dict[str, list[float]] = defaultdict(list)
    for photo in photos:
        captions = [{_one(word) for word in words_of(caption)} for caption in photo.labels.captions]
        for word in set().union(*captions):
            shares[word].append(sum(word in caption for caption in captions) / len(captions))
    return [
        thing
        for thing in frequent_things(photos, lexicon)
        if not shares[thing] or statistics.fmean(shares[thing]) >= _AGREED
    ]


def _one(word: str) -> str:
    return singular(word, lambda _: True) or word


def fallen(things: Sequence[str], collection: Collection, model: PhraseModel) -> dict[str, set[int]]:
    """The ids of the photographs that fall away for each thing, by `search.exclusion`."""
    lexicon = Lexicon.of(model)
    gone: dict[str, set[int]] = {thing: set() for thing in things}
    for thing in tqdm(things, unit="thing", mininterval=5):
        phrases = [lexicon.canonical(f"a {thing}")]
        vectors = model.encode_phrases(phrases)
        offsets = unwanted_offsets(vectors, model.scoring)
        for photo, similarities in described_photos(collection, worth_looking_at(collection.cosines(vectors))):
            (surely,) = unwanted_presences(photo, similarities, phrases, offsets, model.scoring)
            if surely >= EXCLUDED_PRESENCE and photo.photo_id is not None:
                gone[thing].add(photo.photo_id)
    return gone


def count(
    thing: str, gone: set[int], named: Mapping[int, frozenset[str]], answers: Mapping[str, Sequence[int]]
) -> Counter[str]:
    """How many photographs name a thing or do not, and how many of these are still there without it."""
    counts: Counter[str] = Counter()
    for other, photo_ids in answers.items():
        for photo_id in photo_ids if other != thing else ():
            kind = "named" if thing in named[photo_id] else "unnamed"
            counts[f"{kind} first"] += 1
            counts[f"{kind} first there"] += photo_id not in gone
    for photo_id, words in named.items():
        if thing not in words:
            counts["unnamed"] += 1
            counts["unnamed there"] += photo_id not in gone
    return counts


def summarize(counts: Mapping[str, Counter[str]]) -> dict:
    """Shares over all things, and those of each."""
    total = sum(counts.values(), Counter())
    return {**_shares(total), "things": {thing: _shares(its) for thing, its in counts.items()}}


def _shares(counts: Counter[str]) -> dict[str, float | int | None]:
    def share(of: str) -> float | None:
        return counts[f"{of} there"] / counts[of] if counts[of] else None

    return {
        "named first": counts["named first"],
        "remain": share("named first"),
        "unnamed": counts["unnamed"],
        "stay": share("unnamed"),
        "unnamed first": counts["unnamed first"],
        "stay first": share("unnamed first"),
    }


def table(figures: dict) -> str:
    """A line a thing, and one for all."""

    def line(name: str, shares: dict) -> str:
        remain, stay, stay_first = (
            f"{shares[of]:6.3f}" if shares[of] is not None else f"{'-':>6}" for of in ("remain", "stay", "stay first")
        )
        return f"{name:<14} {shares['named first']:>6} {remain} {shares['unnamed']:>8} {stay} {stay_first:>15}"

    lines = [f"{'not wanted':<14} {'named':>6} {'remain':>6} {'unnamed':>8} {'stay':>6} {'stay, first':>15}"]
    return "\n".join([*lines, *(line(*each) for each in figures["things"].items()), line("all", figures)])


if __name__ == "__main__":
    main()
