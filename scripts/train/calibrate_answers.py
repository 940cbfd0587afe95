"""Fit how likely a photograph answers a phrase, on labelled photographs, and store it in a weights file.

\b
    python -m scripts.train.calibrate_answers WEIGHTS --photos PHOTOS --annotations VAL \\
        --photos WIDE_PHOTOS --annotations WIDE_VAL

Half of each set's photographs fit the numbers (`fcln.scoring.AnswerCalibration`, `search.probability`), the other half
judges them: expected calibration error over photographs of at least a tenth, and a table. What is stored is what was
judged. What is asked of every photograph of a set:

\b
- the questions of its `questions.json` that list their answers;
- where people labelled regions: the things that most of them name ("dog"), pairs of these, which tell how likely all
  parts of a question are answered at once, and labelled phrases drawn at random. A photograph shows a thing if what
  people said of it names it, and a phrase if a region is labelled with it; it lacks both if nothing names the things or
  a word for the same things (`scripts.train.choose_confidence` has the rule); between the two it is not asked.

Writing it into a weights file makes it another file: collections that it described need `indexer build --redescribe`.
--dry-run prints only.
"""

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.predictor import Predictor
from fcln.scoring import AnswerCalibration
from fcln.training.annotations import load_annotations
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import labelled_collection
from scripts.evaluate.questions import Question, read_questions
from scripts.options import device_option, json_option
from scripts.train.choose_confidence import (
    LEAST,
    Described,
    calibration_error,
    find_things,
    fit_logistic,
    read_photographs,
    reliability,
)
from search.errors import QueryError
from search.file_description import MAX_REGIONS
from search.probability import answer_probabilities, composed_probabilities, phrase_offsets
from search.wording.inflection import singular
from search.wording.lexicon import Lexicon
from search.wording.parse import parse_query

THINGS = 60  # most frequent ones that are asked for
PHRASES = 150  # labelled ones that are asked for
PAIR_PHOTOS = 6  # show two things that are asked for together, at least
SAME_SHARE = 0.9  # of a thing's photographs: another one that is in more of them is a word for the same
# What is usual for a phrase is fitted with a weak pull to 0, on so many phrases.
_PULL, _USUAL_PHRASES = 1.0, 6000


@dataclass(frozen=True)
class Asked:
    """A phrase asked of the P photographs of a set."""

    vector: np.ndarray  # (E,)
    shows: np.ndarray  # (P,) bool
    lacks: np.ndarray  # (P,) bool; neither: not asked


@click.command(help=__doc__)
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, multiple=True)
@click.option(
    "--annotations", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, multiple=True
)
@click.option("--collection", type=click.Path(path_type=Path), multiple=True, help="Keep each set's collection here.")
@device_option
@click.option("--dry-run", is_flag=True, help="Do not store the calibration.")
@json_option
def main(weights: Path, photos: tuple[Path, ...], annotations: tuple[Path, ...], collection: tuple[Path, ...],
         device: str, dry_run: bool, as_json: bool) -> None:  # fmt: skip
    if len(photos) != len(annotations) or (collection and len(collection) != len(photos)):
        raise click.UsageError("--photos, --annotations and --collection belong together: each as often as the others.")
    with errors_as_sentences():
        predictor = Predictor.load(weights, device=device)
        lexicon = Lexicon.of(predictor)
        kept: Sequence[Path | None] = collection or [None] * len(photos)
        sets = [
            read_set(of_photos, of_labels, kept_at, predictor, lexicon)
            for of_photos, of_labels, kept_at in zip(photos, annotations, kept)
        ]
        fitting, judging = ([half(one, start) for one in sets] for start in (0, 1))
        phrases = sorted({phrase for one in sets for photo in one.photos for box in photo.phrases for phrase in box})
        drawn = random.Random(0).sample(phrases, min(_USUAL_PHRASES, len(phrases)))
        calibration = fit(fitting, predictor.encode_phrases([*drawn, *predictor.names]))
        report = {
            "answers": asdict(calibration),
            "fitted_on": [counts(one) for one in fitting],
            "judged_on": [counts(one) for one in judging],
            "sets": [judge([one], calibration) for one in judging],
            **judge(judging, calibration),
        }
        if not dry_run:
            checkpoint = load_checkpoint(weights)
            save_checkpoint(weights, replace(checkpoint, scoring=replace(checkpoint.scoring, answers=calibration)))
    show(report, lambda: table(report), as_json=as_json)


