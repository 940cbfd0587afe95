"""`PhraseModel`: the phrase side of a network, read from its weights file: what a question needs, without torch."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fcln.errors import CheckpointError
from fcln.phrase_inference import PhraseInference
from fcln.term_vectors import TermVectors
from fcln.weights_file import (
    DEFAULT_WEIGHTS,
    PHRASE_SIDE,
    checkpoint_digest,
    read_tensors,
    read_texts,
    read_words,
    unfit,
)

if TYPE_CHECKING:
    from fcln.predictor import Predictor


class PhraseModel:
    """Encodes phrases in numpy; `log_likelihood` alone loads torch. Safe to share between threads."""

    def __init__(self, path: Path, *, device: str):
        """Use `load`."""
        self.digest = checkpoint_digest(path)
        texts = read_texts(path)
        tensors = read_tensors(path, texts, prefix=PHRASE_SIDE)
        words = read_words(path, texts)
        try:
            self._encoder = PhraseInference(tensors)
            if self._encoder.pieces != len(words.pieces):
                raise ValueError(f"{len(words.pieces)} word pieces, but {self._encoder.pieces} vectors")
            self._terms = TermVectors.of(words.terms, tensors.get("terms"), self._encoder.embedding_size)
        except (KeyError, ValueError) as error:
            raise unfit(path, error) from error
        self.embedding_size = self._encoder.embedding_size
        self.vocabulary = words.vocabulary
        self.pieces = words.pieces
        self.word_uses = words.word_uses
        self.scoring = words.scoring
        self.names = words.names
        self._path = path
        self._device = device

    @classmethod
    def load(cls, path: Path | None = None, *, device: str = "auto") -> "PhraseModel":
        """The phrase side of a weights file; None: the embedded default.

        device: where the language model runs once it is asked: "auto", "cpu" or "cuda".

        Raises CheckpointError, one sentence, if the file is missing, damaged or of another version; DeviceError if
        "cuda" is asked for and there is none.
        """
        model = cls(path or DEFAULT_WEIGHTS, device=device)
        if device == "cuda":
            model._predictor  # noqa: B018  # only torch can tell whether there is one
        return model

    def encode_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        """`Predictor.encode_phrases`: (Q, embedding_size) float32, unit length."""
        if not phrases:
            return np.zeros((0, self.embedding_size), np.float32)
        return self._terms.put_into(self._encoder(self.pieces.encode(phrases)), phrases)

    def log_likelihood(self, phrases: Sequence[str], codes: np.ndarray) -> np.ndarray:
        """`Predictor.log_likelihood`: (Q, N) float32, natural logarithms. The first call takes seconds.

        Raises DeviceError as `Predictor.load` does, CheckpointError if another file has taken the weights' place.
        """
        return self._predictor.log_likelihood(phrases, codes)

    def word_log_likelihoods(self, phrase: str, code: np.ndarray) -> np.ndarray:
        """`Predictor.word_log_likelihoods`: (T + 1,) float32, natural logarithms. Errors as of `log_likelihood`."""
        return self._predictor.word_log_likelihoods(phrase, code)

    @cached_property
    def _predictor(self) -> "Predictor":
        from fcln.predictor import Predictor

        predictor = Predictor.load(self._path, device=self._device, describes=False)
        if predictor.digest != self.digest:
            raise CheckpointError(f"The weights file {self._path} was replaced meanwhile: run the command again.")
        return predictor
