"""Text as ids of word pieces: what the phrase encoder reads. Needs no torch.

Word pieces rather than words: any English word has a vector, also one that no training phrase contains.
"""

from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

PAD_PIECE = "[PAD]"
UNKNOWN_PIECE = "[UNK]"
MAX_PIECES = 64
# So few phrases are encoded one by one: threads that wait for more burn 0.5 ms of the processor with each question.
_FEW = 16


class WordPieces:
    """Text -> ids of word pieces (BERT's, uncased): greedy, longest piece first."""

    def __init__(self, pieces: Sequence[str]):
        """pieces: the vocabulary in id order; the first two are [PAD] and [UNK]."""
        self.pieces = tuple(pieces)
        if self.pieces[:2] != (PAD_PIECE, UNKNOWN_PIECE):
            raise ValueError("word pieces must begin with [PAD] and [UNK]")
        ids = {piece: index for index, piece in enumerate(self.pieces)}
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN_PIECE))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def __len__(self) -> int:
        return len(self.pieces)

    def __contains__(self, word: str) -> bool:
        """Whether a word is one whole piece."""
        ids = self._tokenizer.encode(word).ids
        return len(ids) == 1 and ids[0] > 1

    def encode(self, phrases: Sequence[str]) -> np.ndarray:
        """(Q, T) int64 ids, padded with 0; at least one piece a phrase, at most MAX_PIECES."""
        few = len(phrases) <= _FEW
        found = map(self._tokenizer.encode, phrases) if few else self._tokenizer.encode_batch(list(phrases))
        rows = [encoding.ids[:MAX_PIECES] or [1] for encoding in found]
        ids = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
        for row, pieces in zip(ids, rows):
            row[: len(pieces)] = pieces
        return ids