@dataclass(frozen=True)
class LabelledSet:
    """Photographs of one kind and what is asked of them."""

    photos: Sequence[Described]
    asked: Sequence[Asked]
    pairs: Sequence[tuple[int, int]] = ()  # two of those that are asked for together


def read_set(
    photos: Path, annotations: Path, kept_at: Path | None, predictor: Predictor, lexicon: Lexicon
) -> LabelledSet:
    """A set's photographs, described, and what may be asked of them."""
    listed: list[Question] = []
    if (annotations / "questions.json").exists():
        listed = [q for q in read_questions(annotations / "questions.json") if q.answers is not None]
    photographs = load_annotations(photos, annotations, unlabelled=bool(listed))
    with labelled_collection(photographs, predictor, max_regions=MAX_REGIONS, kept_at=kept_at) as labelled:
        described = read_photographs(labelled)
        ids = [photo.labels.image_id for photo in labelled.photos]
    asked = ask_questions(listed, ids, predictor, lexicon)
    if asked:  # people named all that is there; the boxes are of some of it
        return LabelledSet(described, asked)
    asked = ask_labels(described, predictor, lexicon)
    return LabelledSet(described, asked, pairs_of(asked[: min(THINGS, len(asked))]))


def ask_questions(
    questions: Sequence[Question], image_ids: Sequence[int], predictor: Predictor, lexicon: Lexicon
) -> list[Asked]:
    """Questions of one phrase, as the search reads them."""
    read = [(parse_query([question.text], lexicon).encoded, question) for question in questions]
    single = [(phrases[0], question) for phrases, question in read if len(phrases) == 1]
    vectors = predictor.encode_phrases([phrase for phrase, _ in single])
    shows = [np.array([question.is_answered((), i) for i in image_ids]) for _, question in single]
    return [Asked(vector, answers, ~answers) for vector, answers in zip(vectors, shows)]


def ask_labels(photos: Sequence[Described], predictor: Predictor, lexicon: Lexicon) -> list[Asked]:
    """The most frequent things, and labelled phrases drawn at random."""
    things = find_things(photos, lexicon.noun_phrases)
    phrases = Counter(phrase for photo in photos for box in photo.phrases for phrase in box)
    last_words: Counter[str] = Counter()
    for phrase, count in phrases.items():
        for word in things.of(phrase):
            last_words[word] += count
    frequent = {}
    for word, _ in last_words.most_common():
        with suppress(QueryError):  # "of", at the end of a phrase, names nothing
            phrase = parse_query([word], lexicon).encoded[0]
            if phrase in predictor.names or not predictor.names:  # not "the front", "a group"
                frequent[word] = phrase
        if len(frequent) == THINGS:
            break
    drawn = random.Random(0).sample(sorted(phrases), min(PHRASES, len(phrases)))
    vectors = predictor.encode_phrases([*frequent.values(), *drawn])
    asked = []
    for word, vector in zip(frequent, vectors):
        forms = {other for other in things.same(word) if word in (other, singular(other, last_words.__contains__))}
        shows = np.array([bool(forms & photo.words) for photo in photos])
        asked.append(Asked(vector, shows, np.array([not things.same(word) & photo.words for photo in photos])))
    for phrase, vector in zip(drawn, vectors[len(frequent) :]):
        shows = np.array([any(phrase in box for box in photo.phrases) for photo in photos])
        asked.append(Asked(vector, shows, np.array([things.lacks(photo, phrase) for photo in photos]) & ~shows))
    return asked


