"""What was asked: phrases checked, and a question taken apart."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcln.vocabulary import words_of
from search.errors import QueryError

if TYPE_CHECKING:
    from fcln.predictor import Predictor

# How regions can be scored: see `search.likelihood`.
SCORINGS = ("embedding", "likelihood", "fused")

# Every phrase is a scan of all vectors (about 15 ms over 350,000 regions), and nobody means that many at once: more
# are nearly always one question that lost its quotation marks.
MAX_PHRASES = 16


@dataclass(frozen=True)
class Query:
    """Phrases to score, and how they combine."""

    given: list[str]  # as asked, white space and Unicode forms made uniform
    phrases: list[str]  # Q phrases to score: the given ones first, then the noun phrases of a question
    shown: list[int]  # those whose regions show where a photograph answers, as columns of `phrases`
    unknown_words: list[str]  # words of the query that the model has never met
    readings: dict[str, str] = field(default_factory=dict)  # words read as others: slips, words of the same meaning


def read_query(phrases: Sequence[str], predictor: "Predictor", *, as_typed: bool = False) -> Query:
    """Check phrases and read them.

    One phrase is a question: beside itself, its noun phrases are asked for ("dog on couch": "a dog", "a couch"), since
    no training phrase says what an everyday question says. All of them are scored as the paper scores several
    captions: measured on questions about the validation photographs, their mean ranks better (mean AP 0.36) than the
    question alone (0.31) or than letting the two readings compete photograph by photograph (0.32 to 0.33), and a
    photograph's score does not depend on which others are looked at. Several phrases are read as given.

    A misspelt word is read as the one that was meant, and a word that the network has learnt from no photograph as one
    of the same meaning that it has, unless as_typed.

    Raises QueryError if there is no phrase, or too many, or one is empty, too long, or holds unknown words only.
    """
    given = [" ".join(unicodedata.normalize("NFKC", phrase).split()) for phrase in phrases]
    if not given:
        raise QueryError('There is nothing to search for: give a question, such as "dog on couch".')
    if len(given) > MAX_PHRASES:
        raise QueryError(
            f"These are {len(given)} phrases, and a query may have at most {MAX_PHRASES}: "
            "put quotation marks around a question of several words."
        )
    for phrase in given:
        _check_length(phrase, predictor)
    readings: dict[str, str] = {}
    if not as_typed:
        readings = {word: read for phrase in given for word, read in predictor.readings(phrase).items()}
    read = [_read(phrase, readings) for phrase in given]
    for phrase in read:
        _check_words(phrase, predictor)
    unknown = dict.fromkeys(word for phrase in read for word in predictor.unknown_words(phrase))
    if len(given) > 1:
        return Query(given, read, list(range(len(read))), list(unknown), readings)
    nouns = list(dict.fromkeys(predictor.noun_phrases(read[0])))
    scored = list(dict.fromkeys([*read, *nouns]))
    # Of a question with several things in it, the boxes are the things'; the question's own is mostly the whole scene.
    shown = [scored.index(noun) for noun in nouns] if len(nouns) > 1 else [0]
    return Query(given, scored, shown, list(unknown), readings)


def _read(phrase: str, readings: Mapping[str, str]) -> str:
    """The phrase with other words: those of the network, in lower case and without punctuation, are looked up."""
    return " ".join(readings.get("".join(words_of(word)), word) for word in phrase.split())


def _words(phrase: str) -> list[str]:
    return [word for word in phrase.split() if any(letter.isalnum() for letter in word)]


def _check_length(phrase: str, predictor: "Predictor") -> None:
    words = _words(phrase)
    if not words:
        raise QueryError(f'There is no word in "{phrase}": give a question, such as "dog on couch".')
    if len(words) > predictor.max_phrase_words:
        raise QueryError(
            f"A phrase may have at most {predictor.max_phrase_words} words, "
            f'and the one that begins "{" ".join(words[:4])}" has {len(words)}.'
        )


def _check_words(phrase: str, predictor: "Predictor") -> None:
    words = _words(phrase)
    if all(predictor.unknown_words(word) for word in words):
        raise QueryError(f"The model knows none of these words: {', '.join(dict.fromkeys(words))}.")
