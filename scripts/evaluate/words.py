"""Words that the captions never used: does a search for "settee" find what a search for "couch" finds?

    python -m scripts.evaluate.words --photos PHOTOS --annotations VAL

Indexes the photographs with the product's own pipeline and asks for single words with the product's own search. What is
measured is the share of photographs that two lists of the first ten have in common, the mean over pairs of words:

\b
    synonyms     a frequent word of the training phrases, and one that means the same and that neither a training phrase
                 nor a training caption has
    as typed     the same, no word read as another one: what the word pieces say
    as unknown   the same, the second word encoded as the unknown piece, as an encoder of whole words has to
    random       every two of those frequent words
    slips        a frequent word, and the same word misspelt
    as typed     the same, no word read as another one
    named        words that people are sure to try, whether the training data have them or not; and for both words the
                 share of the photographs found that people describe with one of the two

The pairs are in word_pairs.toml, beside this program; synonyms and slips that break the rules in these training data
are named and left out. Frequent: at least 40 times in the training phrases.
"""

import json
import math
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import click
import numpy as np
from tqdm import tqdm

from fcln.errors import in_words
from fcln.predictor import Predictor
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import collection_options, errors_as_sentences, scoring_options, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from search.errors import QueryError
from search.metrics import standard_error
from search.model import Model
from search.searcher import Searcher
from search.wording.lexicon import Lexicon

PAIRS_FILE = Path(__file__).with_name("word_pairs.toml")
TOP = 10
FREQUENT = 40

# No piece of any list has it: it is encoded as the unknown piece.
_UNKNOWN = "\N{DODO}"


@dataclass(frozen=True)
class WordPair:
    """A word that the training phrases have, and one that should find the same."""

    known: str
    other: str


@dataclass(frozen=True)
class TrainingWords:
    """What the training data say."""

    in_phrases: Counter[str]  # how often the training phrases have a word
    everywhere: frozenset[str]  # words of phrases and captions


class AsTyped(Lexicon):
    """Takes every word as it is typed, right or wrong."""

    def substitutions(self, phrase: str) -> dict[str, str]:
        return {}

    def unknown_words(self, phrase: str) -> list[str]:
        return []


class WithUnknownWord:
    """A network that encodes one word as the unknown piece, wherever a phrase has it; in all else the one given."""

    def __init__(self, predictor: Predictor, word: str):
        self._predictor = predictor
        self._word = word

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def encode_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        changed = [" ".join(_UNKNOWN if w == self._word else w for w in phrase.split()) for phrase in phrases]
        return self._predictor.encode_phrases(changed)


@click.command(help=__doc__)
@collection_options
@scoring_options
@click.option(
    "--training",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the annotations that the network was trained on. Default: train, beside the folder of "
    "--annotations.",
)
@click.option(
    "--pairs",
    "pairs_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=PAIRS_FILE,
    help="Other pairs, in a file of the same form.",
)
def main(photos: Path, annotations: Path, weights: Path | None, device: str, collection: Path | None, max_regions: int,
         as_json: bool, scoring: str | None, exact: bool, training: Path | None, pairs_file: Path) -> None:  # fmt: skip
    with errors_as_sentences():
        words = read_training_words(training or annotations.absolute().parent / "train")
        synonyms, slips, named = read_pairs(pairs_file)
        left_out = broken_pairs([*synonyms, *slips], words)
        for pair, reason in left_out.items():
            click.echo(f"Left out {pair.known} and {pair.other}: {reason}.", err=True)
        synonyms = [pair for pair in synonyms if pair not in left_out]
        slips = [pair for pair in slips if pair not in left_out]
        photographs = load_annotations(photos, annotations)
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=max_regions, kept_at=collection) as labelled:
            lexicon, as_typed = Lexicon.of(predictor), AsTyped.of(predictor)
            searcher = Searcher(labelled.collection, predictor, lexicon=lexicon)
            typing_searcher = Searcher(labelled.collection, predictor, lexicon=as_typed)

            def find(word: str, searcher: Searcher = searcher) -> list[int]:
                return top_photographs(searcher, word, scoring=scoring, exact=exact)

            def find_unknown(word: str) -> list[int]:
                model = cast(Model, WithUnknownWord(predictor, word))
                return find(word, Searcher(labelled.collection, model, lexicon=as_typed))

            asked = sorted({word for pair in [*synonyms, *slips, *named] for word in (pair.known, pair.other)})
            found = {word: find(word) for word in tqdm(asked, unit="word", desc="Asking", mininterval=5)}
            unknown = {pair.other: find_unknown(pair.other) for pair in synonyms}
            typed = {pair.other: find(pair.other, typing_searcher) for pair in [*synonyms, *slips]}
            result = summarize(
                with_readings(compare(synonyms, found, as_typed=typed, as_unknown=unknown), lexicon),
                random_overlaps(synonyms, found),
                with_readings(compare(slips, found, as_typed=typed), lexicon),
            )
            result["named_pairs"] = with_shares(
                with_readings(compare(named, found), lexicon),
                found,
                {p.photo_id: p.words() for p in labelled.photos},
            )
        result["images"] = len(labelled.photos)
        result["scoring"] = scoring or predictor.scoring.default
        result["left_out"] = [[pair.known, pair.other, reason] for pair, reason in left_out.items()]
    show(result, lambda: table(result), as_json=as_json)