def pairs_of(things: Sequence[Asked]) -> list[tuple[int, int]]:
    """Pairs of things that at least PAIR_PHOTOS photographs show together and of which neither is the other."""
    found = []
    for first, a in enumerate(things):
        for second, b in enumerate(things[first + 1 :], first + 1):
            together = int((a.shows & b.shows).sum())
            if together >= PAIR_PHOTOS and together < SAME_SHARE * min(a.shows.sum(), b.shows.sum()):
                found.append((first, second))
    return found


def half(labelled: LabelledSet, start: int) -> LabelledSet:
    """Every second photograph, and what is asked of it."""
    asked = [Asked(one.vector, one.shows[start::2], one.lacks[start::2]) for one in labelled.asked]
    return LabelledSet(labelled.photos[start::2], asked, labelled.pairs)


def closest(vectors: np.ndarray, photos: Sequence[Described]) -> np.ndarray:
    """The similarity of each photograph's closest region: (Q, E) -> (Q, P) float64."""
    return np.stack([(vectors @ photo.embeddings.T).max(axis=1) for photo in photos], axis=1).astype(np.float64)


def fit(sets: Sequence[LabelledSet], usual_of: np.ndarray) -> AnswerCalibration:
    """The most likely calibration. usual_of: (N, E) phrases from which is learnt what is usual for one.

    Raises EvaluationError if no photograph shows or none lacks what is asked.
    """
    usual = [closest(usual_of, one.photos) for one in sets]
    mean = ridge(usual_of, np.mean([similarities.mean(axis=1) for similarities in usual], axis=0))
    spread = ridge(usual_of, np.mean([similarities.std(axis=1) for similarities in usual], axis=0))
    start = AnswerCalibration(0.0, 1.0, 0.0, 0.0, mean, spread, 0.5)
    features, targets, counts = [], [], []
    for one in sets:
        pairs = sum(int((asked.shows | asked.lacks).sum()) for asked in one.asked)
        vectors = np.stack([asked.vector for asked in one.asked])
        similarities = closest(vectors, one.photos)
        of_mean, of_spread = (
            phrase_offsets(replace(start, mean=m, spread=s), vectors) for m, s in ((1.0, 0.0), (0.0, 1.0))
        )
        for row, asked in enumerate(one.asked):
            known = asked.shows | asked.lacks
            count = int(known.sum())
            seen = [np.ones(count), similarities[row, known]]
            seen += [np.full(count, of_mean[row]), np.full(count, of_spread[row])]
            features.append(np.stack(seen, axis=1))
            targets.append(asked.shows[known])
            counts.append(np.full(count, 1e5 / pairs))  # each set counts as much
    answers, often = np.concatenate(targets), np.concatenate(counts)
    if answers.all() or not answers.any():
        raise EvaluationError("There are too few labelled photographs: all of them show what is asked, or none does.")
    constant, of_closest, of_mean_, of_spread_ = fit_logistic(np.concatenate(features), answers, often).tolist()
    fitted = AnswerCalibration(
        constant, of_closest, of_mean_, of_spread_, mean, spread, float(np.average(answers, weights=often))
    )
    odds, together = np.concatenate([np.empty((0, 2)), *(pair_odds(one, fitted) for one in sets)]).T
    if together.any() and not together.all():
        parts = fit_logistic(np.stack([np.ones(len(odds)), odds], axis=1), together > 0)
        fitted = replace(fitted, parts_constant=float(parts[0]), parts_slope=float(parts[1]))
    return fitted


def pair_odds(one: LabelledSet, calibration: AnswerCalibration) -> np.ndarray:
    """Of each pair and photograph the mean of the two things' log-odds, and 1 if it shows both: (N, 2) float64."""
    if not one.pairs:
        return np.empty((0, 2))
    vectors = np.stack([asked.vector for asked in one.asked])
    odds = calibration.closest * closest(vectors, one.photos) + phrase_offsets(calibration, vectors)[:, None]
    rows = [
        np.stack([(odds[a] + odds[b]) / 2, (one.asked[a].shows & one.asked[b].shows).astype(float)], axis=1)
        for a, b in one.pairs
    ]
    return np.concatenate(rows)


