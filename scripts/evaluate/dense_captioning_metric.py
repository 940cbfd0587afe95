"""The paper's dense captioning metric (4.1), as the authors' eval/eval_utils.lua computes it: pure functions.

A region counts if its box overlaps a labelled one enough and its caption is close enough to what people wrote of that
box; mean AP is the average precision over five overlaps and six closenesses. Boxes are (N, 4) x1 y1 x2 y2, pixels of
one frame; the released code's boxes include their last pixel and its "+ 1" adds it, which is the same overlap as ours.

Two things are other than in the released code. A region that overlaps no labelled box takes none away from others (its
`used[-1]` marks the last one). AP is the mean over 101 recall levels, 0 to 1 (Lua's steps of 0.01 end before 1).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fcln.boxes import iou

IOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
METEORS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25)
MERGE_IOU = 0.7
_STEPS = 100  # recall levels are 0/100, 1/100, ... 100/100

# Captions, and for each its references -> closeness of each caption to the closest of its references, in [0, 1].
CaptionScorer = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]


@dataclass(frozen=True)
class Labels:
    """What people said about one photograph: G boxes, boxes of one thing merged."""

    boxes: np.ndarray  # (G, 4) float64
    captions: list[list[str]]  # G lists, each of at least one


@dataclass(frozen=True)
class Prediction:
    """What a network said about it: N regions in any order."""

    boxes: np.ndarray  # (N, 4) float
    scores: np.ndarray  # (N,) float, the greater the surer
    captions: list[str]  # N, may be ""


@dataclass(frozen=True)
class Matches:
    """The labelled box of each region of a photograph, surest region first."""

    regions: np.ndarray  # (N,) int64, which region of the prediction
    labels: np.ndarray  # (N,) int64, which labelled box it overlaps most, the first if it overlaps none
    overlaps: np.ndarray  # (N,) float64 in [0, 1], how much
    first: np.ndarray  # (N,) bool, whether it has that labelled box, and no surer region has: others are duplicates


@dataclass(frozen=True)
class Figures:
    """How good predictions are. Average precisions are per cent, as the paper gives them; METEOR is in [0, 1]."""

    mean_ap: float
    localization_ap: float  # captions left out of account; mean over IOUS
    meteor: float  # boxes left out: mean over regions of the caption's closeness to any caption of its photograph
    ap: dict[float, dict[float, float]]  # by overlap and METEOR
    localization_ap_at: dict[float, float]  # by overlap
    regions: int
    labels: int  # merged boxes


def merge(boxes: np.ndarray, captions: Sequence[str]) -> Labels:
    """Labelled boxes that lie on one another become one box with all their captions.

    Again and again the box with the most others at MERGE_IOU or more is merged with these: the mean of their corners.
    boxes: (R, 4), one for each caption.
    """
    boxes = np.asarray(boxes, np.float64)
    near = iou(boxes, boxes) >= MERGE_IOU
    merged, texts = [], []
    while near.any():
        group = np.flatnonzero(near[near.sum(axis=1).argmax()])
        merged.append(boxes[group].mean(axis=0))
        texts.append([captions[int(n)] for n in group])
        near[group] = near[:, group] = False
    return Labels(np.array(merged).reshape(-1, 4), texts)


def match(boxes: np.ndarray, scores: np.ndarray, labelled: np.ndarray) -> Matches:
    """Each region, surest first, belongs to the labelled box that it overlaps most, whether that is free or not.

    It takes that box however little they overlap; a surer region in the wrong place costs a later one its label.
    boxes: (N, 4). scores: (N,). labelled: (G, 4), G >= 1.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    overlaps = iou(np.asarray(boxes)[order], labelled)
    labels, best = overlaps.argmax(axis=1), overlaps.max(axis=1)
    first = np.zeros(len(order), bool)
    touching = np.flatnonzero(best > 0)
    first[touching[np.unique(labels[touching], return_index=True)[1]]] = True
    return Matches(order, labels, best, first)


def average_precision(correct: np.ndarray, count: int) -> float:
    """Mean over recall levels 0, 0.01, ... 1 of the best precision at that recall or a higher one, in [0, 1].

    correct: (N,) bool, surest region first. count: how many could be found, >= 1.
    """
    found = np.cumsum(correct)
    precision = found / np.arange(1, len(found) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    # In whole numbers: found / count >= level / 100 must not hang on the last bit.
    needed = -(-np.arange(_STEPS + 1) * count // _STEPS)
    reached = np.searchsorted(found, needed)
    return float(np.append(best_from_here, 0.0)[reached].mean())


def evaluate(photos: Sequence[tuple[Labels, Prediction]], closeness: CaptionScorer) -> Figures:
    """The metric over a set of photographs, each with at least one labelled box; at least one region in all."""
    matches, captions, references, bags = [], [], [], []
    for labels, prediction in photos:
        matches.append(match(prediction.boxes, prediction.scores, labels.boxes))
        captions += [prediction.captions[region] for region in matches[-1].regions]
        references += [tuple(labels.captions[label]) for label in matches[-1].labels]
        bags += [tuple(dict.fromkeys(chain.from_iterable(labels.captions)))] * len(prediction.captions)
    scores = np.concatenate([prediction.scores[m.regions] for (_, prediction), m in zip(photos, matches, strict=True)])
    overlaps = np.concatenate([m.overlaps for m in matches])
    first = np.concatenate([m.first for m in matches])
    # The others are wrong whatever they say.
    candidates = np.flatnonzero(first & (overlaps >= min(IOUS)))
    asked = [(captions[n], references[n]) for n in candidates] + list(zip(captions, bags, strict=True))
    # Neighbouring regions often have the same caption.
    answers = np.array(remembered(closeness)([caption for caption, _ in asked], [others for _, others in asked]))
    close = np.full(len(captions), -1.0)
    close[candidates] = answers[: len(candidates)]

    order = np.argsort(-scores, kind="stable")
    overlaps, first, close = overlaps[order], first[order], close[order]
    count = sum(len(labels.boxes) for labels, _ in photos)

    def per_cent(correct: np.ndarray) -> float:
        return 100 * average_precision(correct, count)

    ap = {t: {m: per_cent(first & (overlaps >= t) & (close > m)) for m in METEORS} for t in IOUS}
    located = {t: per_cent(first & (overlaps >= t)) for t in IOUS}
    return Figures(
        mean_ap=float(np.mean([value for row in ap.values() for value in row.values()])),
        localization_ap=float(np.mean(list(located.values()))),
        meteor=float(np.mean(answers[len(candidates) :])),
        ap=ap,
        localization_ap_at=located,
        regions=len(captions),
        labels=count,
    )


def remembered(closeness: CaptionScorer) -> CaptionScorer:
    """A scorer that asks another one each different question once."""
    known: dict[tuple[str, tuple[str, ...]], float] = {}

    def ask(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        questions = [(caption, tuple(others)) for caption, others in zip(captions, references, strict=True)]
        new = list(dict.fromkeys(question for question in questions if question not in known))
        known.update(zip(new, closeness([caption for caption, _ in new], [others for _, others in new]), strict=True))
        return [known[question] for question in questions]

    return ask
