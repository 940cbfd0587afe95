"""WordNet's files (Miller, 1995; format: wndb(5WN)): which words mean the same, and which mean more.

The files are data.noun, index.noun, noun.exc and so on of WordNet 3.x, in one folder; Debian's package `wordnet-base`
has them.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

_FILES = {"n": "noun", "v": "verb", "a": "adj"}
# A synset's kind in a pointer: s is an adjective that is like another one.
_KINDS = {"n": "n", "v": "v", "a": "a", "s": "a"}
# Pointers to what means more or nearly the same: hypernym, similar to, pertains to.
_BROADER = {"@", "&", "\\"}
# Endings and what to put in their place (morphy(7WN)).
_ENDINGS = {
    "n": (("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"),
          ("ies", "y")),
    "v": (("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")),
    "a": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
}  # fmt: skip


@dataclass(frozen=True)
class Synset:
    """Words that mean the same."""

    words: tuple[str, ...]  # lower-case, "_" between the words of a compound
    broader: tuple[tuple[str, str], ...]  # keys of the synsets that mean more, or nearly the same


class WordNet:
    """Nouns, verbs and adjectives."""

    def __init__(self, folder: Path):
        """Raises OSError if a file is missing."""
        self._synsets: dict[tuple[str, str], Synset] = {}
        self._senses: dict[tuple[str, str], list[tuple[str, str]]] = {}
        self._irregular: dict[tuple[str, str], list[str]] = defaultdict(list)
        for kind, name in _FILES.items():
            for line in _lines(folder / f"data.{name}"):
                self._synsets[kind, line.split(" ", 1)[0]] = _synset(line)
            for line in _lines(folder / f"index.{name}"):
                word, _, count, pointers, *rest = line.split()
                places = rest[int(pointers) + 2 :]
                self._senses[kind, word] = [(kind, place) for place in places[: int(count)]]
            for line in _lines(folder / f"{name}.exc"):
                form, *lemmas = line.split()
                self._irregular[kind, form] += lemmas

    def words(self) -> set[str]:
        """All words and compounds."""
        return {word for _, word in self._senses}

    def lemmas(self, word: str) -> list[tuple[str, str]]:
        """What a word may be a form of: (kind: n, v or a; lemma), each once."""
        found = []
        for kind, endings in _ENDINGS.items():
            stems = [word, *self._irregular.get((kind, word), ())]
            stems += [word.removesuffix(ending) + other for ending, other in endings if word.endswith(ending)]
            found += [(kind, stem) for stem in dict.fromkeys(stems) if (kind, stem) in self._senses]
        return found

    def senses(self, kind: str, lemma: str) -> list[Synset]:
        """What a lemma means, the most frequent meaning first."""
        return [self._synsets[key] for key in self._senses.get((kind, lemma), ())]

    def synset(self, kind: str, offset: str) -> Synset | None:
        """The synset of an offset in its data file ("01677366"), None if there is none."""
        return self._synsets.get((kind, offset))

    def broader(self, synset: Synset) -> list[Synset]:
        """What means more, or nearly the same."""
        return [self._synsets[key] for key in synset.broader]


def _lines(path: Path) -> list[str]:
    # The licence at each file's beginning is indented.
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(" ")]


def _synset(line: str) -> Synset:
    """A line of a data file: offset, file number, kind, count of words (hexadecimal), words and their numbers, count of
    pointers, pointers of four fields each, gloss."""
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    words = tuple(word.partition("(")[0].lower() for word in fields[4 : 4 + 2 * count : 2])
    start = 4 + 2 * count + 1
    pointers = [fields[n : n + 4] for n in range(start, start + 4 * int(fields[start - 1]), 4)]
    broader = tuple(
        (_KINDS[kind], place) for symbol, place, kind, _ in pointers if symbol in _BROADER and kind in _KINDS
    )
    return Synset(words, tuple(broader))
