"""The language model (paper 3.4): an LSTM over a region code that writes a phrase or scores a given one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.vocabulary import END, PAD, START, UNK

# The first words of a vocabulary, which are the frequent ones.
_FREQUENT_WORDS = 256
# Regions whose logits are computed at a time; on a CPU they shall stay in its cache.
_REGIONS = {"cpu": 256, "cuda": 8192}
# How much lower than its floor a beginning may be before it is left. bfloat16's rounding can raise a likelihood with a
# word, by a few hundredths, and both differ in the last digits with the shape of the matrix product.
_MARGIN = {torch.float32: 1e-3, torch.bfloat16: 0.25}


class LanguageModel(nn.Module):
    """x_-1 = ReLU(W code), x_0 = START, x_1.. = words; the output at x_-1 is ignored, END closes a phrase."""

    def __init__(self, code: int, word: int, hidden: int, vocabulary: int):
        super().__init__()
        self.image = nn.Linear(code, word)
        self.words = nn.Embedding(vocabulary, word, padding_idx=PAD)
        self.lstm = nn.LSTM(word, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)
        with torch.no_grad():  # as the released code's LSTM: forgetting starts switched off
            self.lstm.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0
            self.lstm.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 0.0

    def forward(self, codes: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of each next word.

        codes: (N, code). tokens: (N, T) int64 word ids, PAD after the end; START and END are added here.
        Returns (N, T + 1): log p(w_t | w_<t, code) for t = 1..T and END where the phrase ends; 0 after it.
        """
        count = len(tokens)
        start = torch.full((count, 1), START, device=tokens.device)
        inputs = torch.cat([F.relu(self.image(codes))[:, None], self.words(torch.cat([start, tokens], 1))], dim=1)
        hidden, _ = self.lstm(inputs)
        targets = torch.cat([tokens, torch.full_like(start, PAD)], 1)
        lengths = (tokens != PAD).sum(1, keepdim=True)
        targets = targets.scatter(1, lengths, END)
        logits = self.output(hidden[:, 1:]).float()
        # Half of cross_entropy's time: it would move the words to the second axis first.
        chosen = logits.gather(2, targets[..., None]).squeeze(2) - logits.logsumexp(2)
        return chosen.masked_fill(targets == PAD, 0.0)

    @torch.no_grad()
    def log_likelihood(
        self,
        codes: Tensor,
        phrases: Sequence[Sequence[int]],
        *,
        dtype: torch.dtype = torch.float32,
        floors: Tensor | None = None,
    ) -> Tensor:
        """log P(phrase | region) = sum over t = 1..T+1 of log p(w_t | w_<t, region), END included (paper, retrieval).

        codes: (N, code) float32. phrases: word ids of Q phrases. dtype: of the two large matrix products; bfloat16
        takes a third of the time of float32 on a CPU that has it, and errs by hundredths. floors: (Q, N) float32, what
        a likelihood must reach to be of interest: one that does not may be -inf instead. Returns (Q, N) float32.

        What phrases begin with ("a man in ...") is computed once: the state after it is the same for all of them, and
        each goes on from a copy of its own (one that went on from the previous phrase's end would score every phrase
        after the first wrongly). The sum of `forward`, faster for many phrases. With floors, a region is left as soon
        as the words so far have cost too much, since every further word costs more.
        """
        if len(phrases) == 1 and dtype == torch.float32 and floors is None:  # nothing to share: one matrix product
            tokens = torch.tensor(phrases, dtype=torch.int64, device=codes.device)
            return self(codes, tokens.expand(len(codes), -1)).sum(1)[None]
        if floors is None:
            return _Scoring(self, phrases, codes, None, dtype).scores
        scores = torch.full((len(phrases), len(codes)), -torch.inf, device=codes.device)
        wanted = (floors < torch.inf).any(0)
        scores[:, wanted] = _Scoring(self, phrases, codes[wanted], floors[:, wanted] - _MARGIN[dtype], dtype).scores
        return scores

    @torch.no_grad()
    def generate(self, codes: Tensor, *, length: int) -> Tensor:
        """The greedy phrase of each code, UNK left out: (N, code) -> (N, length) int64 ids, PAD from the end on."""
        tokens = torch.full((len(codes), length), PAD, device=codes.device)
        _, (hidden, cell) = self.lstm(F.relu(self.image(codes))[:, None])
        word = torch.full((len(codes),), START, device=codes.device)
        rows = torch.arange(len(codes), device=codes.device)  # of the phrases that have not ended
        for step in range(length):
            found, (hidden, cell) = self.lstm(self.words(word)[:, None], (hidden, cell))
            logits = self.output(found[:, 0])
            logits[:, [PAD, START, UNK]] = -torch.inf  # the likeliest word that has a spelling
            word = logits.argmax(1)
            rows, word, hidden, cell = rows[open_ := word != END], word[open_], hidden[:, open_], cell[:, open_]
            if not len(rows):
                break
            tokens[rows, step] = word
        return tokens


