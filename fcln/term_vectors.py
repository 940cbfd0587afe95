"""`TermVectors`: things of training photographs, each with a vector of its own in the space of embeddings.

Our addition. The phrase encoder reads any phrase, but knows a thing only by what its words mean. Of the things that at
least three training photographs show, `fcln.training.term_vectors` fits what the encoder says to what these photographs
hold. Needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from fcln.vocabulary import words_of

# What stands before a thing and does not change what is asked for.
_DETERMINERS = frozenset({"a", "an", "the", "some"})


@dataclass(frozen=True)
class TermVectors:
    """T things, each with the phrases that ask for it and nothing else, and a vector."""

    forms: tuple[tuple[str, ...], ...] = ()  # T: "a giraffe", "giraffes"
    vectors: np.ndarray | None = None  # (T, embedding_size) float32, unit length; None: there are none

    @classmethod
    def of(cls, forms: tuple[tuple[str, ...], ...], vectors: np.ndarray | None, embedding_size: int) -> Self:
        """As a weights file keeps them, vectors of float16. Raises ValueError if they do not belong together."""
        shape = (0, embedding_size) if vectors is None else vectors.shape
        if shape != (len(forms), embedding_size):
            raise ValueError(f"{len(forms)} terms, but vectors of terms of the shape {shape}")
        if vectors is None:
            return cls()
        vectors = vectors.astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise ValueError("vectors of terms that point nowhere")
        return cls(forms, vectors / lengths)

    def put_into(self, encoded: np.ndarray, phrases: Sequence[str], *, share: float = 1.0) -> np.ndarray:
        """Vectors of Q phrases, (Q, embedding_size) float32: a thing's own where there is one, else the encoder's.

        encoded: (Q, embedding_size) float32, unit length, as the phrase encoder has them; left as it is. share: of the
        thing's own vector, beside the encoder's, in what becomes of both.
        """
        rows = {place: row for place, phrase in enumerate(phrases) if (row := self._row_of(phrase)) is not None}
        if self.vectors is None or not rows:
            return encoded
        found = encoded.copy()
        for place, row in rows.items():
            mixed = share * self.vectors[row] + (1 - share) * encoded[place]
            found[place] = mixed / np.linalg.norm(mixed)
        return found

    def _row_of(self, phrase: str) -> int | None:
        return next((self._rows[way] for way in _ways_to_write(phrase) if way in self._rows), None)

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each form; of two terms with one form that of the first."""
        rows: dict[str, int] = {}
        for row, forms in enumerate(self.forms):
            for form in forms:
                for way in _ways_to_write(form):
                    rows.setdefault(way, row)
        return rows


def _ways_to_write(phrase: str) -> list[str]:
    """The words of a phrase without what stands before its thing, and where a hyphen parts words, these.

    "the Ping-pong ball" -> "pingpong ball", "ping pong ball". Search writes "children 's chair".
    """
    phrase = phrase.replace(" 's", "'s")
    return [_thing(way) for way in dict.fromkeys([phrase, phrase.replace("-", " ")])]


def _thing(phrase: str) -> str:
    words = words_of(phrase)
    return " ".join(words[1:] if len(words) > 1 and words[0] in _DETERMINERS else words)
