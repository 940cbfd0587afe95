"""What was asked: phrases checked, and a question taken apart."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fcln.vocabulary import words_of
from search.errors import QueryError
from search.wording.function_words import FOREIGN_FUNCTION_WORDS, content_words
from search.wording.negation import split_minus, split_negation

if TYPE_CHECKING:
    from search.wording.lexicon import Lexicon

# Typographic signs, as phones and word processors type them, to those that the network was trained on.
_TYPED = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u00b4`"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), " - "),
    ord(","): " , ",
}
_NO_WORDS = re.compile(r"[^\w\s',.-]")  # other signs, which say nothing
_AT_EDGES = re.compile(r"[.']+(?=\s|$)|(?<!\S)[.]+|(?<!\S)'+(?!s(?:\s|$))")  # "dog." and "'dog'", but "man 's"
_OF_SOMEBODY = re.compile(r"(?<=\w)'s\b", re.IGNORECASE)
# What people put before a question, and what no caption says.
_ASKING = re.compile(
    r"(?:(?:show me|find me|find|search for|look for)\s+)?"
    r"(?:(?:(?:a|an|any|the|some|all|my)\s+)?(?:photo|photograph|picture|image|pic)s?\s+(?:of|with|showing)\s+)?",
    re.IGNORECASE,
)

# Every phrase is a scan of all vectors (about 15 ms over 350,000 regions), and nobody means that many at once: more
# are nearly always one question that lost its quotation marks.
MAX_PHRASES = 16


@dataclass(frozen=True)
class Query:
    """Phrases to score, and how they combine."""

    given: list[str]  # as asked, white space and Unicode forms made uniform
    phrases: list[str]  # Q phrases to score: the given ones first, then the noun phrases of a question
    grounded_phrases: list[int]  # those whose regions show where a photograph answers, as indices of `phrases`
    unknown_words: list[str]  # words of the query that the model has never met
    substitutions: dict[str, str] = field(default_factory=dict)  # words read as others: slips, words of like meaning
    canonical: dict[str, str] = field(default_factory=dict)  # phrases encoded in another form: "cats" as "a cat"
    excluded: list[str] = field(default_factory=list)  # X phrases that nothing in a photograph may answer

    @property
    def encoded(self) -> list[str]:
        """The Q phrases as the network reads them."""
        return [self.canonical.get(phrase, phrase) for phrase in self.phrases]

    @property
    def encoded_excluded(self) -> list[str]:
        """The X excluded phrases as the network reads them."""
        return [self.canonical.get(phrase, phrase) for phrase in self.excluded]


def parse_query(
    phrases: Sequence[str],
    lexicon: "Lexicon",
    *,
    excluded: Sequence[str] = (),
    as_typed: bool = False,
    taken_apart: bool = True,
) -> Query:
    """Check phrases and read them.

    One phrase is a question: beside itself, its noun phrases are asked for ("dog on couch": "a dog", "a couch"), since
    no training phrase says what an everyday question says. All of them are scored as the paper scores several
    captions: measured on questions about the validation photographs, their mean ranks better (mean AP 0.36) than the
    question alone (0.31) or than letting the two readings compete photograph by photograph (0.32 to 0.33), and a
    photograph's score does not depend on which others are looked at. Several phrases are read as given.

    A misspelt word is read as the one that was meant, and a word that the network has learnt from no photograph as one
    of the same meaning that it has, "photos of" is left away before a question, and "cats" or "the cat" are encoded as
    "a cat", and what a question negates ("without a person", "no people", "-person") is excluded, unless as_typed.
    excluded: further phrases that nothing in a photograph may answer. taken_apart: False to read a single phrase as
    several are: as the name of one thing.

    Raises QueryError if there is no phrase, or too many, or one is empty, too long, says nothing of what a photograph
    shows, or is not English: nothing in it is known, or (unless as_typed) half of the words that tell something are
    unknown or misspelt.
    """
    given, unwanted = _uniform(phrases), _uniform(excluded)
    if not given:
        raise QueryError('There is nothing to search for: give a question, such as "dog on couch".')
    if (count := len(given) + len(unwanted)) > MAX_PHRASES:
        raise QueryError(
            f"These are {count} phrases, and a query may have at most {MAX_PHRASES}: "
            "put quotation marks around a question of several words."
        )
    for phrase in (*given, *unwanted):
        _check_length(phrase, lexicon)
    if as_typed:
        read, unwanted = ([_plain(phrase, lexicon) for phrase in some] for some in (given, unwanted))
        substitutions: dict[str, str] = {}
    else:
        is_question = taken_apart and len(given) == 1
        plain, unwanted = _without_negation(given, unwanted, lexicon, is_question=is_question)
        every = [*plain, *unwanted]
        substitutions = {word: meant for phrase in every for word, meant in lexicon.substitutions(phrase).items()}
        read, unwanted = ([_substitute(phrase, substitutions) for phrase in some] for some in (plain, unwanted))
    for phrase in (*read, *unwanted):
        _check_words(phrase, lexicon)
    if not as_typed:
        _check_content(every, [*read, *unwanted], lexicon)
    unknown = list(dict.fromkeys(word for phrase in (*read, *unwanted) for word in lexicon.unknown_words(phrase)))
    canonical = {} if as_typed else _canonical(unwanted, lexicon)
    if len(given) > 1 or not taken_apart:
        return Query(given, read, list(range(len(read))), unknown, substitutions, canonical, unwanted)
    nouns = list(dict.fromkeys(lexicon.noun_phrases(read[0])))
    forms = {} if as_typed else _canonical([*read, *nouns], lexicon)
    asked = forms.get(read[0], read[0])
    nouns = [noun for noun in nouns if _is_other(noun, read[0]) and forms.get(noun, noun) != asked]
    canonical |= {phrase: form for phrase, form in forms.items() if phrase in (read[0], *nouns)}
    scored = list(dict.fromkeys([*read, *nouns]))
    # Of a question with several things in it, the boxes are the things'; the question's own is mostly the whole scene.
    grounded = [scored.index(noun) for noun in nouns] if len(nouns) > 1 else [0]
    return Query(given, scored, grounded, unknown, substitutions, canonical, unwanted)


def _uniform(phrases: Sequence[str]) -> list[str]:
    """White space and Unicode forms made uniform."""
    return [" ".join(unicodedata.normalize("NFKC", phrase).split()) for phrase in phrases]


def _without_negation(
    given: Sequence[str], unwanted: Sequence[str], lexicon: "Lexicon", *, is_question: bool
) -> tuple[list[str], list[str]]:
    """The phrases plain, of a question without what it negates; and all that is unwanted, plain, each once."""
    negated: list[str] = []
    if not is_question:
        plain = [_plain(phrase, lexicon) for phrase in given]
    else:
        question, minus = split_minus(given[0])
        question = _plain(question, lexicon)
        wanted, negated = split_negation(question[_asking(question) :], lexicon.noun_phrases)
        plain, negated = [wanted], [*minus, *negated]
    return plain, list(dict.fromkeys(_plain(phrase, lexicon) for phrase in (*unwanted, *negated)))


def _canonical(phrases: Sequence[str], lexicon: "Lexicon") -> dict[str, str]:
    """Those of the phrases that are encoded in another form."""
    forms = {phrase: lexicon.canonical(phrase) for phrase in phrases}
    return {phrase: form for phrase, form in forms.items() if form != phrase}


def _plain(phrase: str, lexicon: "Lexicon") -> str:
    """The phrase with no other signs than its words need, so that "“Dog/cat!”" asks what "dog cat" asks."""
    phrase = _AT_EDGES.sub("", _NO_WORDS.sub(" ", phrase.translate(_TYPED)))
    phrase = _OF_SOMEBODY.sub(" 's", phrase)  # as the training phrases have it: "a man 's hat"
    # Words that a hyphen joins are one ("t-shirt") only if the network or English has it ("tshirt").
    words = [
        word.replace("-", " - ") if "-" in word and lexicon.unknown_words(word) else word for word in phrase.split()
    ]
    return " ".join(" ".join(words).split()).strip(" ,-")


def _is_other(noun: str, question: str) -> bool:
    """Whether a noun phrase asks for another thing than the question does; the "s" of "it's" asks for none."""
    return words_of(noun) not in (words_of(question), ["s"])


def _asking(phrase: str) -> int:
    """How much of a question only says that something is asked for: all of "photos of" in "photos of a dog"."""
    end = _ASKING.match(phrase).end()  # type: ignore[union-attr]  # it always matches
    return end if any(letter.isalnum() for letter in phrase[end:]) else 0


def _substitute(phrase: str, substitutions: Mapping[str, str]) -> str:
    """The phrase with other words: those of the network, in lower case and without punctuation, are looked up."""
    return " ".join(substitutions.get("".join(words_of(word)), word) for word in phrase.split())


def _words(phrase: str) -> list[str]:
    return [word for word in phrase.split() if any(letter.isalnum() for letter in word)]


def _check_length(phrase: str, lexicon: "Lexicon") -> None:
    words = _words(phrase)
    if not words:
        raise QueryError(f'There is no word in "{phrase}": give a question, such as "dog on couch".')
    if len(words) > lexicon.max_phrase_words:
        raise QueryError(
            f"A phrase may have at most {lexicon.max_phrase_words} words, "
            f'and the one that begins "{" ".join(words[:4])}" has {len(words)}.'
        )


def _check_words(phrase: str, lexicon: "Lexicon") -> None:
    words = _words(phrase)
    if all(lexicon.unknown_words(word) for word in words):
        raise QueryError(
            f"The model knows none of these words: {', '.join(dict.fromkeys(words))}. It reads plain English."
        )


def _check_content(phrases: Sequence[str], corrected: Sequence[str], lexicon: "Lexicon") -> None:
    """phrases: as typed; corrected: with the words that were meant."""
    words = content_words(list(dict.fromkeys(word for phrase in phrases for word in words_of(phrase))))
    if not words:
        raise QueryError(
            f'"{" ".join(phrases)}" says nothing of what a photograph shows: name a thing, such as "dog on couch".'
        )

    def is_strange(word: str) -> bool:
        return word in FOREIGN_FUNCTION_WORDS or bool(lexicon.unknown_words(word))

    strange = [word for word in words if is_strange(word)]
    if len(strange) >= 2 and 2 * len(strange) >= len(words):
        told = f"The model reads English, and these words are not: {', '.join(strange)}."
        meant = " ".join(corrected)
        raise QueryError(told if any(map(is_strange, words_of(meant))) else f'{told} Is "{meant}" meant?')
