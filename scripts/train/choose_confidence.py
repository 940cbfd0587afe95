"""Fit how sure `search detect` may be of a box, and store it in a weights file.

\b
    python -m scripts.train.choose_confidence WEIGHTS --photos PHOTOS --annotations VAL

The labelled phrases of half of the photographs fit the numbers (`search.calibration` has the formula), those of the
other half judge them: expected calibration error, a table of confidences against what was right, average precision of
detection at IoU 0.5. What is stored is what was judged.

Each distinct phrase of a photograph is asked of it, and of one photograph drawn at random from those that lack it:

\b
- A region is right if it overlaps (IoU >= 0.5) a box labelled with the phrase, or with a phrase that has all its words.
- In its own photograph a region is wrong if it is not right and touches (IoU >= 0.1) some labelled box: people said
  what is there, and not this. A region that touches none is left out: labels are incomplete, and what is not labelled
  may still be another dog. (About a quarter of them; `strict` in the report is the error if all of those were wrong.)
- A photograph lacks the phrase if none of its phrases and captions has a thing of it, nor a word for the same things.
  The things are the last words of its noun phrases. Words for the same things are those that people used for the same
  boxes: a tenth of the boxes of either are enough ("man", "guy"). So "a brown dog" is never asked of a photograph of
  an unmentioned brown or a black dog; what it is mistaken for there, its own photograph tells. There every region is
  wrong. What is not mentioned may still be there (jeans, grass): confidences err on the low side.

As many photographs show the thing as do not, which is what confidences mean for photographs that somebody names. Over
a collection, few show it: `prevalence` is the share of those labelled with a phrase among all pairs of a phrase and a
photograph that is labelled with it or lacks it (a mean over phrases, 0.018 on val where this is 0.0055, makes the
confidences of a collection two to three times as high as what is right). The report's `collection` asks phrases of all
of those photographs at that prior.

--dry-run prints only. Writing it into a weights file makes it another file: collections that it described need
`indexer build --redescribe`.
"""

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from fcln.boxes import iou
from fcln.checkpoint import load_checkpoint, save_checkpoint
from fcln.predictor import Predictor
from fcln.scoring import AnswerCalibration, Calibration
from fcln.training.annotations import load_annotations
from fcln.vocabulary import words_of
from scripts.evaluate.command import errors_as_sentences, show
from scripts.evaluate.errors import EvaluationError
from scripts.evaluate.labelled_collection import LabelledCollection, labelled_collection
from scripts.options import device_option, json_option
from search.calibration import confidences, nms, place_features, presence_features, sigmoid
from search.file_description import MAX_REGIONS
from search.probability import offsets_if_known, presences_of
from search.wording.lexicon import Lexicon

RIGHT_IOU = 0.5
TOUCHING_IOU = 0.1
SAME_THING = 0.1  # share of a word's boxes that another word must share to stand for the same things
RIGHT, WRONG, UNKNOWN = 1, 0, -1
BINS = 10
# Boxes below are not worth a look: nine tenths of all, nearly all of them wrong, and no merit to know it.
LEAST = 0.1
# Asked of all photographs: enough for a table.
COLLECTION_PHRASES = 400


@dataclass(frozen=True)
class Described:
    """A photograph: its N regions, its G labelled boxes, the words of all its phrases and captions."""

    boxes: np.ndarray  # (N, 4) x1 y1 x2 y2
    scores: np.ndarray  # (N,)
    embeddings: np.ndarray  # (N, E)
    labelled: np.ndarray  # (G, 4)
    phrases: Sequence[frozenset[str]]  # G: those of each box, plain (words in lower case, a space between)
    words: frozenset[str]


@dataclass(frozen=True)
class Case:
    """A phrase asked of a photograph."""

    photo: Described
    similarities: np.ndarray  # (1, N)
    present: bool
    verdicts: np.ndarray  # (N,) RIGHT, WRONG or UNKNOWN
    overlaps: np.ndarray  # (N, L) with the L boxes labelled with the phrase itself; L = 0 where it is not present
    vector: np.ndarray  # (E,) of the phrase


