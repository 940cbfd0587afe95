"""What a question does not want: "a dog without a leash", "beach, no people", "dog -person"."""

import re
from collections.abc import Callable

from fcln.vocabulary import words_of
from search.wording.function_words import FUNCTION_WORDS

_NEGATORS = frozenset({"without", "no", "not", "minus", "except", "excluding"})
# Join two things that are not wanted: "no people or cars".
_ALTERNATIVES = frozenset({"or", "nor"})
# Stand before a negator and mean nothing without it: "but no", "with no".
_BEFORE = frozenset({"but", "and", "with", ","})
_MINUS = re.compile(r"(?<!\S)-(\w[\w']*)")

# What is asked for where a question only says what is not wanted.
ANY_PHOTOGRAPH = "a photograph"
# "No parking" is the name of a thing.
_SIGNS = frozenset({"parking", "smoking", "entry", "entrance", "swimming", "diving", "trespassing", "sign", "signs"})
_ONLY_NEGATED = re.compile(r"(?:(?:no|without|not)\s+|-)(?:an?\s+|any\s+|the\s+)?(.+)", re.IGNORECASE)


def split_minus(question: str) -> tuple[str, list[str]]:
    """A question as typed without its words that have a minus before them, and those: "dog -person"."""
    wanted = " ".join(_MINUS.sub(" ", question).split())
    return (wanted, _MINUS.findall(question)) if wanted else (question, [])


def split_negation(question: str, noun_phrases: Callable[[str], list[str]]) -> tuple[str, list[str]]:
    """A question without what it negates, and the things that it does: "a dog without a leash" -> "a dog", ["a leash"].

    A question that does nothing but negate ("no parking") is taken as it is. noun_phrases: of a text, in order.
    """
    wanted: list[str] = []
    unwanted: list[str] = []
    words = question.split()
    place = 0
    while place < len(words):
        if words[place].lower() not in _NEGATORS:
            wanted.append(words[place])
            place += 1
            continue
        begin = place = place + 1
        thing: list[str] = []
        while place < len(words):
            word = words[place].lower()
            if word in _NEGATORS or (thing and (word in FUNCTION_WORDS or not words_of(word))):
                if not (thing and word in _ALTERNATIVES):
                    break
                unwanted += noun_phrases(" ".join(thing))[:1]
                thing = []
            elif word not in FUNCTION_WORDS and words_of(word):
                thing.append(words[place])
            place += 1
        unwanted += noun_phrases(" ".join(thing))[:1]
        while wanted and wanted[-1].lower() in _BEFORE and place > begin:
            wanted.pop()
    while wanted and wanted[-1] == ",":
        wanted.pop()
    if not unwanted or all(word.lower() in FUNCTION_WORDS or not words_of(word) for word in wanted):
        return question, []
    while wanted[0].lower() in {",", "but", "and", *FUNCTION_WORDS - {"a", "an", "the", "some"}}:
        wanted.pop(0)
    return " ".join(wanted), list(dict.fromkeys(unwanted))


def only_negated(question: str, noun_phrases: Callable[[str], list[str]]) -> list[str]:
    """The things of a question that does nothing but negate: "no people", "-person", "without a dog"; else none.

    noun_phrases: of a text, in order.
    """
    begins = question.lower().split(" ")[:1]
    match = _ONLY_NEGATED.fullmatch(question) if begins and (begins[0] in _NEGATORS or question[:1] == "-") else None
    if match is None or not _SIGNS.isdisjoint(words_of(match[1])):
        return []
    things = noun_phrases(re.sub(r"\b(?:or|and|nor|no)\b|[,-]", " and ", match[1]))
    named = [word for word in words_of(match[1]) if word not in FUNCTION_WORDS]
    return things if named and words_of(" ".join(things))[-1:] == named[-1:] else []
