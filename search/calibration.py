"""How likely a region shows what a phrase names: pure functions of similarities and objectness.

confidence = P(the photograph shows it) P(this region is where | it does)

Each factor is a logistic function (Platt, 1999) whose few weights are fitted on labelled photographs and stored with
the network's (`scripts.train.choose_confidence`). Two factors, because the first depends on where one looks: the same
similarity means much in a photograph that somebody chose to ask about and little in one of a thousand. The fit has as
many photographs that show the thing as ones that do not; `prior` moves it to any other share (Bayes' rule on the odds).
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from fcln.boxes import iou
from search.grounding import logit

if TYPE_CHECKING:
    from fcln.scoring import Calibration

# Answers to one phrase that overlap a surer one by more are the same answer (intersection over union).
NMS_IOU = 0.4

# How fast a region's share of a photograph falls with its similarity: about what the phrase encoder is trained with.
_SOFTMAX_SCALE = 20.0
# Less similar than any region is: its share of a photograph is none.
_NO_REGION = -3.0


def place_features(similarities: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What tells the right regions of a photograph that shows the thing: (Q, N, 4) float64; of P, with an axis more.

    1, similarity, log-odds of the objectness, logarithm of the region's share among those of the photograph (softmax).

    similarities: (Q, N) in [-1, 1], of the N >= 1 regions of one photograph. scores: (N,) objectness in [0, 1].
    """
    similarities = np.asarray(similarities, dtype=np.float64)
    objectness = np.broadcast_to(logit(scores)[..., None, :], similarities.shape)
    weights = np.exp(_SOFTMAX_SCALE * (similarities - similarities.max(axis=-1, keepdims=True)))
    share = np.log(weights / weights.sum(axis=-1, keepdims=True))
    return np.stack([np.ones_like(similarities), similarities, objectness, share], axis=-1)


def presence_features(similarities: np.ndarray, places: np.ndarray) -> np.ndarray:
    """What tells the photographs that show the thing: (Q, 3) float64.

    1, similarity of the closest region, log-odds of the best place. similarities, places: (Q, N), places being
    `place_features` times their weights.
    """
    return np.stack([np.ones(len(places)), np.max(similarities, axis=1), np.max(places, axis=1)], axis=1)


def confidences(
    calibration: "Calibration",
    similarities: np.ndarray,
    scores: np.ndarray,
    *,
    prior: float = 0.5,
    presence: np.ndarray | None = None,
) -> np.ndarray:
    """The probability that each region of a photograph overlaps (IoU >= 0.5) a thing that the phrase names.

    similarities: (Q, N) cosines of phrases and regions. scores: (N,) objectness in [0, 1]. prior: the share, in (0, 1),
    of photographs like this one that show the thing. presence: (Q,) the probability that the photograph does, if it is
    known otherwise (`search.probability`); then some region shows it that surely, so that a photograph is never
    likelier to answer than its regions together. Of P photographs, with a presence, each with an axis of P in front;
    -inf: a photograph has fewer regions. Returns (Q, N) float64 in [0, 1].
    """
    if presence is None:
        presence, places = _presence_and_places(calibration, similarities, scores, prior)
        return presence[:, None] * places
    there = np.asarray(similarities) > -np.inf
    places = sigmoid(place_features(np.where(there, similarities, _NO_REGION), scores) @ calibration.place) * there
    some = 1 - np.prod(1 - places, axis=-1, keepdims=True)
    return np.asarray(presence)[..., None] * places / np.maximum(some, places.max(axis=-1, keepdims=True))


def presences(
    calibration: "Calibration", similarities: np.ndarray, scores: np.ndarray, *, prior: float = 0.5
) -> np.ndarray:
    """The probability that the photograph shows such a thing at all, wherever: (Q,) float64. Arguments as above."""
    return _presence_and_places(calibration, similarities, scores, prior)[0]


def _presence_and_places(
    calibration: "Calibration", similarities: np.ndarray, scores: np.ndarray, prior: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both factors of the confidence, (Q,) and (Q, N)."""
    places = place_features(similarities, scores) @ calibration.place
    presence = presence_features(similarities, places) @ calibration.presence + log_odds(prior)
    return sigmoid(presence), sigmoid(places)


def log_odds(probability: float) -> float:
    """log(p / (1 - p)) of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))


def sigmoid(odds: np.ndarray) -> np.ndarray:
    """Log-odds to probabilities, any shape."""
    return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))


def nms(boxes: np.ndarray, confidence: np.ndarray, *, threshold: float = 0.0) -> np.ndarray:
    """The regions that answer one phrase, surest first: their rows, (M,) int64.

    Of regions that overlap by more than NMS_IOU only the surest stays (non-maximum suppression); equally sure ones in
    the order given. boxes: (N, 4) x1 y1 x2 y2. confidence: (N,) in [0, 1]; regions below the threshold do not answer.
    """
    order = [int(row) for row in np.argsort(-confidence, kind="stable") if confidence[row] >= threshold]
    overlaps = iou(boxes[order], boxes[order])
    kept: list[int] = []  # places in the order
    for place in range(len(order)):
        if not (overlaps[place, kept] > NMS_IOU).any():
            kept.append(place)
    return np.array([order[place] for place in kept], dtype=np.int64)