@click.command(help=__doc__)
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--annotations", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--images", type=click.IntRange(4), default=1000, show_default=True, help="The first of them.")
@device_option
@click.option("--collection", type=click.Path(path_type=Path), help="Keep the collection here.")
@click.option("--dry-run", is_flag=True, help="Do not store the calibration.")
@json_option
def main(weights: Path, photos: Path, annotations: Path, images: int, device: str, collection: Path | None,
         dry_run: bool, as_json: bool) -> None:  # fmt: skip
    with errors_as_sentences():
        photographs = load_annotations(photos, annotations)[:images]
        predictor = Predictor.load(weights, device=device)
        with labelled_collection(photographs, predictor, max_regions=MAX_REGIONS, kept_at=collection) as labelled:
            described = read_photographs(labelled)
        things = find_things(described, Lexicon.of(predictor).noun_phrases)
        fitting, judging = described[0::2], described[1::2]
        cases = make_cases(fitting, things, predictor.encode_phrases, seed=0)
        calibration = fit(cases, prevalence(fitting, things))
        report = {
            "confidence": asdict(calibration),
            "fitted_on": counts(cases),
            **judge(
                make_cases(judging, things, predictor.encode_phrases, seed=1), calibration, predictor.scoring.answers
            ),
            "collection": judge_collection(
                judging, things, predictor.encode_phrases, calibration, predictor.scoring.answers
            ),
        }
        if not dry_run:
            checkpoint = load_checkpoint(weights)
            save_checkpoint(weights, replace(checkpoint, scoring=replace(checkpoint.scoring, calibration=calibration)))
    show(report, lambda: table(report), as_json=as_json)


def read_photographs(labelled: LabelledCollection) -> list[Described]:
    """The photographs of a collection with their labels, by image id."""
    result = []
    for photo in labelled.photos:
        features = labelled.collection.features([photo.photo_id])
        regions = labelled.collection.regions(features.region_ids.tolist())
        phrases = [
            frozenset(plain for phrase in box if (plain := " ".join(words_of(phrase)))) for box in photo.labels.phrases
        ]
        result.append(
            Described(
                np.array([region.box for region in regions]),
                np.array([region.score for region in regions]),
                features.embeddings,
                photo.boxes,
                phrases,
                photo.words(),
            )
        )
    return result


class Things:
    """Which words name the things of a phrase, as people label photographs."""

    def __init__(self, last_words: Mapping[str, frozenset[str]], same: Mapping[str, frozenset[str]]):
        """last_words: of the noun phrases of each phrase. same: for each of them, the words for the same things."""
        self._last_words = last_words
        self._same = same

    def of(self, phrase: str) -> frozenset[str]:
        """The words that name the things of a phrase."""
        return self._last_words[phrase]

    def same(self, word: str) -> frozenset[str]:
        """The words for the same things as one of those, itself among them."""
        return self._same[word]

    def lacks(self, photo: Described, phrase: str) -> bool:
        """Whether nothing that people said of a photograph names a thing of the phrase."""
        return not any(self._same[word] & photo.words for word in self._last_words[phrase])


def find_things(photos: Sequence[Described], noun_phrases: Callable[[str], list[str]]) -> Things:
    """Learn it from the labels. noun_phrases: of a phrase, as `Lexicon.noun_phrases`."""
    last_words = {}
    for phrase in sorted({phrase for photo in photos for box in photo.phrases for phrase in box}):
        found = [words_of(part)[-1] for part in noun_phrases(phrase)]
        last_words[phrase] = frozenset(found or words_of(phrase)[-1:])
    boxes: Counter[str] = Counter()
    shared: dict[str, Counter[str]] = defaultdict(Counter)
    for photo in photos:
        for box in photo.phrases:
            words = frozenset(word for phrase in box for word in last_words[phrase])
            boxes.update(words)
            for word in words:
                shared[word].update(words)
    same = {
        word: frozenset(o for o, count in others.items() if count >= SAME_THING * min(boxes[word], boxes[o]))
        for word, others in shared.items()
    }
    return Things(last_words, same)


