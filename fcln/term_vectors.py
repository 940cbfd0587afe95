"""`TermVectors`: things that are asked for so often that they have a vector of their own in the space of embeddings.

Our addition. The phrase encoder reads any phrase, but knows a thing only by what its words mean. Of the things that
many training photographs show, `fcln.training.term_vectors` fits what the encoder says to what these photographs hold.
Needs no torch.
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
    def of(cls, forms: tuple[tuple[str, ...], ...], vectors: np.ndarray | None) -> Self:
        """As a weights file keeps them, vectors of float16. Raises ValueError if they do not belong together."""
        count = 0 if vectors is None else len(vectors)
        if count != len(forms):
            raise ValueError(f"{len(forms)} terms, but {count} vectors of terms")
        if vectors is None:
            return cls()
        vectors = vectors.astype(np.float32)
        return cls(forms, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def put(self, phrases: Sequence[str], encoded: np.ndarray, *, share: float = 1.0) -> np.ndarray:
        """Vectors of Q phrases, (Q, embedding_size) float32: a thing's own where there is one, else the encoder's.

        encoded: (Q, embedding_size) float32, unit length, as the phrase encoder has them; left as it is. share: of the
        thing's own vector, beside the encoder's, in what becomes of both.
        """
        rows = [self._rows.get(_thing(phrase), -1) for phrase in phrases]
        if self.vectors is None or max(rows, default=-1) < 0:
            return encoded
        found = encoded.copy()
        for place, row in enumerate(rows):
            if row >= 0:
                mixed = share * self.vectors[row] + (1 - share) * encoded[place]
                found[place] = mixed / np.linalg.norm(mixed)
        return found

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The row of each form; of two terms with one form that of the first."""
        rows: dict[str, int] = {}
        for row, forms in enumerate(self.forms):
            for form in forms:
                rows.setdefault(_thing(form), row)
        return rows


def _thing(phrase: str) -> str:
    """A phrase without what stands before its thing: "the Giraffe" -> "giraffe"."""
    words = words_of(phrase)
    return " ".join(words[1:] if len(words) > 1 and words[0] in _DETERMINERS else words)
