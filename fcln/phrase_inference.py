"""The phrase encoder's forward pass in numpy, for inference: a question is encoded without importing torch.

The same arithmetic as `fcln.modeling.phrase_encoder.PhraseEncoder` in float32, from the same tensors of the weights
file: a test compares the two. A phrase takes well under a millisecond, importing torch two seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class _Gru:
    """One direction of a GRU layer: columns of the reset, update and new gates, H each.

    The matrices are torch's, transposed: OpenBLAS multiplies a few rows by 256 x 768 in 17 us, by the transpose of
    768 x 256 in 126.
    """

    weight_ih: np.ndarray  # (I, 3 H) float32
    weight_hh: np.ndarray  # (H, 3 H) float32
    bias_ih: np.ndarray  # (3 H,) float32
    bias_hh: np.ndarray  # (3 H,) float32

    def run(self, inputs: np.ndarray, mask: np.ndarray, *, reverse: bool) -> np.ndarray:
        """inputs (Q, T, I) float32, mask (Q, T) bool -> hidden states (Q, T, H) float32.

        Where the mask is False a phrase's state stays as it was, which is 0 before its first piece: so the reverse
        direction begins at the last piece of each phrase, whatever padding follows.
        """
        count, length, wide = inputs.shape
        size = len(self.weight_hh)
        # As one matrix: of three axes NumPy multiplies phrase by phrase.
        gates = (inputs.reshape(-1, wide) @ self.weight_ih + self.bias_ih).reshape(count, length, -1)
        hidden = np.zeros((count, size), np.float32)
        states = np.empty((count, length, size), np.float32)
        for t in range(length - 1, -1, -1) if reverse else range(length):
            before = hidden @ self.weight_hh + self.bias_hh
            opened = _sigmoid(gates[:, t, : 2 * size] + before[:, : 2 * size])
            reset, update = opened[:, :size], opened[:, size:]
            new = np.tanh(gates[:, t, 2 * size :] + reset * before[:, 2 * size :])
            hidden = np.where(mask[:, t, None], (1 - update) * new + update * hidden, hidden)
            states[:, t] = hidden
        return states


class PhraseInference:
    """Piece ids -> unit vectors in the space of region embeddings."""

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        """tensors: the phrase encoder's part of a state dict, names without prefix; further ones are ignored.

        Raises KeyError for a missing tensor, ValueError for shapes that do not fit together.
        """
        _check_shapes(tensors)
        self._pieces = tensors["pieces"]  # as the file has it: only the rows that a phrase needs become float32
        self._input_weight, self._input_bias = _columns(tensors, "input.weight"), _float32(tensors, "input.bias")
        self._forward, self._backward = (
            _Gru(
                *(_columns(tensors, f"gru.{name}_l0{end}") for name in ("weight_ih", "weight_hh")),
                *(_float32(tensors, f"gru.{name}_l0{end}") for name in ("bias_ih", "bias_hh")),
            )
            for end in ("", "_reverse")
        )
        self._output_weight, self._output_bias = _columns(tensors, "output.weight"), _float32(tensors, "output.bias")
        self._bypass_weight = _columns(tensors, "bypass.weight")

    @property
    def pieces(self) -> int:
        """How many word pieces have a vector."""
        return len(self._pieces)

    @property
    def embedding_size(self) -> int:
        return len(self._output_bias)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """ids (Q, T) int64, 0 = padding -> (Q, embedding_size) float32, unit length."""
        mask = ids > 0
        vectors = self._pieces[ids].astype(np.float32)  # (Q, T, piece_size)
        inputs = np.maximum(vectors @ self._input_weight + self._input_bias, 0)
        hidden = np.concatenate(
            [self._forward.run(inputs, mask, reverse=False), self._backward.run(inputs, mask, reverse=True)], axis=2
        )
        lengths = mask.sum(axis=1, dtype=np.float32)[:, None]
        highest = np.where(mask[..., None], hidden, -np.inf).max(axis=1)
        mean = np.where(mask[..., None], hidden, 0).sum(axis=1) / lengths
        mean_piece = np.where(mask[..., None], vectors, 0).sum(axis=1) / lengths
        found = np.concatenate([highest, mean], axis=1) @ self._output_weight + self._output_bias
        found += mean_piece @ self._bypass_weight
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def _check_shapes(tensors: Mapping[str, np.ndarray]) -> None:
    (_, piece_size), (embedding,), (hidden,) = (tensors[name].shape for name in ("pieces", "output.bias", "input.bias"))
    expected: dict[str, tuple[int, ...]] = {
        "input.weight": (hidden, piece_size),
        "output.weight": (embedding, 4 * hidden),
        "bypass.weight": (embedding, piece_size),
    }
    for end in ("", "_reverse"):
        expected |= {
            f"gru.weight_ih_l0{end}": (3 * hidden, hidden),
            f"gru.weight_hh_l0{end}": (3 * hidden, hidden),
            f"gru.bias_ih_l0{end}": (3 * hidden,),
            f"gru.bias_hh_l0{end}": (3 * hidden,),
        }
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ValueError(f"{name} is {tensors[name].shape}, not {shape}")


def _float32(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return tensors[name].astype(np.float32)


def _columns(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A matrix of torch, (out, in), to multiply rows by: (in, out)."""
    return np.ascontiguousarray(_float32(tensors, name).T)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (np.tanh(0.5 * x) + 1)  # 1 / (1 + exp(-x)) overflows