def make_cases(
    photos: Sequence[Described], things: Things, encode: Callable[[Sequence[str]], np.ndarray], *, seed: int
) -> list[Case]:
    """Each phrase of each photograph asked of it, and of one that lacks it, if there is any.

    Raises EvaluationError if no phrase can be asked of both kinds.
    """
    rng = random.Random(seed)
    phrases = sorted({phrase for photo in photos for box in photo.phrases for phrase in box})
    vectors: dict[str, np.ndarray] = {}
    for start in range(0, len(phrases), 256):
        vectors.update(zip(phrases[start : start + 256], encode(phrases[start : start + 256])))
    cases = []
    for photo in tqdm(photos, unit="photograph", desc="Asking", mininterval=5):
        for phrase in sorted(frozenset[str]().union(*photo.phrases)):
            cases.append(_present(photo, phrase, vectors[phrase]))
            other = next((o for o in rng.sample(photos, len(photos)) if things.lacks(o, phrase)), None)
            if other is not None:
                cases.append(_absent(other, vectors[phrase]))
    if len({case.present for case in cases}) < 2:
        raise EvaluationError("There are too few labelled photographs: every one shows what every phrase names.")
    return cases


def _present(photo: Described, phrase: str, vector: np.ndarray) -> Case:
    words = set(phrase.split())
    named = np.array([phrase in box for box in photo.phrases])
    fitting = np.array([any(words <= set(other.split()) for other in box) for box in photo.phrases])
    overlaps = iou(photo.boxes, photo.labelled)  # (N, G)
    verdicts = np.where((overlaps >= TOUCHING_IOU).any(axis=1), WRONG, UNKNOWN)
    verdicts[(overlaps[:, fitting] >= RIGHT_IOU).any(axis=1)] = RIGHT
    return Case(photo, (photo.embeddings @ vector)[None], True, verdicts, overlaps[:, named], vector)


def _absent(photo: Described, vector: np.ndarray) -> Case:
    count = len(photo.boxes)
    return Case(photo, (photo.embeddings @ vector)[None], False, np.full(count, WRONG), np.empty((count, 0)), vector)


def prevalence(photos: Sequence[Described], things: Things) -> float:
    """The share of those labelled among all pairs of a phrase and a photograph that is labelled with it or lacks it."""
    owners: Counter[str] = Counter()
    for photo in photos:
        owners.update(frozenset[str]().union(*photo.phrases))
    lacking = sum(things.lacks(photo, phrase) for phrase in owners for photo in photos)
    return float(np.clip(owners.total() / (owners.total() + lacking), 1e-6, 0.5))


def fit(cases: Sequence[Case], share: float) -> Calibration:
    """The most likely calibration: first where the thing is, in photographs that show it, then whether they do.

    The place is fitted twice, the second time on the regions that the first fit would show.
    """
    present = [case for case in cases if case.present]
    features = [place_features(case.similarities, case.photo.scores)[0] for case in present]
    rows = [case.verdicts != UNKNOWN for case in present]
    for _ in range(2):
        place = fit_logistic(
            np.concatenate([f[kept] for f, kept in zip(features, rows)]),
            np.concatenate([case.verdicts[kept] for case, kept in zip(present, rows)]),
        )
        shown = [nms(case.photo.boxes, sigmoid(f @ place)) for case, f in zip(present, features)]
        rows = [kept[case.verdicts[kept] != UNKNOWN] for case, kept in zip(present, shown)]
    evidence = [
        presence_features(case.similarities, place_features(case.similarities, case.photo.scores) @ place)[0]
        for case in cases
    ]
    presence = fit_logistic(np.stack(evidence), np.array([case.present for case in cases]))
    return Calibration(tuple(presence.tolist()), tuple(place.tolist()), share)


