"""The phrase encoder: words -> the vector space of region embeddings, so that FAISS can propose regions for a phrase.

Our one addition to the paper. It reads word pieces (`fcln.word_pieces`), whose vectors come from a sentence-embedding
teacher (scripts/train/piece_vectors.py) and stay as they are; what is trained reads them, so what it learns about
"couch" holds for "sofa" too. For inference without torch: `fcln.phrase_inference`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
