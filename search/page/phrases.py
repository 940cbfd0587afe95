"""`Phrases`: what the network wrote about the regions of a collection, counted: suggestions, and words by noun."""

import logging
import re
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from db.errors import DbError
from search.page.readers import Readers
from search.wording.lexicon import Lexicon

logger = logging.getLogger(__name__)

# Those of 20,000 photographs; rarer ones would be lost in a list.
MAX_PHRASES = 20_000

# Counting reads every region, which takes seconds for millions, and a build commits every five seconds.
_SHARE_OF_COUNTING = 0.05

_WORD = re.compile(r"[\w']+")


@dataclass(frozen=True)
class Noun:
    """A kind of thing, and the phrases that name it."""

    noun: str
    photos: int  # in how many photographs the most frequent of its phrases is
    phrases: dict[str, int]  # phrase -> in how many photographs; most frequent first


@dataclass(frozen=True)
class Counted:
    """The phrases of a commit."""

    revision: int = -1  # -1: not counted yet
    counts: dict[str, int] = field(default_factory=dict)  # most frequent first
    nouns: list[Noun] = field(default_factory=list)  # most frequent first


class Phrases:
    """For any number of threads. Counts in a thread of its own, and answers from the last count meanwhile."""

    def __init__(self, readers: Readers):
        self._readers = readers
        self._counted = Counted()
        self._lock = threading.Lock()
        self._is_counting = False
        self._counted_at = self._counting_took = 0.0

    def counted(self, revision: int) -> Counted:
        """The phrases as last counted; if the collection has a newer revision, they are counted again meanwhile."""
        with self._lock:
            due = time.monotonic() - self._counted_at >= self._counting_took / _SHARE_OF_COUNTING
            if self._counted.revision != revision and not self._is_counting and due:
                self._is_counting = True
                threading.Thread(target=self._count, name="count-phrases", daemon=True).start()
            return self._counted

    def suggest(self, typed: str, revision: int, *, limit: int = 8) -> list[tuple[str, int]]:
        """Phrases of the collection that go on with what was typed, and in how many photographs each is.

        Every word typed begins a word of the phrase; phrases that begin with all of it come first, then frequent ones.
        """
        words = _WORD.findall(typed.lower())
        if not words:
            return []
        prefix = " ".join(words)
        found: list[tuple[bool, int, str]] = []
        for phrase, count in self.counted(revision).counts.items():
            if phrase != typed and _continues(words, _WORD.findall(phrase.lower())):
                bare = phrase.removeprefix("a ").removeprefix("the ")
                found.append((not (phrase.startswith(prefix) or bare.startswith(prefix)), -count, phrase))
        return [(phrase, -count) for _, count, phrase in sorted(found)[:limit]]

    def _count(self) -> None:
        started = time.monotonic()
        try:
            with self._readers.reading() as collection:
                revision = collection.revision
                counts = collection.phrase_counts(MAX_PHRASES)
            counts.pop("", None)
            self._counted = Counted(revision, counts, by_noun(counts, self._readers.lexicon))
        except DbError as error:
            logger.warning("The phrases could not be counted. %s", error)
        finally:
            with self._lock:
                self._is_counting = False
                self._counted_at = time.monotonic()
                self._counting_took = self._counted_at - started


def by_noun(counts: dict[str, int], lexicon: Lexicon) -> list[Noun]:
    """Phrases by the thing that they name first: "a black dog" and "dog on grass" by "dog"."""
    found: dict[str, dict[str, int]] = {}
    for phrase, count in counts.items():
        things = lexicon.noun_phrases(phrase) or [phrase]
        words = _WORD.findall(things[0].lower())
        if words:
            found.setdefault(words[-1], {})[phrase] = count
    nouns = [Noun(noun, max(phrases.values()), phrases) for noun, phrases in found.items()]
    return sorted(nouns, key=lambda noun: (-noun.photos, noun.noun))


def _continues(typed: list[str], words: Iterable[str]) -> bool:
    words = list(words)
    return all(any(word.startswith(each) for word in words) for each in typed)
