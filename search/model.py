"""What a search needs of a network: `fcln.phrase_model.PhraseModel` has it, and so has `fcln.predictor.Predictor`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from db.errors import CheckpointMismatch
from db.location import option
from search.wording.lexicon import KnowsWords

if TYPE_CHECKING:
    from db.collection import Collection
    from fcln.scoring import Scoring


class Model(KnowsWords, Protocol):
    """The phrase side of a network."""

    digest: str
    scoring: "Scoring"

    def encode_phrases(self, phrases: Sequence[str]) -> np.ndarray:
        """Phrases in the space of region embeddings: (Q, E) float32, unit length."""

    def log_likelihood(self, phrases: Sequence[str], codes: np.ndarray) -> np.ndarray:
        """log P(phrase | region) of codes (N, code_size): (Q, N) float32, natural logarithms."""

    def word_log_likelihoods(self, phrase: str, code: np.ndarray) -> np.ndarray:
        """log p of each word of a phrase, END last, for a region's code (code_size,): (T + 1,) float32."""


def require_same_checkpoint(collection: "Collection", model: Model) -> None:
    """Raises CheckpointMismatch if another checkpoint described the collection."""
    if collection.model.digest != model.digest:
        raise CheckpointMismatch(
            f"The collection {collection.location} was described by the checkpoint {collection.model.digest[:12]}, "
            f"this one is {model.digest[:12]}: name the weights that it was built with (--weights), or have these "
            f"describe it again by `indexer build --redescribe{option(collection.location)}`."
        )
