"""What the numbers of an answer are, in the words that pictures and pages have room for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search.detector import Detections
    from search.hits import Hit, HitRegion
    from search.searcher import Answer


def sureness(found: "Hit | HitRegion") -> str:
    """The probability of a photograph or a box where it is known, else its score."""
    return f"{found.score:.3f}" if found.probability is None else f"{found.probability:.0%}"


def numbers(answer: "Answer | Detections") -> str:
    """What `sureness` says of this answer's photographs, and whether they are any."""
    if not any(hit.probability is not None for hit in answer.hits):
        return answer.scored
    end = getattr(answer, "end", None)  # a detection's threshold is its end
    if end is not None and not end.convincing:
        return "nothing convincing: these are the closest"
    return "how likely each answers"
