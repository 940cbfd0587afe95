"""How likely photographs answer, and where a list of them should stop: pure functions of similarities.

A photograph shows what a phrase names with the probability of a logistic function (Platt, 1999) of its closest region's
similarity and of what is usual for the phrase (`fcln.scoring.AnswerCalibration`). Its weights are fitted on labelled
photographs, as many of which show a thing as photographs do: `prior` moves it to another share (Bayes' rule).
"""

from typing import TYPE_CHECKING

import numpy as np

from search.calibration import log_odds, sigmoid

if TYPE_CHECKING:
    from fcln.scoring import AnswerCalibration

# Nothing is known for certain.
_LEAST = 1e-6


def phrase_offsets(calibration: "AnswerCalibration", vectors: np.ndarray, *, prior: float | None = None) -> np.ndarray:
    """The part of the log-odds that depends on the phrase alone: (Q,) float64.

    vectors: (Q, E) unit length, of phrases. prior: the share, in (0, 1), of photographs like these that show the thing;
    None: of those that the calibration was fitted on.
    """
    usual = calibration.mean * calibration.usual_similarities(vectors)
    usual = usual + calibration.spread * calibration.usual_spreads(vectors)
    moved = 0.0 if prior is None else log_odds(prior) - log_odds(calibration.prevalence)
    return calibration.constant + usual + moved


def rarities(calibration: "AnswerCalibration", vectors: np.ndarray) -> np.ndarray:
    """How seldom photographs show what phrases name: (Q,) float64 above 0, natural logarithms.

    -log of the probability of a photograph whose closest region is as similar as is usual for the phrase. vectors: (Q,
    E) unit length, of phrases.
    """
    odds = calibration.closest * calibration.usual_similarities(vectors) + phrase_offsets(calibration, vectors)
    return -np.log(uncertain(odds))


def answer_probabilities(calibration: "AnswerCalibration", offsets: np.ndarray, closest: np.ndarray) -> np.ndarray:
    """The probability that each of P photographs shows what each of Q phrases names: (Q, P) float64, in (0, 1).

    offsets: (Q,) of `phrase_offsets`. closest: (Q, P) the similarity of each photograph's closest region.
    """
    odds = calibration.closest * np.asarray(closest, np.float64) + np.asarray(offsets)[:, None]
    return uncertain(odds)


def uncertain(odds: np.ndarray) -> np.ndarray:
    """Log-odds of any shape to probabilities, none of them 0 or 1."""
    return np.clip(sigmoid(odds), _LEAST, 1 - _LEAST)


def offsets_if_known(
    calibration: "AnswerCalibration | None", vectors: np.ndarray, prior: float | None
) -> np.ndarray | None:
    """`phrase_offsets`, once for all photographs that are asked; None without a calibration."""
    return None if calibration is None else phrase_offsets(calibration, vectors, prior=prior)


def presences_of(
    calibration: "AnswerCalibration | None", offsets: np.ndarray | None, similarities: np.ndarray
) -> np.ndarray | None:
    """The probability that one photograph shows what each of Q phrases names: (Q,); None without a calibration.

    offsets: (Q,) of `offsets_if_known`. similarities: (Q, N) of its N >= 1 regions.
    """
    if calibration is None or offsets is None:
        return None
    return answer_probabilities(calibration, offsets, similarities.max(axis=1, keepdims=True))[:, 0]


def composed_probabilities(calibration: "AnswerCalibration", odds: np.ndarray) -> np.ndarray:
    """The probability that photographs answer a question of several parts, of the mean of their parts' log-odds.

    odds: any shape, of `phrase_offsets` and `AnswerCalibration.closest` times a score. All parts at once are rarer than
    each, hence a logistic function of its own, fitted on pairs of things.
    """
    odds = calibration.parts_slope * np.asarray(odds, np.float64) + calibration.parts_constant
    return uncertain(odds)


def answer_count(probabilities: np.ndarray) -> int:
    """How many of a list's first photographs to show: where the expected F1 of the list is highest.

    F1 is the harmonic mean of precision and recall; of k photographs it is 2 * right ones / (k + all that answer), here
    with the expected numbers of both (Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1").

    probabilities: (P,) of all photographs worth a look, best first. At least 1, of none 0.
    """
    if not len(probabilities):
        return 0
    expected = np.cumsum(probabilities)
    return int((2 * expected / (np.arange(1, len(expected) + 1) + expected[-1])).argmax()) + 1
