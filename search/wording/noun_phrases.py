"""The noun phrases of a question: "dog on couch" -> "a dog", "a couch".

By how captions use its words (`fcln.word_uses`): how often a word of a caption lies inside a noun phrase, how often it
opens one, and what opens one before it.
"""

from collections.abc import Collection, Mapping

from fcln.vocabulary import words_of
from fcln.word_uses import WordUse
from search.wording.function_words import FUNCTION_WORDS
from search.wording.inflection import singular

# A word is taken as part of a noun phrase if at least half of its occurrences in captions are.
_INSIDE = 0.5
# Of the names of things so many: captions look "at the camera", which is none of their phrases.
_NAME_INSIDE = 0.35
# Of a word in -ing after another one so many: "a dog swimming" is a dog.
_ING_INSIDE = 0.6
# A phrase may begin with this word if at least this share of its occurrences inside phrases begin one.
_OPENS = 0.4
# What may be added to open one: says nothing of the thing. (Of hats captions mostly say "hard hats", of dogs "two".)
_ARTICLES = frozenset({"a", "an", "the", "some"})
# What tells which one is meant, or whose, but nothing of what it looks like.
_DETERMINERS = _ARTICLES | {"any", "my", "our", "your", "his", "her", "its", "their", "this", "that", "these", "those"}
NUMBERS = {
    "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    **{str(number): number for number in range(2, 11)},
}  # fmt: skip
# Other words for how many there are.
_AMOUNTS = frozenset({"several", "many", "few", "both", "dozen", "multiple", "numerous", "various", "some"})


class NounPhrases:
    """Finds the noun phrases of a question by how captions use its words."""

    def __init__(self, words: Mapping[str, WordUse], nouns: Collection[str] = ()):
        """words: how captions use them. nouns: words that are known to name things."""
        self.words = dict(words)
        self.nouns = frozenset(nouns)

    def __call__(self, question: str) -> list[str]:
        """The question's noun phrases in order, an article added where captions would have one.

        A word that no caption used is taken as part of a noun phrase: unknown words are mostly names of things.
        """
        runs: list[list[str]] = [[]]
        words = words_of(question)
        for word, before, after in zip(words, ["", *words], [*words[1:], ""]):
            use = self.words.get(word)
            inside = self._is_inside(word, before, after)
            if runs[-1] and (not inside or (use is not None and use.opens > 0.9)):
                runs.append([])  # a verb or preposition, or a word that only ever begins a phrase ("a", "two")
            if inside:
                runs[-1].append(word)
        return [" ".join(self._opened(run)) for run in runs if run and not self._only_opens(run)]

    def _is_inside(self, word: str, before: str, after: str) -> bool:
        """Whether a word between two others ("": none) is part of a noun phrase."""
        use = self.words.get(word)
        if use is None:
            return True
        if before in _ARTICLES and word not in FUNCTION_WORDS:
            return True  # "a painting", but "a woman painting a fence"
        if before and word.endswith("ing") and use.inside < _ING_INSIDE and not self._is_noun(after):
            return False
        return use.inside >= (_NAME_INSIDE if word in self.nouns else _INSIDE)

    def _is_noun(self, word: str) -> bool:
        return word != "" and word not in FUNCTION_WORDS and self._is_inside(word, "", "")

    def canonical(self, phrase: str) -> str:
        """A phrase that names one thing, as captions mostly name it: "cat", "the cat" and "cats" -> "a cat".

        Any other phrase as it is, and one that counts ("two cats").
        """
        words = words_of(phrase)
        if words != phrase.lower().split():  # "t-shirt" has other pieces than "tshirt"
            return phrase
        bare = words[1:] if words and words[0] in _DETERMINERS else words
        found = self(" ".join(bare))
        if not bare or len(found) != 1 or words_of(found[0])[-len(bare) :] != bare:
            return phrase
        if bare[0] in NUMBERS or bare[0] in _AMOUNTS or "of" in bare:  # "two cats", "a pair of shoes"
            return phrase
        head = singular(bare[-1], self.words.__contains__)
        return " ".join(self._opened([*bare[:-1], head or bare[-1]]))

    def _opened(self, run: list[str]) -> list[str]:
        use = self.words.get(run[0])
        return [use.opener, *run] if use is not None and use.opener in _ARTICLES and use.opens < _OPENS else run

    def _only_opens(self, run: list[str]) -> bool:
        """A lone "a" or "two" names nothing."""
        use = self.words.get(run[0])
        return len(run) == 1 and use is not None and use.opens > 0.9