def fit_logistic(features: np.ndarray, targets: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Logistic regression by Newton's method: (N, F) features, the first of which is 1, (N,) targets 0 or 1 -> (F,).

    counts: (N,) how often each counts, None: once. A weak pull of the others to 0 (a prior of standard deviation 10 on
    standardised features) keeps perfectly separable data finite.
    """
    scale = np.where(features.std(axis=0) > 0, features.std(axis=0), 1.0)
    centre = features.mean(axis=0)
    centre[0] = 0.0
    x = (features - centre) / scale
    pull = np.full(x.shape[1], 0.01)
    weights = np.zeros(x.shape[1])
    often = np.ones(len(x)) if counts is None else counts
    for _ in range(100):
        p = sigmoid(x @ weights)
        gradient = x.T @ (often * (targets - p)) - pull * weights
        step = np.linalg.solve((x * (often * p * (1 - p))[:, None]).T @ x + np.diag(pull), gradient)
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    weights = weights / scale
    weights[0] -= weights[1:] @ centre[1:]
    return weights


def judge(cases: Sequence[Case], calibration: Calibration, answers: AnswerCalibration | None = None) -> dict:
    """How well confidences tell the truth, and detection with them. answers: of the same weights, if it was fitted."""
    sure, verdicts, found = [], [], []
    for case in cases:
        presence = presences_of(answers, offsets_if_known(answers, case.vector[None], 0.5), case.similarities)
        confidence = confidences(calibration, case.similarities, case.photo.scores, presence=presence)[0]
        rows = nms(case.photo.boxes, confidence)
        sure.append(confidence[rows])
        verdicts.append(case.verdicts[rows])
        found.append(match(case.overlaps[rows], case.verdicts[rows]))
    p, truth, hits = np.concatenate(sure), np.concatenate(verdicts), np.concatenate(found)
    known, shown = truth != UNKNOWN, p >= LEAST
    labelled = sum(case.overlaps.shape[1] for case in cases)
    return {
        "judged_on": counts(cases),
        "calibration_error": calibration_error(p[known], truth[known]),
        f"calibration_error_from_{LEAST:g}": calibration_error(p[known & shown], truth[known & shown]),
        f"strict_calibration_error_from_{LEAST:g}": calibration_error(p[shown], truth[shown] == RIGHT),
        "average_precision": detection_precision(p, hits, labelled),
        "reliability": reliability(p[known], truth[known]),
        "thresholds": thresholds(p, hits, labelled),
    }


def judge_collection(
    photos: Sequence[Described],
    things: Things,
    encode: Callable[[Sequence[str]], np.ndarray],
    calibration: Calibration,
    answers: AnswerCalibration | None = None,
) -> list[dict]:
    """Confidences from LEAST on where each of COLLECTION_PHRASES is asked of all photographs that have or lack it.

    The same as `reliability`; at the prior of a collection.
    """
    phrases = sorted({phrase for photo in photos for box in photo.phrases for phrase in box})
    phrases = random.Random(2).sample(phrases, min(COLLECTION_PHRASES, len(phrases)))
    vectors = encode(phrases)
    offsets = offsets_if_known(answers, vectors, calibration.prevalence)
    sure, verdicts = [], []
    for photo in tqdm(photos, unit="photograph", desc="As a collection", mininterval=5):
        similarities = vectors @ photo.embeddings.T
        confidence = confidences(
            calibration, similarities, photo.scores, prior=calibration.prevalence,
            presence=presences_of(answers, offsets, similarities),
        )  # fmt: skip
        for row in np.flatnonzero(confidence.max(axis=1) >= LEAST):
            if any(phrases[row] in box for box in photo.phrases):
                verdict = _present(photo, phrases[row], vectors[row]).verdicts
            elif things.lacks(photo, phrases[row]):
                verdict = np.full(len(photo.boxes), WRONG)
            else:
                continue
            shown = nms(photo.boxes, confidence[row], threshold=LEAST)
            shown = shown[verdict[shown] != UNKNOWN]
            sure.append(confidence[row][shown])
            verdicts.append(verdict[shown])
    return reliability(np.concatenate(sure), np.concatenate(verdicts)) if sure else []


def counts(cases: Sequence[Case]) -> dict[str, int]:
    """What figures rest on."""
    verdicts = np.concatenate([case.verdicts for case in cases])
    present = sum(case.present for case in cases)
    return {
        "photographs": len({id(case.photo) for case in cases}),
        "phrases_present": present,
        "phrases_absent": len(cases) - present,
        "regions_right": int((verdicts == RIGHT).sum()),
        "regions_wrong": int((verdicts == WRONG).sum()),
        "regions_left_out": int((verdicts == UNKNOWN).sum()),
    }


def match(overlaps: np.ndarray, verdicts: np.ndarray) -> np.ndarray:
    """Which answers, surest first, count as a detection: (M,) RIGHT, WRONG or UNKNOWN.

    Each labelled box is found once, by the first answer with IoU >= 0.5, as in the paper's average precision; a second
    one is wrong. An answer that finds none counts neither way if its verdict is not wrong.

    overlaps: (M, L) with the phrase's boxes. verdicts: (M,).
    """
    free = np.ones(overlaps.shape[1], dtype=bool)
    result = verdicts.copy()
    for row, overlap in enumerate(overlaps):
        fitting = overlap >= RIGHT_IOU
        if not fitting.any():
            result[row] = WRONG if verdicts[row] == WRONG else UNKNOWN
        elif (fitting & free).any():
            free[np.argmax(np.where(fitting & free, overlap, -1.0))] = False
            result[row] = RIGHT
        else:
            result[row] = WRONG
    return result


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error: mean over answers of |mean confidence - share right| in their bin of ten."""
    bins = _bin(confidence)
    gaps = [abs(confidence[bins == b].sum() - right[bins == b].sum()) for b in range(BINS)]
    return float(sum(gaps) / max(len(confidence), 1))


def reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict]:
    """For each bin that has any: from which confidence, how many answers, their mean confidence, the share right."""
    bins = _bin(confidence)
    return [
        {
            "from": b / BINS,
            "answers": int(mine.sum()),
            "confidence": round(float(confidence[mine].mean()), 4),
            "right": round(float(right[mine].mean()), 4),
        }
        for b in range(BINS)
        if (mine := bins == b).any()
    ]


