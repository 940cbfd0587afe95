"""How likely photographs and boxes answer one query, and where its list stops: `search.probability` for a `Query`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from search.calibration import confidences
from search.hits import Hit
from search.part_weights import part_weights
from search.probability import answer_count, composed_probabilities, phrase_offsets, uncertain

if TYPE_CHECKING:
    from fcln.scoring import Scoring
    from search.wording.parse import Query

# A list whose best photograph is less likely to answer says that it holds nothing convincing, and shows at most so
# many. All parts of a question at once are seldom so likely, though it has answers: of questions from captions
# (`scripts.evaluate.composed_questions`) two fifths are not. Eight have the better F1 there, of one phrase three do.
CONVINCING, CLOSEST, CLOSEST_OF_PARTS = 0.25, 3, 8
# Of the best one's probability; what is less likely is not close (the F1 there is the same).
LEAST_OF_CLOSEST = 0.1
# A list that stops by itself holds no more photographs. Of the most likely ones so many are looked at to find its end.
LONGEST, LOOKED_AT = 200, 400
# The parts of a question cost a millisecond a photograph: so many first, and more if the list is not over by then.
COMPOSED_LOOKED_AT = 50


@dataclass(frozen=True)
class ListEnd:
    """Where a list of photographs stops."""

    count: int  # photographs that it shows
    next: float | None  # how likely the one after them answers; None: there is none, or it is not known
    convincing: bool = True  # False: these are only the closest ones


class Likelihoods:
    """The probabilities of one query's answers, from the scores that the embedding gives (cosines).

    A photograph's probability rises with its score, so the order stays. Of several parts it is that all of them are
    answered (`search.probability.composed_probabilities`). A box has that of its part, shared out among the regions of
    the photograph (`search.calibration.confidences`), so that all of them together are as likely as the photograph is.
    """

    def __init__(self, scoring: "Scoring", query: "Query", vectors: np.ndarray):
        """vectors: (Q, E) of the query's phrases. scoring: with a calibration of answers."""
        assert scoring.answers is not None
        self._answers, self._boxes = scoring.answers, scoring.calibration
        self._offsets = phrase_offsets(scoring.answers, vectors)
        weights = part_weights(query, scoring, vectors)  # of the parts of the score, and so of their log-odds
        things = float(weights.things @ self._offsets[query.things])
        self._offset = weights.as_one * float(self._offsets[0]) + (1 - weights.as_one) * things
        self._parts = len(query.things) + query.as_one

    def of_scores(self, scores: np.ndarray) -> np.ndarray:
        """The probability of photographs with these scores: (P,) float64 -> (P,) float64."""
        odds = self._answers.closest * np.asarray(scores, np.float64) + self._offset
        return composed_probabilities(self._answers, odds) if self._parts > 1 else uncertain(odds)

    def of_boxes(self, similarities: np.ndarray, objectness: np.ndarray) -> np.ndarray | None:
        """The probability that each of N regions of a photograph shows what each of Q phrases names: (Q, N).

        similarities: (Q, N). objectness: (N,). None if the weights hold no calibration of boxes. Of P photographs:
        (P, Q, N), -inf: one has fewer regions, and (P, N) -> (P, Q, N).
        """
        if self._boxes is None:
            return None
        closest = similarities.max(axis=-1)
        presence = uncertain(self._answers.closest * np.asarray(closest, np.float64) + self._offsets)
        return confidences(self._boxes, similarities, objectness, presence=presence)

    def end(self, scores: np.ndarray, *, k: int | None, least: float | None) -> ListEnd:
        """Where the list of photographs with these scores, best first, stops.

        k: that many photographs; None: where the expected F1 of the list is highest. least: the least probability of
        any of them, None: any.
        """
        probabilities = self.of_scores(scores)
        convincing = bool(len(probabilities)) and bool(probabilities[0] >= CONVINCING)
        if k is not None:
            count = min(k, len(scores))
        elif convincing or least is not None:
            count = min(answer_count(probabilities), LONGEST)
        else:
            closest = probabilities[: CLOSEST_OF_PARTS if self._parts > 1 else CLOSEST]
            count = int((closest >= LEAST_OF_CLOSEST * closest[:1]).sum())
        if least is not None:
            count = min(count, int((probabilities >= least).sum()))
        following = float(probabilities[count]) if count < len(probabilities) else None
        return ListEnd(count, following, convincing)


def with_probabilities(hits: Sequence[Hit], likelihoods: Likelihoods, query: "Query") -> list[Hit]:
    """Hits with their probabilities. A box that shows all of a question is no likelier than the photograph."""
    found = []
    for hit, sure in zip(hits, likelihoods.of_scores(np.array([hit.score for hit in hits]))):
        probability = round(float(sure), 4)
        regions = [
            replace(region, probability=min(probability, region.probability))
            if region.probability is not None and query.as_one and region.for_phrase == query.phrases[0]
            else region
            for region in hit.regions
        ]
        found.append(replace(hit, probability=probability, regions=regions))
    return found