def read_pairs(path: Path) -> tuple[list[WordPair], list[WordPair], list[WordPair]]:
    """Synonyms, slips and named pairs of a file. Raises EvaluationError if it is missing or holds something else."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        synonyms, slips, named = (
            [WordPair(known, other) for known, others in content[kind].items() for other in others]
            for kind in ("synonyms", "slips", "named")
        )
    except FileNotFoundError as error:
        raise EvaluationError(f"{path} does not exist: name a file with --pairs.") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EvaluationError(f"{path} is not a file of word pairs ({in_words(error)}).") from error
    return synonyms, slips, named


def read_training_words(folder: Path) -> TrainingWords:
    """The words of annotations in Visual Genome's format. Raises EvaluationError if there are none."""
    try:
        regions = json.loads((folder / "region_descriptions.json").read_text(encoding="utf-8"))
        in_phrases = Counter(word for image in regions for r in image["regions"] for word in words_of(r["phrase"]))
        everywhere = set(in_phrases)
        captions = folder / "captions.json"
        if captions.exists():
            for image in json.loads(captions.read_text(encoding="utf-8")):
                everywhere.update(word for caption in image["captions"] for word in words_of(caption))
    except FileNotFoundError as error:
        raise EvaluationError(f"{error.filename} does not exist: name the training data with --training.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{folder} does not hold annotations in Visual Genome's format ({in_words(error)})."
        ) from error
    return TrainingWords(in_phrases, frozenset(everywhere))


def broken_pairs(pairs: Iterable[WordPair], words: TrainingWords) -> dict[WordPair, str]:
    """The pairs that prove nothing with these training data, and why."""
    broken = {}
    for pair in pairs:
        if words.in_phrases[pair.known] < FREQUENT:
            broken[pair] = f"the training phrases have {pair.known} only {words.in_phrases[pair.known]} times"
        elif pair.other in words.everywhere:
            broken[pair] = f"the training data have {pair.other}"
    return broken


def top_photographs(searcher: Searcher, word: str, *, scoring: str | None = None, exact: bool = False) -> list[int]:
    """The ids of the photographs that a search for a word finds first; none if it refuses the word."""
    try:
        hits = searcher.search([word], k=TOP, scoring=scoring, exact=exact).hits
        return [hit.photo_id for hit in hits if hit.photo_id is not None]
    except QueryError:
        return []


def overlap(a: Sequence[int], b: Sequence[int]) -> float:
    """The share of photographs that two lists have in common, [0, 1]; of a longer and a shorter one, of the longer."""
    return len(set(a) & set(b)) / max(len(a), len(b), 1)


def compare(
    pairs: Iterable[WordPair], found: Mapping[str, Sequence[int]], **others: Mapping[str, Sequence[int]]
) -> list[dict]:
    """Each pair with the overlap of what its words found; under other names, where its second word was read otherwise.

    found, others: photo ids by word.
    """
    return [
        {
            "known": pair.known,
            "other": pair.other,
            "overlap": overlap(found[pair.known], found[pair.other]),
            **{name: overlap(found[pair.known], lists[pair.other]) for name, lists in others.items()},
        }
        for pair in pairs
    ]


def with_readings(pairs: Iterable[dict], lexicon: Lexicon) -> list[dict]:
    """Each pair with the word that the search reads its second word as; None: as it is typed."""
    return [{**pair, "read_as": lexicon.substitutions(pair["other"]).get(pair["other"])} for pair in pairs]


