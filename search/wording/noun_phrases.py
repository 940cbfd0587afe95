"""The noun phrases of a question: "dog on couch" -> "a dog", "a couch".

By how captions use its words (`fcln.word_uses`): how often a word of a caption lies inside a noun phrase, how often it
opens one, and what opens one before it.
"""

from collections.abc import Mapping

from fcln.vocabulary import words_of
from fcln.word_uses import WordUse

# A word is taken as part of a noun phrase if at least half of its occurrences in captions are.
_INSIDE = 0.5
# A phrase may begin with this word if at least this share of its occurrences inside phrases begin one.
_OPENS = 0.4
# What may be added to open one: says nothing of the thing. (Of hats captions mostly say "hard hats", of dogs "two".)
_ARTICLES = frozenset({"a", "an", "the", "some"})


class NounPhrases:
    """Finds the noun phrases of a question by how captions use its words."""

    def __init__(self, words: Mapping[str, WordUse]):
        self.words = dict(words)

    def __call__(self, question: str) -> list[str]:
        """The question's noun phrases in order, an article added where captions would have one.

        A word that no caption used is taken as part of a noun phrase: unknown words are mostly names of things.
        """
        runs: list[list[str]] = [[]]
        for word in words_of(question):
            use = self.words.get(word)
            inside = use is None or use.inside >= _INSIDE
            if runs[-1] and (not inside or (use is not None and use.opens > 0.9)):
                runs.append([])  # a verb or preposition, or a word that only ever begins a phrase ("a", "two")
            if inside:
                runs[-1].append(word)
        return [" ".join(self._opened(run)) for run in runs if run and not self._only_opens(run)]

    def _opened(self, run: list[str]) -> list[str]:
        use = self.words.get(run[0])
        return [use.opener, *run] if use is not None and use.opener in _ARTICLES and use.opens < _OPENS else run

    def _only_opens(self, run: list[str]) -> bool:
        """A lone "a" or "two" names nothing."""
        use = self.words.get(run[0])
        return len(run) == 1 and use is not None and use.opens > 0.9