@dataclass
class _Prefix:
    """What some phrases begin with, as a node of the tree of all beginnings."""

    word: int  # its last word; START's is the root's
    phrases: list[int] = field(default_factory=list)  # numbers of those that end here
    children: dict[int, "_Prefix"] = field(default_factory=dict)  # by next word
    # (1 + children, N): below these, no phrase that ends here, or that goes on with a child, is of interest
    floors: Tensor | None = None

    def set_floors(self, floors: Tensor) -> Tensor:
        """floors: (Q, N) of all phrases. Returns (N,): below these, no phrase that begins so is of interest."""
        ending = floors[self.phrases].amin(0) if self.phrases else floors.new_full(floors.shape[1:], torch.inf)
        self.floors = torch.stack([ending, *(child.set_floors(floors) for child in self.children.values())])
        return self.floors.amin(0)


def _prefix_tree(phrases: Sequence[Sequence[int]]) -> _Prefix:
    root = _Prefix(START)
    for number, phrase in enumerate(phrases):
        prefix = root
        for word in phrase:
            prefix = prefix.children.setdefault(word, _Prefix(word))
        prefix.phrases.append(number)
    return root


class _Scoring:
    """`scores`, (Q, N) float32, of N regions for Q phrases: LanguageModel.log_likelihood, but for its shortcuts."""

    def __init__(
        self,
        model: LanguageModel,
        phrases: Sequence[Sequence[int]],
        codes: Tensor,
        floors: Tensor | None,
        dtype: torch.dtype,
    ):
        self.scores = torch.full((len(phrases), len(codes)), -torch.inf, device=codes.device)
        self._output, self._dtype = model.output, dtype
        lstm = dict(model.lstm.named_parameters())
        self._recurrent, self._words, self._bias = (
            weight.to(dtype) for weight in (lstm["weight_hh_l0"], model.output.weight, model.output.bias)
        )
        entering = lstm["weight_ih_l0"], lstm["bias_ih_l0"] + lstm["bias_hh_l0"]
        words = sorted({START, *(word for phrase in phrases for word in phrase)})
        self._gates = dict(zip(words, F.linear(model.words(torch.tensor(words, device=codes.device)), *entering)))
        tree = _prefix_tree(phrases)
        if floors is not None:
            tree.set_floors(floors)
        zeros = codes.new_zeros(len(codes), model.lstm.hidden_size)
        hidden, cell = self._step(F.linear(F.relu(model.image(codes)), *entering), zeros, zeros)
        self._score(tree, torch.arange(len(codes), device=codes.device), hidden, cell, codes.new_zeros(len(codes)))

    def _score(self, prefix: _Prefix, regions: Tensor, hidden: Tensor, cell: Tensor, so_far: Tensor) -> None:
        """Score some regions, (R,), for all phrases that begin so. so_far: (R,), the likelihood of the prefix."""
        hidden, cell = self._step(self._gates[prefix.word], hidden, cell)
        next_words = torch.tensor([END, *prefix.children], device=regions.device)
        logits = F.linear(hidden, self._output.weight[next_words], self._output.bias[next_words])
        if prefix.floors is not None:
            # The frequent words are most of the denominator: without the others, all seem likelier than they are.
            bounds = (so_far - self._log_normalizer(hidden, _FREQUENT_WORDS))[:, None] + logits
            open_ = (bounds >= prefix.floors[:, regions].T).any(1)
            regions, hidden, cell, so_far, logits = _kept(open_, regions, hidden, cell, so_far, logits)
            if not len(regions):
                return
        ended, *values = (so_far - self._log_normalizer(hidden) + logits.T).unbind()
        for phrase in prefix.phrases:
            self.scores[phrase, regions] = ended
        for number, (child, value) in enumerate(zip(prefix.children.values(), values, strict=True), 1):
            if prefix.floors is None:
                self._score(child, regions, hidden, cell, value)
                continue
            open_ = value >= prefix.floors[number, regions]
            if open_.any():
                self._score(child, *_kept(open_, regions, hidden, cell, value))

    def _step(self, gates: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        enter, keep, new, leave = (F.linear(hidden.to(self._dtype), self._recurrent) + gates).chunk(4, 1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
        return leave.sigmoid() * cell.tanh(), cell

    def _log_normalizer(self, hidden: Tensor, words: int | None = None) -> Tensor:
        """log of the softmax's denominator, (R,); of its first words alone: a lower bound."""
        parts = hidden.to(self._dtype).split(_REGIONS[hidden.device.type])
        logits = (F.linear(part, self._words[:words], self._bias[:words]).float() for part in parts)
        return torch.cat([part.logsumexp(1) for part in logits])


def _kept(kept: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """These rows of each tensor. kept: (R,) bool."""
    (numbers,) = kept.nonzero(as_tuple=True)
    return rows if len(numbers) == len(kept) else tuple(tensor[numbers] for tensor in rows)
