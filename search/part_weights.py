"""How much each part of a question weighs in the score of a photograph (`search.composition` has the formula).

A question is asked as one thing too. Where it names several things, both readings weigh the same. Where it names one
("dog swimming"), that says less than the question does and hardly weighs. Things weigh by how rare they are, as far as
that is known: that a photograph shows a man tells less than that it shows a trumpet.

Measured with questions from captions (`scripts.evaluate.composed_questions`): docs/experiments.md.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from search.probability import rarities

if TYPE_CHECKING:
    from fcln.scoring import Scoring
    from search.wording.parse import Query

# Shares of the score that the question as one thing has, where it names one thing and where it names several.
_ONE_THING, _SEVERAL_THINGS = 0.9, 0.5


@dataclass(frozen=True)
class PartWeights:
    """Shares of the parts of a question in a photograph's score."""

    as_one: float  # of the question as one thing, below 1; 0: it is not read so
    things: np.ndarray  # (T,) float64, of each thing in what the things score together; they add up to 1

    @property
    def of_said(self) -> float:
        """By what to multiply what is said of things, where it is added to their score, so that it always weighs the
        same beside the question as one thing, however little the things do."""
        return (1 - _SEVERAL_THINGS) / (1 - self.as_one) if self.as_one else 1.0


def part_weights(query: "Query", scoring: "Scoring | None" = None, vectors: np.ndarray | None = None) -> PartWeights:
    """The weights of a query's parts.

    scoring, vectors: of the network, and (Q, E) of the query's phrases, which tell how rare things are: only with a
    calibration of answers; without one, and where somebody gives several phrases, things weigh the same.
    """
    count = len(query.things)
    things = np.ones(count)
    if query.as_one and scoring is not None and scoring.answers is not None and vectors is not None:
        things = rarities(scoring.answers, vectors)[query.things]
    as_one = 0.0 if not query.as_one else _ONE_THING if count == 1 else _SEVERAL_THINGS
    return PartWeights(as_one, things / things.sum())
