"""What was fitted to a network on validation data and travels with its weights: which score ranks best, how sure it is.

Needs neither torch nor NumPy: the commands know the scorings' names before they load either.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

# How the regions of a photograph are scored for a phrase: see `search.likelihood`.
SCORINGS = ("embedding", "likelihood", "fused")


@dataclass(frozen=True)
class Calibration:
    """How likely a region shows what a phrase names: the weights of two logistic functions (`search.calibration`)."""

    presence: tuple[float, float, float]  # that the photograph shows it: constant, closest region, best placed region
    place: tuple[float, float, float, float]  # where: constant, similarity, objectness, share
    prevalence: float  # share of a collection's photographs that show what a phrase names


@dataclass(frozen=True)
class AnswerCalibration:
    """How likely a photograph shows what a phrase names: a logistic function's weights (`search.probability`).

    Some phrases lie close to everything and some to nothing, so beside the similarity of the closest region the
    function sees what is usual for the phrase: the mean and the spread (standard deviation) of that similarity over
    photographs, each a linear function of the phrase's embedding of E numbers.
    """

    constant: float
    closest: float  # times the similarity of the closest region
    mean: float  # times the usual similarity
    spread: float  # times its spread
    usual_mean: tuple[float, ...]  # E weights, then a constant
    usual_spread: tuple[float, ...]  # likewise
    prevalence: float  # share of the photographs that showed what a phrase of the fit names
    # Of a question with several parts: a logistic function of the mean of their log-odds.
    parts_constant: float = 0.0
    parts_slope: float = 1.0

    def usual_similarities(self, vectors: "np.ndarray") -> "np.ndarray":
        """The mean over photographs of the similarity of the closest region, (Q,) float64.

        vectors: (Q, E) unit length, of phrases.
        """
        return _linear(self.usual_mean, vectors)

    def usual_spreads(self, vectors: "np.ndarray") -> "np.ndarray":
        """The standard deviation of the same, (Q,) float64."""
        return _linear(self.usual_spread, vectors)

    def to_json(self) -> dict[str, Any]:
        """As a weights file keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "AnswerCalibration":
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError for values of another form."""
        values = dict(values)
        mean, spread = (tuple(map(float, values.pop(name))) for name in ("usual_mean", "usual_spread"))
        if len(mean) != len(spread) or not mean:
            raise ValueError("a calibration of answers whose usual mean and spread differ in length")
        numbers = {name: float(value) for name, value in values.items()}
        return cls(**numbers, usual_mean=mean, usual_spread=spread)


def _linear(weights: tuple[float, ...], vectors: "np.ndarray") -> "np.ndarray":
    """E weights, then a constant; (Q, E) -> (Q,) float64."""
    return vectors.astype("float64") @ weights[:-1] + weights[-1]


@dataclass(frozen=True)
class Scoring:
    """Which score ranks best on validation data, weight of the likelihood in the fused one, how sure answers are."""

    default: str = "embedding"  # one of SCORINGS
    fused_weight: float = 0.05
    calibration: Calibration | None = None  # None: not fitted, `python -m scripts.train.choose_confidence` does it
    answers: AnswerCalibration | None = None  # None: not fitted, `python -m scripts.train.calibrate_answers` does it

    def to_json(self) -> dict[str, Any]:
        """As a weights file keeps it: the calibration is called "confidence" there."""
        fitted = None
        if self.calibration is not None:
            fitted = {
                "presence": self.calibration.presence,
                "place": self.calibration.place,
                "prevalence": self.calibration.prevalence,
            }
        answers = {} if self.answers is None else {"answers": self.answers.to_json()}
        return {"default": self.default, "fused_weight": self.fused_weight, "confidence": fitted, **answers}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Scoring":
        """The inverse of `to_json`; files from before there was a calibration have none.

        Raises KeyError, TypeError or ValueError for values of another form.
        """
        values = dict(values)
        fitted, answers = values.pop("confidence", None), values.pop("answers", None)
        if answers is not None:
            values["answers"] = AnswerCalibration.from_json(answers)
        if fitted is None:
            return cls(**values)
        presence, place = (tuple(map(float, fitted[name])) for name in ("presence", "place"))
        if (len(presence), len(place)) != (3, 4):
            raise ValueError(f"a confidence of {len(presence)} and {len(place)} numbers")
        return cls(**values, calibration=Calibration(presence, place, float(fitted["prevalence"])))  # type: ignore[arg-type]
