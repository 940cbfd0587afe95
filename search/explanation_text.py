"""An explanation in lines for people, and as a document for programs."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from commands.text import printable

if TYPE_CHECKING:
    from search.exclusion import Excluded
    from search.explanation import ExplainedThing, Explanation
    from search.hits import HitRegion


def explanation_lines(explanation: "Explanation", score: float) -> Iterator[str]:
    """Why a photograph has its score."""
    if explanation.as_one is not None:
        one, things, share = explanation.as_one.score, explanation.as_things, explanation.as_one.share
        parts = f"the mean of {one:.3f} and {things:.3f}"
        if share != 0.5:
            parts = f"{share:.0%} of {one:.3f} and {1 - share:.0%} of {things:.3f}"
        yield f"{score:.3f} = {parts}"
        yield f"as one thing {explanation.as_one.score:.3f}: {_thing(explanation.as_one)}"
        yield f"as several things {explanation.as_things:.3f}:"
    unequal = len({thing.share for thing in explanation.things}) > 1
    for thing in explanation.things:
        yield f"thing{f', {thing.share:.0%}' if unequal else ''}: {_thing(thing)}"
    for relation in explanation.relations:
        yield f"{relation.text}: {relation.score:.0%} likely, {relation.points:+.3f}"
    for judged in explanation.words:
        words = "  ".join(f"{word} {log:.2f}" for word, log in judged.words)
        yield f"log-probabilities in region {judged.region_id}: {words}"


def excluded_lines(excluded: "Sequence[Excluded]", shown: Callable[[Any], str]) -> Iterator[str]:
    """Which photographs fell away, and the region that is the evidence. shown: of a path."""
    for photo in excluded:
        x1, y1, x2, y2 = map(round, photo.region.box)
        what = f'"{printable(photo.region.phrase)}"' if photo.region.phrase else "a region"
        where = f"{x2 - x1}x{y2 - y1} at {x1},{y1}"
        yield f"left out {shown(photo.path)}: {what} {where} shows {photo.region.for_phrase}, {photo.region.score:.2f}"


def won_line(explanation: "Explanation") -> str:
    """Which reading of a question won, where there are two: "as one thing", "as several things: on 93%"."""
    relations = ", ".join(f"{relation.kind} {relation.score:.0%}" for relation in explanation.relations)
    if explanation.won == "one thing":
        return "as one thing"
    if explanation.won is None and not relations:
        return ""
    of_one = explanation.won is None or len(explanation.things) == 1
    return ("" if of_one else "as several things: " if relations else "as several things") + relations


def explanation_document(explanation: "Explanation", region: "Callable[[HitRegion], dict[str, Any]]") -> dict[str, Any]:
    """{"won", "as_one", "as_things", "things", "relations", "words"}: the parts of a photograph's score.

    as_one (null: not read so) and each of things are {"phrase", "score", "share", "regions"}, share in the score of all
    and in that of the things; relations {"text", "relation", "score" in (0, 1), "points"}; words [{"phrase",
    "region_id", "log_probabilities": [[word, log p], ...]}], END last, where the language model judged. region: the
    document of a region.
    """

    def thing(part: "ExplainedThing") -> dict[str, Any]:
        regions = [region(answer) for answer in part.regions]
        return {"phrase": part.phrase, "score": part.score, "share": part.share, "regions": regions}

    return {
        "won": explanation.won,
        "as_one": thing(explanation.as_one) if explanation.as_one is not None else None,
        "as_things": explanation.as_things,
        "things": [thing(part) for part in explanation.things],
        "relations": [
            {"text": said.text, "relation": said.kind, "score": said.score, "points": said.points}
            for said in explanation.relations
        ],
        "words": [
            {"phrase": judged.phrase, "region_id": judged.region_id, "log_probabilities": list(map(list, judged.words))}
            for judged in explanation.words
        ],
    }


def _thing(thing: "ExplainedThing") -> str:
    regions = "; ".join(f'"{printable(region.phrase)}" {region.score:.3f}' for region in thing.regions)
    return f'"{thing.phrase}" {thing.score:.3f}, answered by {regions}'
