"""The language model (paper 3.4): an LSTM over a region code that writes a phrase or scores a given one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.vocabulary import END, PAD, START, UNK

# The first words of a vocabulary, which are the frequent ones.
_FREQUENT = 256
# Regions whose logits are computed at a time; on a CPU they shall stay in its cache.
_LOGITS = {"cpu": 256, "cuda": 8192}


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
        takes a third of the time of float32 on a CPU that has it, and errs by hundredths. Returns (Q, N) float32.

        floors: (Q, N) float32, what a likelihood must reach to be of interest; one that does not may be -inf instead.
        Every word lowers a likelihood, so a region is left as soon as the words so far have cost too much.

        What phrases begin with ("a man in ...") is computed once: the state after it is the same for all of them, and
        each goes on from a copy of its own (a fork that went on from the previous phrase's end scored every phrase
        after the first wrongly; reference densecap 7.6). The sum of `forward`, faster for many phrases.
        """
        if len(phrases) == 1 and dtype == torch.float32 and floors is None:  # nothing to share: one matrix product
            tokens = torch.tensor(phrases, dtype=torch.int64, device=codes.device)
            return self(codes, tokens.expand(len(codes), -1)).sum(1)[None]
        scores = torch.full((len(phrases), len(codes)), -torch.inf, device=codes.device)
        if not phrases:
            return scores
        weights = dict(self.lstm.named_parameters())
        recurrent, output, bias = (
            weight.to(dtype) for weight in (weights["weight_hh_l0"], self.output.weight, self.output.bias)
        )
        bias_in = weights["bias_ih_l0"] + weights["bias_hh_l0"]
        words = sorted({START, *(word for phrase in phrases for word in phrase)})
        rows = self.words(torch.tensor(words, device=codes.device))
        gates_of = dict(zip(words, F.linear(rows, weights["weight_ih_l0"], bias_in)))

        def step(gates: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            hidden, cell = state
            enter, keep, new, leave = (F.linear(hidden.to(dtype), recurrent) + gates).chunk(4, 1)
            cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
            return leave.sigmoid() * cell.tanh(), cell

        def log_sum(hidden: Tensor, words: int | None = None) -> Tensor:
            """log of the softmax's denominator; of its first words alone, less than that."""
            parts = hidden.to(dtype).split(_LOGITS[hidden.device.type])
            return torch.cat([F.linear(part, output[:words], bias[:words]).float().logsumexp(1) for part in parts])

        def score(beginning: _Beginning, regions: Tensor, state: Sequence[Tensor], so_far: Tensor) -> None:
            if floors is not None:
                regions, *state, so_far = _kept(so_far >= beginning.floor[regions], regions, *state, so_far)
            if not len(regions):
                return
            state = step(gates_of[beginning.word], state)
            next_words = torch.tensor([END, *beginning.longer], device=codes.device)
            chosen = F.linear(state[0], self.output.weight[next_words], self.output.bias[next_words])
            if floors is not None:
                # The frequent words are most of the denominator: without the others, all seem likelier than they are.
                most = (so_far - log_sum(state[0], _FREQUENT))[:, None] + chosen
                open_ = (most >= beginning.floors_of_next[:, regions].T).any(1)
                regions, *state, so_far, chosen = _kept(open_, regions, *state, so_far, chosen)
                if not len(regions):
                    return
            ended, *gone_on = (so_far - log_sum(state[0]) + chosen.T).unbind()
            for phrase in beginning.phrases:
                scores[phrase, regions] = ended
            for longer, value in zip(beginning.longer.values(), gone_on, strict=True):
                score(longer, regions, state, value)

        zeros = codes.new_zeros(len(codes), self.lstm.hidden_size)
        image = F.linear(F.relu(self.image(codes)), weights["weight_ih_l0"], bias_in)
        root = _beginnings(phrases)
        if floors is not None:
            root.set_floors(floors)
        everything = torch.arange(len(codes), device=codes.device)
        score(root, everything, step(image, (zeros, zeros)), codes.new_zeros(len(codes)))
        return scores

    @torch.no_grad()
    def generate(self, codes: Tensor, *, length: int) -> Tensor:
        """The greedy phrase of each code, UNK left out: (N, code) -> (N, length) int64 ids, PAD from the end on."""
        tokens = torch.full((len(codes), length), PAD, device=codes.device)
        _, state = self.lstm(F.relu(self.image(codes))[:, None])
        word = torch.full((len(codes),), START, device=codes.device)
        open_ = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        for step in range(length):
            hidden, state = self.lstm(self.words(word)[:, None], state)
            logits = self.output(hidden[:, 0])
            logits[:, [PAD, START, UNK]] = -torch.inf  # the likeliest word that has a spelling
            word = logits.argmax(1)
            open_ = open_ & (word != END)
            if not open_.any():
                break
            tokens[:, step] = torch.where(open_, word, PAD)
        return tokens


@dataclass
class _Beginning:
    """What some phrases begin with, as a node of the tree of all beginnings."""

    word: int  # its last word; START's is the root's
    phrases: list[int] = field(default_factory=list)  # numbers of those that end here
    longer: dict[int, "_Beginning"] = field(default_factory=dict)  # by next word
    # (1 + number of `longer`, N): below these, no phrase that ends here, or that goes on so, is of interest
    floors_of_next: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    floor: Tensor = field(default_factory=lambda: torch.empty(0))  # (N,): no phrase that begins so

    def set_floors(self, floors: Tensor) -> Tensor:
        """floors: (Q, N) of all phrases. Returns this beginning's."""
        ending = floors[self.phrases].amin(0) if self.phrases else floors.new_full(floors.shape[1:], torch.inf)
        self.floors_of_next = torch.stack([ending, *(longer.set_floors(floors) for longer in self.longer.values())])
        self.floor = self.floors_of_next.amin(0)
        return self.floor


def _beginnings(phrases: Sequence[Sequence[int]]) -> _Beginning:
    root = _Beginning(START)
    for number, phrase in enumerate(phrases):
        beginning = root
        for word in phrase:
            beginning = beginning.longer.setdefault(word, _Beginning(word))
        beginning.phrases.append(number)
    return root


def _kept(kept: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """These rows of each tensor. kept: (N,) bool."""
    (numbers,) = kept.nonzero(as_tuple=True)
    return rows if len(numbers) == len(kept) else tuple(tensor[numbers] for tensor in rows)