def with_shares(
    pairs: Iterable[dict], found: Mapping[str, Sequence[int]], words: Mapping[int, frozenset[str]]
) -> list[dict]:
    """Each pair with the shares of what its words found that people describe with one of the two, or its plural.

    found: photo ids by word. words: of the photographs.
    """

    def share(photo_ids: Sequence[int], forms: set[str]) -> float:
        return sum(bool(forms & words[photo_id]) for photo_id in photo_ids) / max(len(photo_ids), 1)

    result = []
    for pair in pairs:
        forms = {form for word in (pair["known"], pair["other"]) for form in (word, f"{word}s", f"{word[:-1]}ies")}
        shares = {f"{name}_shows_it": share(found[pair[name]], forms) for name in ("known", "other")}
        result.append({**pair, **shares})
    return result


def random_overlaps(pairs: Iterable[WordPair], found: Mapping[str, Sequence[int]]) -> list[float]:
    """The overlap of every two different known words of the pairs."""
    known = sorted({pair.known for pair in pairs})
    return [overlap(found[a], found[b]) for a, b in combinations(known, 2)]


def summarize(synonyms: Sequence[dict], random: Sequence[float], slips: Sequence[dict]) -> dict:
    """Means, their standard errors over the pairs (None for a single one; random pairs share their words), and pairs.

    Raises EvaluationError if there is nothing to take a mean of.
    """
    if not (synonyms and random and slips):
        raise EvaluationError(
            "Synonyms of two different words and a slip are needed: do these training data fit the pairs?"
        )
    columns = {
        "synonyms": [pair["overlap"] for pair in synonyms],
        "synonyms_as_typed": [pair["as_typed"] for pair in synonyms],
        "as_unknown": [pair["as_unknown"] for pair in synonyms],
        "random": random,
        "slips": [pair["overlap"] for pair in slips],
        "as_typed": [pair["as_typed"] for pair in slips],
    }
    errors = {name: standard_error(values) for name, values in columns.items() if name != "random"}
    return {
        **{name: statistics.fmean(values) for name, values in columns.items()},
        "standard_error": {name: None if math.isnan(error) else error for name, error in errors.items()},
        "synonym_pairs": list(synonyms),
        "slip_pairs": list(slips),
    }


def table(result: dict) -> str:
    """A line a pair, and the means, as Markdown."""
    lines = ["| word | synonym | read as | overlap | as typed | as unknown |", "|---|---|---|---|---|---|"]
    lines += [_row(pair) + f" {pair['as_unknown']:.1f} |" for pair in result["synonym_pairs"]]
    lines += ["", "| word | slip | read as | overlap | as typed |", "|---|---|---|---|---|"]
    lines += [_row(pair) for pair in result["slip_pairs"]]
    lines += ["", "| word | named | read as | overlap | shown by the first word's | by the other's |"]
    lines += ["|---|---|---|---|---|---|"]
    lines += [
        f"| {pair['known']} | {pair['other']} | {pair['read_as'] or 'typed'} | {pair['overlap']:.1f} | "
        f"{pair['known_shows_it']:.1f} | {pair['other_shows_it']:.1f} |"
        for pair in result["named_pairs"]
    ]
    counts = {"synonyms": len(result["synonym_pairs"]), "slips": len(result["slip_pairs"])}
    lines += [
        "",
        f"Overlap of the first {TOP} of {result['images']} photographs, {result['scoring']} scoring:",
        "",
        "| pairs | overlap |",
        "|---|---|",
    ]
    for name, label in (
        ("synonyms", f"{counts['synonyms']} synonyms"),
        ("synonyms_as_typed", "the same, as typed: read in pieces"),
        ("as_unknown", "the same, as the unknown piece"),
        ("random", "every two of their frequent words"),
        ("slips", f"{counts['slips']} slips"),
        ("as_typed", "the same, as typed"),
    ):
        error = result["standard_error"].get(name)
        lines.append(f"| {label} | {result[name]:.3f}" + ("" if error is None else f" ± {error:.3f}") + " |")
    return "\n".join(lines)


def _row(pair: Mapping[str, Any]) -> str:
    read_as = pair["read_as"] or "typed"
    return f"| {pair['known']} | {pair['other']} | {read_as} | {pair['overlap']:.1f} | {pair['as_typed']:.1f} |"


if __name__ == "__main__":
    main()
