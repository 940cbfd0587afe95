"""`Predictor.log_likelihood` for `exact_ranking.py`: no further than it takes to know which scores reach a floor.

Every further word costs a phrase likelihood, so a region is left as soon as the words so far have cost it too much.
Other than that it is the walk of `LanguageModel.log_likelihood`, in bfloat16 if wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fcln.modeling.language_model import LanguageModel, lstm_state
from fcln.modeling.prefix_tree import Prefix, prefix_tree
from fcln.precision import has_bfloat16
from fcln.predictor import Predictor

# Regions that are walked together: few of them stay to the end of a phrase.
_CHUNK = 16384
# Regions whose logits are computed at a time; on a CPU they shall stay in its cache.
_REGIONS = {"cpu": 256, "cuda": 8192}
# The first words of a vocabulary, which are the frequent ones.
_FREQUENT_WORDS = 256
# How much lower than its floor a beginning may be before it is left. bfloat16's rounding can raise a likelihood with a
# word, by a few hundredths, and both differ in the last digits with the shape of the matrix product.
_MARGIN = {torch.float32: 1e-3, torch.bfloat16: 0.25}


@torch.inference_mode()
def pruned_log_likelihood(
    predictor: Predictor, phrases: Sequence[str], codes: np.ndarray, floors: np.ndarray, *, bfloat16: bool
) -> np.ndarray:
    """log P(phrase | region) as `Predictor.log_likelihood`, known where it reaches its floor.

    codes: (N, code_size) float16 or float32. floors: (Q, N) float32, what a likelihood must reach to be of interest.
    bfloat16: a third of the time on a CPU that has it, for differences of some hundredths. Returns (Q, N) float32,
    natural logarithms; one that does not reach its floor may be -inf instead.

    Raises ValueError as `Predictor.tokens`.
    """
    tokens = [predictor.tokens(phrase) for phrase in phrases]
    device = predictor.device
    dtype = torch.bfloat16 if bfloat16 and has_bfloat16(device.type) else torch.float32
    scores = np.empty((len(phrases), len(codes)), np.float32)
    for start in range(0, len(codes) if phrases else 0, _CHUNK):
        rows = slice(start, start + _CHUNK)
        chunk = torch.from_numpy(codes[rows].astype(np.float32)).to(device)
        least = torch.from_numpy(floors[:, rows]).to(device)
        scores[:, rows] = pruned_scores(predictor.language, chunk, tokens, least, dtype=dtype).cpu().numpy()
    return scores


@torch.no_grad()
def pruned_scores(
    language: LanguageModel,
    codes: Tensor,
    phrases: Sequence[Sequence[int]],
    floors: Tensor,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """`LanguageModel.log_likelihood`, known where it reaches its floor.

    codes: (N, code) float32. phrases: word ids of Q phrases. floors: (Q, N) float32. dtype: of the two large matrix
    products, float32 or bfloat16. Returns (Q, N) float32; one that does not reach its floor may be -inf instead.
    """
    scores = torch.full((len(phrases), len(codes)), -torch.inf, device=codes.device)
    wanted = (floors < torch.inf).any(0)
    scores[:, wanted] = _Walk(language, phrases, dtype).scores(codes[wanted], floors[:, wanted] - _MARGIN[dtype])
    return scores


@dataclass
class _Floored:
    """A node of the tree of what phrases begin with, and below what none of them is of interest."""

    prefix: Prefix
    floors: Tensor  # (1 + children, N): of the phrases that end here, and of those that go on with each child
    children: list["_Floored"]


def _with_floors(prefix: Prefix, floors: Tensor) -> _Floored:
    """floors: (Q, N) of all phrases."""
    children = [_with_floors(child, floors) for child in prefix.children.values()]
    ending = floors[prefix.phrases].amin(0) if prefix.phrases else floors.new_full(floors.shape[1:], torch.inf)
    return _Floored(prefix, torch.stack([ending, *(child.floors.amin(0) for child in children)]), children)


class _Walk:
    """From START along the words of Q phrases, with fewer and fewer regions."""

    def __init__(self, language: LanguageModel, phrases: Sequence[Sequence[int]], dtype: torch.dtype):
        self._language, self._phrases, self._dtype = language, phrases, dtype
        self._recurrent = language.lstm.get_parameter("weight_hh_l0").to(dtype)
        self._words, self._bias = language.output.weight.to(dtype), language.output.bias.to(dtype)
        self._word_gates = language.word_gates(phrases)

    def scores(self, codes: Tensor, floors: Tensor) -> Tensor:
        """codes: (N, code) float32. floors: (Q, N) float32. Returns (Q, N) float32, -inf for what was left."""
        scores = torch.full((len(self._phrases), len(codes)), -torch.inf, device=codes.device)
        zeros = codes.new_zeros(len(codes), self._language.lstm.hidden_size)
        hidden, cell = self._step(self._language.code_gates(codes), zeros, zeros)
        regions = torch.arange(len(codes), device=codes.device)
        tree = _with_floors(prefix_tree(self._phrases), floors)
        self._score(scores, tree, regions, hidden, cell, codes.new_zeros(len(codes)))
        return scores

    def _score(
        self, scores: Tensor, node: _Floored, regions: Tensor, hidden: Tensor, cell: Tensor, so_far: Tensor
    ) -> None:
        """Write the scores of some regions for all phrases that begin so.

        regions: (R,) int64. hidden, cell: (R, hidden), before the beginning's last word. so_far: (R,), its likelihood.
        """
        hidden, cell = self._step(self._word_gates[node.prefix.word], hidden, cell)
        logits = self._language.next_logits(node.prefix, hidden)
        # The frequent words are most of the denominator: without the others, all seem likelier than they are.
        bounds = (so_far - self._log_normalizer(hidden, _FREQUENT_WORDS))[:, None] + logits
        open_ = (bounds >= node.floors[:, regions].T).any(1)
        regions, hidden, cell, so_far, logits = _kept(open_, regions, hidden, cell, so_far, logits)
        if not len(regions):
            return
        ended, *values = (so_far - self._log_normalizer(hidden) + logits.T).unbind()
        for phrase in node.prefix.phrases:
            scores[phrase, regions] = ended
        for child, floors, value in zip(node.children, node.floors[1:], values, strict=True):
            open_ = value >= floors[regions]
            if open_.any():
                self._score(scores, child, *_kept(open_, regions, hidden, cell, value))

    def _step(self, gates: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        return lstm_state(F.linear(hidden.to(self._dtype), self._recurrent) + gates, cell)

    def _log_normalizer(self, hidden: Tensor, words: int | None = None) -> Tensor:
        """log of the softmax's denominator, (R,); of its first words alone: a lower bound."""
        parts = hidden.to(self._dtype).split(_REGIONS[hidden.device.type])
        logits = (F.linear(part, self._words[:words], self._bias[:words]).float() for part in parts)
        return torch.cat([part.logsumexp(1) for part in logits])


def _kept(kept: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """These rows of each tensor. kept: (R,) bool."""
    (indices,) = kept.nonzero(as_tuple=True)
    return rows if len(indices) == len(kept) else tuple(tensor[indices] for tensor in rows)
