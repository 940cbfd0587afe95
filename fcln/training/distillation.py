"""What a sentence-embedding teacher thinks of phrases: vectors in HDF5, read while the phrase encoder is trained."""

import os
import random
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from fcln.errors import DatasetError
from fcln.vocabulary import words_of

# Of so many texts drawn, the one nearest to a text is taken as its neighbour: near enough, and quickly found.
_CANDIDATES = 4000


def plain(text: str) -> str:
    """The form in which texts are looked up: lower-case words without punctuation."""
    return " ".join(words_of(text))


class TeacherVectors:
    """Texts and their unit vectors, all in memory (about 100 MB for 120,000 texts)."""

    def __init__(self, path: Path):
        """Raises DatasetError if the file is not one of `write`."""
        try:
            with h5py.File(path) as file:
                self.texts = [text.decode() for text in file["texts"][()]]
                self._vectors = file["vectors"][()]
        except (OSError, KeyError) as error:
            raise DatasetError(f"{path} is not a file of scripts.train.teacher_vectors ({error}).") from error
        self._rows = {text: row for row, text in enumerate(self.texts)}
        self.size = self._vectors.shape[1]

    @staticmethod
    def write(path: Path, texts: Sequence[str], vectors: np.ndarray) -> None:
        """texts: N distinct ones, plain. vectors: (N, D) unit length, kept as float16."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with h5py.File(temporary, "w") as file:
            file["texts"] = [text.encode() for text in texts]
            file["vectors"] = vectors.astype(np.float16)
        os.replace(temporary, path)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32; of a text that the teacher was not asked about, zeros."""
        found = np.zeros((len(texts), self.size), np.float32)
        for number, text in enumerate(texts):
            row = self._rows.get(plain(text))
            if row is not None:
                found[number] = self._vectors[row]
        return found

    def draw(self, count: int, rng: random.Random) -> list[str]:
        """Some of the texts: half at random, and for each of them one that means nearly the same."""
        first = np.array([rng.randrange(len(self.texts)) for _ in range(count // 2)])
        others = np.array([rng.randrange(len(self.texts)) for _ in range(_CANDIDATES)])
        alike = self._vectors[first].astype(np.float32) @ self._vectors[others].astype(np.float32).T
        alike[first[:, None] == others] = -np.inf  # itself is no neighbour
        return [self.texts[row] for row in (*first, *others[alike.argmax(1)])]
