"""Words of the language model, and how text becomes words (paper 4, "Preprocessing")."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, START, END, UNK = 0, 1, 2, 3
SPECIAL = ("<PAD>", "<START>", "<END>", "<UNK>")

# Longer phrases are not scored: the longest that the network was trained on are captions of about 30 words.
MAX_PHRASE_WORDS = 50

# The released preprocess.py's replacements, in its order.
_REPLACE = {
    "½": "half",
    "—": "-",
    "™": "",
    "¢": "cent",
    "ç": "c",
    "û": "u",
    "é": "e",
    "è": "e",
    "°": " degree",
    "…": "",
}
_PUNCTUATION = re.compile(r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]")


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation: "A man's T-shirt!" -> ["a", "mans", "tshirt"]."""
    for old, new in _REPLACE.items():
        text = text.replace(old, new)
    return _PUNCTUATION.sub("", text.lower()).split()


def token_count(phrase: str) -> int:
    """Factors of a phrase's likelihood: its words and END."""
    return len(words_of(phrase)) + 1


class Vocabulary:
    """Word <-> id. The first four ids are PAD, START, END and UNK; words follow, most frequent first."""

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        self._names = SPECIAL + self.words
        self._ids = {word: number + len(SPECIAL) for number, word in enumerate(self.words)}

    @classmethod
    def from_phrases(cls, phrases: Iterable[str], *, min_count: int) -> "Vocabulary":
        """The words that occur at least min_count times; rarer ones are read as UNK (paper: 15)."""
        counts = Counter(word for phrase in phrases for word in words_of(phrase))
        return cls([word for word, count in sorted(counts.items(), key=lambda x: (-x[1], x[0])) if count >= min_count])

    def __len__(self) -> int:
        return len(self.words) + len(SPECIAL)

    def __contains__(self, word: str) -> bool:
        return word in self._ids

    def encode(self, phrase: str) -> list[int]:
        """Ids of a phrase's words, without START and END; words outside the vocabulary are UNK."""
        return [self._ids.get(word, UNK) for word in words_of(phrase)]

    def decode(self, ids: Iterable[int]) -> str:
        """The phrase of ids, PAD dropped."""
        names = self._names
        return " ".join([names[i] for i in ids if i != PAD])
