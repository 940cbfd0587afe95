"""Words for people that say no more than the network can tell: "a person" where man and woman are both likely."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Groups of words that take each other's place, and the word for any of them.
_MEN = {"man": "person", "men": "people", "guy": "person", "male": "person", "boy": "child", "boys": "children"}
_WOMEN = {"woman": "person", "women": "people", "lady": "person", "female": "person", "girl": "child",
          "girls": "children"}  # fmt: skip
_NEUTRAL = _MEN | _WOMEN
# That say less still: of whom it is not even clear whether they are children.
_ANYBODY = {word: {"child": "person", "children": "people"}.get(other, other) for word, other in _NEUTRAL.items()}
_ANYBODY |= {"child": "person", "children": "people"}
_OF_CHILDREN = frozenset({"little", "small", "young"})
# A word for a man or a woman is written only if the network gives the words of its group this share of both groups'
# probability. On the labelled people of val 18 % of such words were wrong without it; with it 13 % of those that are
# left, two thirds of them (docs/experiments.md).
SURE = 0.9


def neutral_phrases(phrase: str) -> list[str]:
    """The same with words that say less of people, other than itself.

    "a man in a hat" -> "a person in a hat"; "a boy" -> "a child", "a person"; "a little girl" -> "a little child".
    """
    words = phrase.split()
    found = [" ".join(_NEUTRAL.get(word, word) for word in words)]
    if not _OF_CHILDREN & set(words):
        found.append(" ".join(_ANYBODY.get(word, word) for word in words))
    return [other for other in dict.fromkeys(found) if other != phrase]


@dataclass(frozen=True)
class NeutralWords:
    """The groups in a vocabulary's ids."""

    men: Tensor  # (M,) int64
    women: Tensor  # (W,) int64
    neutral: Tensor  # (vocabulary,) int64: the word that says less, or the word itself

    @classmethod
    def of(cls, words: Sequence[str], *, size: int, first: int) -> "NeutralWords":
        """words: those of a vocabulary of `size` ids, the first of which has the id `first`."""
        ids = {word: number for number, word in enumerate(words, first)}
        neutral = torch.arange(size)
        for word, other in _NEUTRAL.items():
            if word in ids and other in ids:
                neutral[ids[word]] = ids[other]
        men, women = (
            torch.tensor([ids[word] for word in group if word in ids], dtype=torch.int64) for group in (_MEN, _WOMEN)
        )
        return cls(men, women, neutral)

    def to(self, device: torch.device) -> "NeutralWords":
        return NeutralWords(self.men.to(device), self.women.to(device), self.neutral.to(device))

    def choose(self, words: Tensor, logits: Tensor) -> Tensor:
        """The words to write: words (N,) int64, the likeliest of logits (N, vocabulary) -> (N,) int64."""
        if not len(self.men) or not len(self.women):
            return words
        men, women = (logits[:, group].logsumexp(1) for group in (self.men, self.women))
        of_men, of_women = ((words[:, None] == group).any(1) for group in (self.men, self.women))
        share = torch.sigmoid(men - women)  # of the men's words
        unsure = (of_men & (share < SURE)) | (of_women & (share > 1 - SURE))
        return torch.where(unsure, self.neutral[words], words)
