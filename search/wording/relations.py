"""What a question says of how things lie to each other, and of where they lie in the photograph: a small grammar.

    question := text (relation text | place text)*
    relation := "left of" | "to the left of" | "on" | "under" | "next to" | "bigger than" | ...     (two things)
    place    := "in the top left" | "on the right" | "in the foreground" | ...                      (one thing)

The longest words that fit are taken ("on top of" before "on"). A relation holds between the thing named last before it
and the one named first after it: "man with a hat left of a dog" says where the hat is. A place is that of the thing
named last before it in its part of the sentence, else of the first after it: "dog on the left, cat on the right", "on
the left a dog". "On the left of the couch" is a relation, "in the middle of the street" no place of the photograph.

What is behind or in front of what, a box cannot tell: such words are named (`Reading.untold`), and their things asked
for.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from fcln.vocabulary import words_of
from search.errors import QueryError

# Words -> kind of `search.relations.RELATIONS`.
_RELATIONS = {
    "left of": ("left of", "to the left of", "at the left of", "on the left of", "on the left side of", "left from"),
    "right of": ("right of", "to the right of", "at the right of", "on the right of", "on the right side of",
                 "right from"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "lower than"),
    "on": ("on", "on top of", "on the top of", "at the top of", "atop", "upon", "onto"),
    "under": ("under", "underneath", "beneath"),
    "in": ("in", "into", "in the middle of", "in the center of", "in the centre of", "in the corner of",
           "at the bottom of"),
    "inside": ("inside", "inside of", "within"),
    "next to": ("next to", "beside", "besides", "near", "near to", "close to", "by", "alongside", "adjacent to",
                "at the side of", "side by side with"),
    "bigger than": ("bigger than", "larger than"),
    "smaller than": ("smaller than",),
}  # fmt: skip
# What no box can tell.
_UNTOLD = ("behind", "in front of", "in back of", "at the back of", "beyond")
_PLACES = {
    "left": ("left", "left side", "left hand side", "left half", "left edge"),
    "right": ("right", "right side", "right hand side", "right half", "right edge"),
    "top": ("top", "upper half", "top half", "upper part", "top edge"),
    "bottom": ("bottom", "lower half", "bottom half", "lower part", "bottom edge"),
    **{
        f"{row} {side}": tuple(
            f"{said} {side}{tail}" for said in (row, other) for tail in ("", " corner", " hand corner", " quarter")
        )
        for row, other in (("top", "upper"), ("bottom", "lower"))
        for side in ("left", "right")
    },
    "corner": ("corner",),
    "middle": ("middle", "center", "centre"),
    "foreground": ("foreground",),
    "background": ("background", "distance"),
}
# What a place may be of: the photograph.
_PHOTOGRAPH = ("photograph", "photo", "picture", "image", "frame", "shot", "scene", "screen")
_BEFORE_RELATIONS = frozenset({"is", "are", "was", "were", "being", "directly", "right", "just", "far"})

RELATION, PLACE, UNTOLD = "relation", "place", "untold"


@dataclass(frozen=True)
class Relation:
    """What a question says of one thing, or of two."""

    kind: str  # of two things one of `search.relations.RELATIONS`, of one of its PLACES
    subject: str  # a noun phrase
    object: str | None  # None: of where the subject lies in the photograph
    said: str  # the words that say so: "to the left of"

    def __str__(self) -> str:
        return " ".join(filter(None, (self.subject, self.said, self.object)))


@dataclass(frozen=True)
class Reading:
    """A question as things that lie to each other."""

    things: list[str]  # noun phrases in order, each once
    relations: list[Relation]
    rest: str  # the question without what it says of places in the photograph
    untold: list[str]  # words for what no box can tell


def _longest_first() -> list[tuple[tuple[str, ...], str, str]]:
    """The words of all relations and places: their words, whether relation or place, and which."""
    found = [(said, RELATION, kind) for kind, several in _RELATIONS.items() for said in several]
    found += [(said, UNTOLD, said) for said in _UNTOLD]
    found += [
        (f"{before} the {said}", PLACE, kind)
        for kind, several in _PLACES.items()
        for said in several
        for before in ("in", "on", "at", "to")
    ]
    return sorted(((tuple(said.split()), what, kind) for said, what, kind in found), key=lambda entry: -len(entry[0]))


_GRAMMAR = {  # by the first word
    first: list(entries)
    for first, entries in groupby(sorted(_longest_first(), key=lambda entry: entry[0][0]), key=lambda e: e[0][0])
}
_OF_THE_PHOTOGRAPH = re.compile(rf"of (?:the|a|my|this) (?:{'|'.join(_PHOTOGRAPH)})\b")


def read_relations(question: str, noun_phrases: Callable[[str], list[str]]) -> Reading:
    """What a question says of how its things lie. noun_phrases: of a text, in order.

    A question without a relation or place between or of things has none, and is all `rest`.
    """
    words = question.split()
    parts = list(_parts(words))
    texts = [noun_phrases(" ".join(words[begin:end])) if what is None else [] for begin, end, what, _ in parts]
    relations: list[Relation] = []
    untold: list[str] = []
    dropped: set[int] = set()
    for place, (begin, end, what, kind) in enumerate(parts):
        if what is None:
            continue
        said = " ".join(words[begin:end])
        before = texts[place - 1] if place else []
        after = texts[place + 1] if place + 1 < len(parts) else []
        if what == PLACE:
            opens = not before or (bool(after) and words[begin - 1] in (",", "and"))
            subject = after[:1] if opens else before[-1:]
            if subject:
                relations.append(Relation(kind, subject[0], None, said))
                dropped.update(range(begin, end))
        elif before and after and what == UNTOLD:
            untold.append(said)
        elif before and after and before[-1] != after[0]:
            relations.append(Relation(kind, before[-1], after[0], said))
    rest = [word for i, word in enumerate(words) if i not in dropped]
    while rest and rest[-1] in (",", "and"):
        rest.pop()
    while rest and rest[0] in (",", "and"):
        rest.pop(0)
    things = list(dict.fromkeys(thing for found in texts for thing in found))
    return Reading(things, relations, " ".join(rest), untold)


def read_condition(condition: str, noun_phrases: Callable[[str], list[str]]) -> Reading:
    """One relation of two things, or one thing's place: "dog left of child", "dog in the foreground".

    Raises QueryError for anything else.
    """
    reading = read_relations(condition, noun_phrases)
    if reading.untold:
        raise QueryError(
            f'What is {reading.untold[0]} what, a box cannot tell ("{condition}"): '
            f'ask for {_all_kinds(_RELATIONS)}, or for a place such as "in the foreground".'
        )
    if len(reading.relations) != 1:
        raise QueryError(
            f'"{condition}" does not say how one thing lies to another: say "dog left of child" or "dog in the '
            f'foreground". Relations are {_all_kinds(_RELATIONS)}; places {_all_kinds(_PLACES)}.'
        )
    (relation,) = reading.relations
    return Reading([thing for thing in (relation.subject, relation.object) if thing], [relation], reading.rest, [])


def _all_kinds(kinds: Mapping[str, object]) -> str:
    return ", ".join(kinds)


def _parts(words: list[str]) -> Iterator[tuple[int, int, str | None, str]]:
    """The question as texts and what stands between them: begin, end, what (None: a text), kind."""
    lower = [word.lower() for word in words]
    begin = at = 0
    while at < len(words):
        found = _at(lower, at)
        if found is None:
            at += 1
            continue
        end, what, kind = found
        said_from = at
        while said_from > begin and lower[said_from - 1] in _BEFORE_RELATIONS and what != PLACE:
            said_from -= 1
        yield begin, said_from, None, ""
        yield at, end, what, kind
        begin = at = end
    yield begin, len(words), None, ""


def _at(lower: list[str], at: int) -> tuple[int, str, str] | None:
    """What the grammar has at a word: end, what, kind."""
    for said, what, kind in _GRAMMAR.get(lower[at], ()):
        if tuple(lower[at : at + len(said)]) != said:
            continue
        end = at + len(said)
        if said[-1] == "of" and _OF_THE_PHOTOGRAPH.match(" ".join(lower[end - 1 :])):
            continue  # "on the left side of the photo" is a place
        if what == PLACE:
            of = _OF_THE_PHOTOGRAPH.match(" ".join(lower[end:]))
            if of:
                end += len(of.group().split())
            elif end < len(lower) and (lower[end] == "of" or words_of(lower[end])[:1] in (["hand"], ["side"])):
                continue  # in the middle of the street
            elif end < len(lower) and kind in ("left", "right", "top", "bottom") and _is_named(lower, end):
                continue  # "in the left hand": what follows is what is left
        return end, what, kind
    return None


def _is_named(lower: list[str], end: int) -> bool:
    """Whether a word that goes on with "in the left ..." follows, and not another part of the sentence."""
    stops = {",", "and", "a", "an", "the", "with", "is", "are", "there", "some", "two", "three"}
    return lower[end] not in stops and not lower[end].isdigit()
