"""How captions use a word: inside noun phrases or not. Counted when a network is trained, kept with its weights.

`search.wording.noun_phrases` takes questions apart by it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fcln.vocabulary import words_of


@dataclass(frozen=True)
class WordUse:
    """How captions use a word."""

    inside: float  # share of its occurrences that lie inside a noun phrase, [0, 1]
    opens: float  # share of those at which it is the phrase's first word, [0, 1]
    opener: str  # the word most often right before it as first word of a phrase; "" if never


def count_word_uses(captions: Iterable[str], phrases: Mapping[str, int], *, min_count: int = 5) -> dict[str, WordUse]:
    """How captions use each word that occurs in them at least min_count times.

    captions: whole sentences. phrases: noun phrases of those captions, with how often each occurs in them.
    """
    in_captions = Counter(word for caption in captions for word in words_of(caption))
    in_phrases: Counter[str] = Counter()
    first: Counter[str] = Counter()
    openers: dict[str, Counter[str]] = defaultdict(Counter)
    for phrase, count in phrases.items():
        words = words_of(phrase)
        for word in words:
            in_phrases[word] += count
        if words:
            first[words[0]] += count
        if len(words) > 1:
            openers[words[1]][words[0]] += count
    uses = {}
    for word, total in in_captions.items():
        if total >= min_count:
            inside = in_phrases[word]
            opener = max(openers[word].items(), key=lambda x: (x[1], x[0]))[0] if word in openers else ""
            uses[word] = WordUse(
                round(min(1.0, inside / total), 3), round(first[word] / inside, 3) if inside else 0.0, opener
            )
    return uses