def _bin(confidence: np.ndarray) -> np.ndarray:
    return np.minimum((np.asarray(confidence) * BINS).astype(int), BINS - 1)


def detection_precision(confidence: np.ndarray, hits: np.ndarray, labelled: int) -> float:
    """Average precision of all answers to all phrases as one list, surest first: area under precision over recall."""
    known = hits != UNKNOWN
    right = hits[known][np.argsort(-confidence[known], kind="stable")] == RIGHT
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(precision[right].sum() / max(labelled, 1))


def thresholds(confidence: np.ndarray, hits: np.ndarray, labelled: int) -> list[dict]:
    """Precision and recall of detection with the answers from some confidences on."""
    result = []
    for least in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7):
        shown = hits[(confidence >= least) & (hits != UNKNOWN)]
        right = int((shown == RIGHT).sum())
        result.append(
            {
                "threshold": least,
                "precision": round(right / max(len(shown), 1), 4),
                "recall": round(right / max(labelled, 1), 4),
            }
        )
    return result


def table(report: dict) -> str:
    """The report for people."""
    judged, calibration = report["judged_on"], report["confidence"]
    lines = [
        f"presence {_plain(calibration['presence'])}, place {_plain(calibration['place'])}, "
        f"prevalence {calibration['prevalence']:.4f}",
        f"judged on {judged['phrases_present']} phrases in their own of {judged['photographs']} photographs and "
        f"{judged['phrases_absent']} in others; {judged['regions_left_out']} regions left out",
        "",
    ]
    lines += [f"{name.replace('_', ' ')}: {value:.4f}" for name, value in report.items() if isinstance(value, float)]
    for title, rows in (("", report["reliability"]), (", as a collection", report["collection"])):
        lines += ["", f"confidence  answers   mean  right{title}"]
        lines += [
            f"from {row['from']:.1f}   {row['answers']:8}  {row['confidence']:.3f}  {row['right']:.3f}" for row in rows
        ]
    lines += ["", "threshold  precision  recall"]
    lines += [f"{row['threshold']:<9g}  {row['precision']:9.3f}  {row['recall']:6.3f}" for row in report["thresholds"]]
    return "\n".join(lines)


def _plain(numbers: Sequence[float]) -> str:
    return json.dumps([round(number, 3) for number in numbers])


if __name__ == "__main__":
    main()
