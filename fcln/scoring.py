"""What was fitted to a network on validation data and travels with its weights: which score ranks best, how sure it is.

Needs no torch.
"""

from dataclasses import dataclass
from typing import Any

# How the regions of a photograph are scored for a phrase: see `search.likelihood`.
SCORINGS = ("embedding", "likelihood", "fused")


@dataclass(frozen=True)
class Calibration:
    """How likely a region shows what a phrase names: the weights of two logistic functions (`search.calibration`)."""

    presence: tuple[float, float, float]  # that the photograph shows it: constant, closest region, best placed region
    place: tuple[float, float, float, float]  # where: constant, similarity, objectness, share
    prevalence: float  # share of a collection's photographs that show what a phrase names


@dataclass(frozen=True)
class Scoring:
    """Which score ranks best on validation data, the weight of the likelihood in the fused one; how sure a box is."""

    default: str = "embedding"  # one of SCORINGS
    fused_weight: float = 0.05
    calibration: Calibration | None = None  # None: not fitted, `python -m scripts.choose_confidence` does it

    def to_json(self) -> dict[str, Any]:
        """As a weights file keeps it: the calibration is called "confidence" there."""
        fitted = None
        if self.calibration is not None:
            fitted = {
                "presence": self.calibration.presence,
                "place": self.calibration.place,
                "prevalence": self.calibration.prevalence,
            }
        return {"default": self.default, "fused_weight": self.fused_weight, "confidence": fitted}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Scoring":
        """The inverse of `to_json`; files from before there was a calibration have none.

        Raises KeyError, TypeError or ValueError for values of another form.
        """
        values = dict(values)
        fitted = values.pop("confidence", None)
        if fitted is None:
            return cls(**values)
        presence, place = (tuple(map(float, fitted[name])) for name in ("presence", "place"))
        if (len(presence), len(place)) != (3, 4):
            raise ValueError(f"a confidence of {len(presence)} and {len(place)} numbers")
        return cls(**values, calibration=Calibration(presence, place, float(fitted["prevalence"])))  # type: ignore[arg-type]
