"""What was asked: phrases checked, and a question taken apart."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fcln.vocabulary import words_of
from search.errors import QueryError
from search.wording.counts import Count, counted
from search.wording.foreign_words import FOREIGN_WORDS
from search.wording.function_words import FOREIGN_FUNCTION_WORDS, content_words
from search.wording.negation import ANY_PHOTOGRAPH, only_negated, split_minus, split_negation
from search.wording.relations import Reading, Relation, read_condition, read_relations

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

# Every phrase is a scan of all vectors (about 15 ms over 350,000 regions), and no question means so many: more
# are nearly always one question that lost its quotation marks.
MAX_PHRASES = 16
# Words that may be all of a noun phrase and name no thing.
_NO_THINGS_TEXT = """
    s top bottom left right middle center centre side front back foreground background
    red blue green yellow white black brown pink purple grey gray beige
"""
_NO_THINGS = frozenset(_NO_THINGS_TEXT.split())


@dataclass(frozen=True)
class Query:
    """Phrases to score, and how they combine."""

    given: list[str]  # as asked, white space and Unicode forms made uniform
    phrases: list[str]  # Q phrases to score: the given ones first, then the noun phrases of a question
    grounded_phrases: list[int]  # the things asked for, each in a region of its own, as indices of `phrases`
    unknown_words: list[str]  # words of the query that the model has never met
    substitutions: dict[str, str] = field(default_factory=dict)  # words read as others: slips, words of like meaning
    canonical: dict[str, str] = field(default_factory=dict)  # phrases encoded in another form: "cats" as "a cat"
    excluded: list[str] = field(default_factory=list)  # X phrases that nothing in a photograph may answer
    relations: list[Relation] = field(default_factory=list)  # of things, which are named as `phrases` has them
    counts: dict[str, Count] = field(default_factory=dict)  # phrase of a thing -> how many are asked for
    untold: list[str] = field(default_factory=list)  # words for what no box can tell: "behind"

    @property
    def things(self) -> list[int]:
        """The things, each once: of phrases that the network reads alike the first."""
        first: dict[str, int] = {}
        for column in self.grounded_phrases:
            first.setdefault(self.encoded[column], column)
        return list(first.values())

    @property
    def as_one(self) -> bool:
        """Whether the first phrase is the question as one thing, a reading beside that as several things."""
        return 0 not in self.grounded_phrases

    @property
    def is_composed(self) -> bool:
        """Whether a photograph's score is more than its best region's for one phrase."""
        return len(self.phrases) > 1 or bool(self.relations or self.counts)

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
    where: Sequence[str] = (),
    as_typed: bool = False,
    taken_apart: bool = True,
) -> Query:
    """Check phrases and read them.

    One phrase is a question, read in two ways: as one thing, and as the things that it names, with how they lie to each
    other and how many there are ("two dogs on a couch": two of "a dog", "a couch", on), since no training phrase says
    what an everyday question says. How both make a photograph's score: `search.composition`. Several phrases are things
    as given.

    A misspelt word is read as the one that was meant, and a word that the network has learnt from no photograph as one
    of the same meaning that it has, "photos of" is left away before a question, and "cats" or "the cat" are encoded as
    "a cat", and what a question negates ("without a person", "no people", "-person") is excluded, unless as_typed.
    excluded: further phrases that nothing in a photograph may answer. where: how things lie, each "dog left of child"
    or "dog in the foreground"; things that are not asked for yet are. taken_apart: False to read a single phrase as
    several are: as the name of one thing.

    Raises QueryError if there is no phrase, or too many, or one is empty, too long, says nothing of what a photograph
    shows, or is not English: nothing in it is known, or (unless as_typed) half of the words that tell something are
    unknown or misspelt; and if a condition of `where` is none that boxes can tell.
    """
    given, unwanted, conditions = _uniform(phrases), _uniform(excluded), _uniform(where)
    if unwanted and not given and not conditions:
        given = [ANY_PHOTOGRAPH]
    if not given and not conditions:
        raise QueryError('There is nothing to search for: give a question, such as "dog on couch".')
    if (count := len(given) + len(unwanted) + 2 * len(conditions)) > MAX_PHRASES:
        raise QueryError(
            f"These are {count} phrases, and a query may have at most {MAX_PHRASES}: "
            "put quotation marks around a question of several words."
        )
    for phrase in (*given, *unwanted, *conditions):
        _check_length(phrase, lexicon)
    is_question = taken_apart and len(given) == 1
    substitutions: dict[str, str] = {}
    said: frozenset[str] = frozenset()
    if as_typed:
        read, unwanted, conditions = ([_plain(p, lexicon) for p in some] for some in (given, unwanted, conditions))
        every = [*read, *unwanted]
    else:
        for phrase in unwanted:
            _check_unwanted(phrase, lexicon)
        plain, unwanted = _without_negation(given, unwanted, lexicon, is_question=is_question)
        conditions = [_plain(phrase, lexicon) for phrase in conditions]
        said = _words_said([*(plain if is_question else []), *conditions], lexicon)
        every = [*plain, *unwanted]
        for phrase in (*every, *conditions):
            found = lexicon.substitutions(phrase)
            substitutions.update({word: meant for word, meant in found.items() if word not in said})
        read, unwanted, conditions = (
            [_substitute(phrase, substitutions) for phrase in some] for some in (plain, unwanted, conditions)
        )
    reading = Reading([], [], "", [])
    if is_question:
        if as_typed:
            reading = Reading(lexicon.noun_phrases(read[0]), [], read[0], [])
        else:
            reading = read_relations(read[0], lexicon.noun_phrases)
        read = [reading.rest]
    readings = [read_condition(condition, lexicon.noun_phrases) for condition in conditions]
    things_of_conditions = [thing for condition in readings for thing in condition.things]
    for phrase in (*read, *unwanted, *things_of_conditions):
        _check_words(phrase, lexicon)
    if not as_typed and every:
        _check_content(every, [*read, *unwanted], lexicon, said)
    looked_for = (*read, *unwanted, *things_of_conditions)
    unknown = list(dict.fromkeys(word for phrase in looked_for for word in lexicon.unknown_words(phrase)))
    unknown = [word for word in unknown if word not in said]
    things = _Things(read, lexicon, as_typed=as_typed)
    if is_question:
        things.add_question(reading)
    for condition in readings:
        things.add_condition(condition)
    canonical = things.canonical if as_typed else {**things.canonical, **_canonical(unwanted, lexicon)}
    return Query(
        given, things.phrases, things.grounded, unknown, substitutions, canonical, unwanted,
        things.relations, things.counts, reading.untold,
    )  # fmt: skip


class _Things:
    """Collects the phrases of a query, and what is said of the things that they name."""

    def __init__(self, phrases: Sequence[str], lexicon: "Lexicon", *, as_typed: bool):
        """phrases: as asked."""
        self._lexicon = lexicon
        self._as_typed = as_typed
        self.phrases = list(phrases)
        self.grounded = list(range(len(phrases)))
        self.canonical: dict[str, str] = {}
        self.relations: list[Relation] = []
        self.counts: dict[str, Count] = {}

    def add_question(self, reading: Reading) -> None:
        """The things of a question, which is the only phrase so far."""
        (question,) = self.phrases
        if not self._as_typed:
            self.canonical.update(_canonical([question], self._lexicon))
        names = {thing: self._phrase(thing) for thing in reading.things if _is_thing(thing)}
        self.grounded = list(dict.fromkeys(map(self.phrases.index, names.values()))) or [0]
        self._add_relations(reading, names)

    def add_condition(self, reading: Reading) -> None:
        """How two things lie, or where one does; and the things, where they are not asked for yet."""
        names = {thing: self._phrase(thing) for thing in reading.things}
        self.grounded = list(dict.fromkeys([*self.grounded, *map(self.phrases.index, names.values())]))
        self._add_relations(reading, names)

    def _phrase(self, thing: str) -> str:
        """The phrase for a thing, added if there is none."""
        count = None if self._as_typed else counted(thing, self._lexicon.canonical)
        name = thing if count is None else count[1]
        form = name if self._as_typed else self._lexicon.canonical(name)
        for phrase in self.phrases:
            if self.canonical.get(phrase, phrase) == form or words_of(phrase) == words_of(name):
                name = phrase
                break
        else:
            self.phrases.append(name)
            if form != name:
                self.canonical[name] = form
        if count is not None:
            self.counts[name] = count[0]
        return name

    def _add_relations(self, reading: Reading, names: Mapping[str, str]) -> None:
        for relation in reading.relations:
            subject = names.get(relation.subject)
            other = names.get(relation.object) if relation.object is not None else None
            if subject is not None and subject != other and (relation.object is None or other is not None):
                said = replace(relation, subject=subject, object=other)
                if said not in self.relations:
                    self.relations.append(said)


def _is_thing(noun: str) -> bool:
    """Whether a noun phrase names a thing; the "s" of "it's", "red" of "man in red", "top" of "man on top" do not."""
    return any(word not in _NO_THINGS for word in content_words(words_of(noun)))


def _words_said(phrases: Sequence[str], lexicon: "Lexicon") -> frozenset[str]:
    """The words of phrases that say how things lie, which are no names of things: "underneath"."""
    readings = [read_relations(phrase, lexicon.noun_phrases) for phrase in phrases]
    said = [relation.said for reading in readings for relation in reading.relations]
    return frozenset(
        word.lower() for words in (*said, *(w for r in readings for w in r.untold)) for word in words.split()
    )


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
        if not minus and not negated and (unasked := only_negated(given[0], lexicon.noun_phrases)):
            wanted, negated = ANY_PHOTOGRAPH, unasked
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


def _check_unwanted(phrase: str, lexicon: "Lexicon") -> None:
    if things := only_negated(phrase, lexicon.noun_phrases):
        raise QueryError(f'"{phrase}" is negated twice: name the thing alone, "{things[0]}".')
    if not content_words(words_of(phrase)):
        raise _says_nothing(phrase)


def _says_nothing(phrase: str) -> QueryError:
    return QueryError(f'"{phrase}" says nothing of what a photograph shows: name a thing, such as "dog on couch".')


def _check_content(phrases: Sequence[str], corrected: Sequence[str], lexicon: "Lexicon", said: frozenset[str]) -> None:
    """phrases: as typed; corrected: with the words that were meant. said: words that say how things lie."""
    every = dict.fromkeys(word for phrase in phrases for word in words_of(phrase))
    words = content_words([word for word in every if word not in said])
    if not words:
        raise _says_nothing(" ".join(phrases))

    def is_strange(word: str) -> bool:
        return word in FOREIGN_FUNCTION_WORDS or bool(lexicon.unknown_words(word))

    strange = [word for word in words if is_strange(word)]
    is_foreign = any(word in FOREIGN_WORDS for word in strange)
    if (len(strange) >= 2 or is_foreign) and 2 * len(strange) >= len(words):
        told = f"The model reads English, and these words are not: {', '.join(strange)}."
        meant = " ".join(corrected)
        raise QueryError(told if any(map(is_strange, words_of(meant))) else f'{told} Is "{meant}" meant?')
