"""Which word that the network has learnt stands for one that it has not: "automobile" -> "car".

Word pieces give every word a vector, but what the pieces of a rare word say of it is often chance. A dictionary says
it surely: a list of English words and what means nearly the same (WordNet's synonyms and broader words), made once by
scripts/data/synonyms.py. Of 372 phrases of the validation photographs with a word that no training photograph taught
but that has such a synonym, 27 % find their photograph among the first ten of 1,000 by the synonym, 20 % by the pieces.
"""

import gzip
import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

# Lines of a word and its synonyms, each with its distance in tenths: "settee bench 37 sofa 39"; in the order of words.
SYNONYMS_FILE = Path(__file__).with_name("synonyms.txt.gz")

# The network knows a frequent word better than a rare one: a word seven times as frequent may be one broader.
_RARITY = 0.7
# Words farther away (distance, and _RARITY times the logarithm of the place in the order of frequency) say less of a
# word than its own vector does. A word that is a piece by itself has a good one: only a true synonym says more.
# (Chosen on 600 phrases of the validation photographs that have such words.)
_FARTHEST = 8.5
_FARTHEST_OF_PIECES = 7.0
# The twenty most frequent words are equally well known.
_WELL_KNOWN = 20


class Synonyms:
    """What may stand for other words."""

    def __init__(self, words: Sequence[str], path: Path = SYNONYMS_FILE):
        """words: those that the network has learnt, lower-case, the most frequent first."""
        self._places = {word: place for place, word in enumerate(words)}
        self._path = path

    @cached_property
    def _lines(self) -> list[str]:
        # 20 ms, which only a word that the network has not learnt costs.
        return gzip.decompress(self._path.read_bytes()).decode("ascii").split("\n")

    def nearest(self, word: str, *, is_piece: bool = False) -> str | None:
        """The learnt word that stands for another one; None for a learnt word, and if no learnt word is near enough.

        is_piece: the word is a whole word piece.
        """
        if word in self._places or not word.isascii() or not word.isalpha():
            return None
        place = bisect_left(self._lines, f"{word} ")
        if place == len(self._lines) or not self._lines[place].startswith(f"{word} "):
            return None
        _, *fields = self._lines[place].split(" ")
        near = [
            (int(tenths) / 10 + _RARITY * math.log(self._places[other] + _WELL_KNOWN), other)
            for other, tenths in zip(fields[::2], fields[1::2])
            if other in self._places
        ]
        distance, nearest = min(near, default=(math.inf, ""))
        return nearest if distance <= (_FARTHEST_OF_PIECES if is_piece else _FARTHEST) else None