def ridge(vectors: np.ndarray, values: np.ndarray) -> tuple[float, ...]:
    """The linear function of (N, E) vectors that tells (N,) values best: E weights and a constant, five digits each."""
    inputs = np.concatenate([vectors.astype(np.float64), np.ones((len(vectors), 1))], axis=1)
    pull = np.diag([_PULL] * vectors.shape[1] + [0.0])
    weights = np.linalg.solve(inputs.T @ inputs + pull, inputs.T @ values)
    return tuple(round(float(weight), 5) for weight in weights)


def judge(sets: Sequence[LabelledSet], calibration: AnswerCalibration) -> dict:
    """How well probabilities tell the truth: of all photographs, and of those with at least LEAST."""
    sure, right = [], []
    for one in sets:
        vectors = np.stack([asked.vector for asked in one.asked])
        similarities = closest(vectors, one.photos)
        probabilities = answer_probabilities(calibration, phrase_offsets(calibration, vectors), similarities)
        for asked, of_phrase in zip(one.asked, probabilities):
            known = asked.shows | asked.lacks
            sure.append(of_phrase[known])
            right.append(asked.shows[known])
    result = errors(np.concatenate(sure), np.concatenate(right))
    pairs = np.concatenate([np.empty((0, 2)), *(pair_odds(one, calibration) for one in sets)])
    if len(pairs):
        together = errors(composed_probabilities(calibration, pairs[:, 0]), pairs[:, 1])
        result |= {f"pairs_{name}": value for name, value in together.items() if name != "reliability"}
    return result


def errors(p: np.ndarray, truth: np.ndarray) -> dict:
    """Expected calibration errors and the table."""
    shown = p >= LEAST
    return {
        "calibration_error": calibration_error(p, truth),
        f"calibration_error_from_{LEAST:g}": calibration_error(p[shown], truth[shown]),
        "reliability": reliability(p, truth),
    }


def counts(one: LabelledSet) -> dict[str, int]:
    """What figures rest on."""
    return {
        "photographs": len(one.photos),
        "phrases": len(one.asked),
        "shown": int(sum(asked.shows.sum() for asked in one.asked)),
        "lacking": int(sum(asked.lacks.sum() for asked in one.asked)),
    }


def table(report: dict) -> str:
    """The report for people."""
    answers = report["answers"]
    lines = [
        f"constant {answers['constant']:.3f}, closest {answers['closest']:.3f}, mean {answers['mean']:.3f}, "
        f"spread {answers['spread']:.3f}, prevalence {answers['prevalence']:.4f}"
    ]
    lines += [
        f"judged on {one['phrases']} phrases and {one['photographs']} photographs: {one['shown']} pairs show it, "
        f"{one['lacking']} lack it"
        for one in report["judged_on"]
    ]
    titles = ("all sets", *(f"set {number}" for number in range(1, len(report["sets"]) + 1)))
    for title, found in zip(titles, (report, *report["sets"])):
        lines += ["", f"{title}: calibration error {found['calibration_error']:.4f}, "
                  f"from {LEAST:g} on {found[f'calibration_error_from_{LEAST:g}']:.4f}",
                  "probability  photographs   mean  right"]  # fmt: skip
        if "pairs_calibration_error" in found:
            of_pairs = (found[f"pairs_calibration_error{suffix}"] for suffix in ("", f"_from_{LEAST:g}"))
            lines.insert(-1, "of pairs of things: {:.4f}, {:.4f}".format(*of_pairs))
        lines += [
            f"from {row['from']:.1f}     {row['answers']:11}  {row['confidence']:.3f}  {row['right']:.3f}"
            for row in found["reliability"]
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
