"""The phrase encoder: words -> the vector space of region embeddings, so that FAISS can propose regions for a phrase.

Our one addition to the paper. Word pieces rather than words: any English word has a vector, also one that no training
phrase contains. The pieces' vectors come from a sentence-embedding teacher (scripts/train/piece_vectors.py) and stay as
they are; what is trained reads them, so what it learns about "couch" holds for "sofa" too.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn

PAD_PIECE = "[PAD]"
UNKNOWN_PIECE = "[UNK]"
MAX_PIECES = 64


class WordPieces:
    """Text -> ids of word pieces (BERT's, uncased): greedy, longest piece first."""

    def __init__(self, pieces: Sequence[str]):
        """pieces: the vocabulary in id order; the first two are [PAD] and [UNK]."""
        self.pieces = tuple(pieces)
        if self.pieces[:2] != (PAD_PIECE, UNKNOWN_PIECE):
            raise ValueError("word pieces must begin with [PAD] and [UNK]")
        ids = {piece: number for number, piece in enumerate(self.pieces)}
        self._tokenizer = Tokenizer(models.WordPiece(ids, unk_token=UNKNOWN_PIECE))
        self._tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def __len__(self) -> int:
        return len(self.pieces)

    def __contains__(self, word: str) -> bool:
        """Whether a word is one whole piece."""
        ids = self._tokenizer.encode(word).ids
        return len(ids) == 1 and ids[0] > 1

    def encode(self, phrases: Sequence[str]) -> Tensor:
        """(Q, T) int64 ids, padded with 0; at least one piece a phrase, at most MAX_PIECES."""
        rows = [encoding.ids[:MAX_PIECES] or [1] for encoding in self._tokenizer.encode_batch(list(phrases))]
        ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
        return ids


class PhraseEncoder(nn.Module):
    """Piece vectors -> bidirectional GRU -> maximum and mean over pieces -> a unit vector."""

    pieces: Tensor  # (pieces, piece_size), not trained

    def __init__(self, pieces: int, piece_size: int, hidden: int, embedding: int):
        super().__init__()
        self.register_buffer("pieces", torch.zeros(pieces, piece_size))
        self.input = nn.Linear(piece_size, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output = nn.Linear(4 * hidden, embedding)
        # Straight past the GRU: a word whose neighbours are unusual still contributes its own meaning.
        self.bypass = nn.Linear(piece_size, embedding, bias=False)
        self.dropout = nn.Dropout(0.1)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (Q, T) int64, 0 = padding -> (Q, embedding) float32, unit length."""
        mask = ids > 0
        lengths = mask.sum(1)
        vectors = self.dropout(self.pieces.float()[ids])  # (Q, T, piece_size)
        packed = nn.utils.rnn.pack_padded_sequence(
            F.relu(self.input(vectors)).float(), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        with torch.autocast(ids.device.type, enabled=False):  # packed sequences have no bfloat16 kernel on CPUs
            hidden, _ = nn.utils.rnn.pad_packed_sequence(
                self.gru(packed)[0], batch_first=True, total_length=ids.shape[1]
            )
        high = hidden.masked_fill(~mask[..., None], -torch.inf).amax(1)
        mean = (hidden * mask[..., None]).sum(1) / lengths[:, None]
        mean_piece = (vectors * mask[..., None]).sum(1) / lengths[:, None]
        return F.normalize((self.output(torch.cat([high, mean], 1)) + self.bypass(mean_piece)).float(), dim=1)
