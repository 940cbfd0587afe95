"""The language model (paper 3.4): an LSTM over a region code that writes a phrase or scores a given one."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.int8_linear import Int8Linear
from fcln.modeling.neutral_words import NeutralWords
from fcln.modeling.prefix_tree import Prefix, prefix_tree
from fcln.vocabulary import END, PAD, START, UNK


class LanguageModel(nn.Module):
    """x_-1 = ReLU(W code), x_0 = START, x_1.. = words; the output at x_-1 is ignored, END closes a phrase."""

    def __init__(self, code: int, word: int, hidden: int, vocabulary: int):
        super().__init__()
        self.image = nn.Linear(code, word)
        self.words = nn.Embedding(vocabulary, word, padding_idx=PAD)
        self.lstm = nn.LSTM(word, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)
        # See prepare_inference: what hidden states add to the gates, and the output.
        self._prepared: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None = None
        with torch.no_grad():  # as the released code's LSTM: forgetting starts switched off
            self.lstm.get_parameter("bias_ih_l0")[hidden : 2 * hidden] = 1.0
            self.lstm.get_parameter("bias_hh_l0")[hidden : 2 * hidden] = 0.0

    def forward(self, codes: Tensor, tokens: Tensor) -> Tensor:
        """Log-probabilities of each next word.

        codes: (N, code). tokens: (N, T) int64 word ids, PAD after the end; START and END are added here.
        Returns (N, T + 1): log p(w_t | w_<t, code) for t = 1..T and END where the phrase ends; 0 after it.
        """
        logits = self.output(self.states(codes, tokens)).float()
        targets = next_words(tokens)
        # Half of cross_entropy's time: it would move the words to the second axis first.
        chosen = logits.gather(2, targets[..., None]).squeeze(2) - logits.logsumexp(2)
        return chosen.masked_fill(targets == PAD, 0.0)

    def states(self, codes: Tensor, tokens: Tensor) -> Tensor:
        """The LSTM's outputs after START and each word: codes (N, code), tokens (N, T) -> (N, T + 1, hidden)."""
        start = torch.full((len(tokens), 1), START, device=tokens.device)
        inputs = torch.cat([F.relu(self.image(codes))[:, None], self.words(torch.cat([start, tokens], 1))], dim=1)
        hidden, _ = self.lstm(inputs)
        return hidden[:, 1:]

    @torch.no_grad()
    def log_likelihood(self, codes: Tensor, phrases: Sequence[Sequence[int]]) -> Tensor:
        """log P(phrase | region) = sum over t = 1..T+1 of log p(w_t | w_<t, region), END included (paper, retrieval).

        codes: (N, code) float32. phrases: word ids of Q phrases. Returns (Q, N) float32.

        What phrases begin with ("a man in ...") is computed once: the state after it is the same for all of them, and
        each goes on from there (one that went on from the previous phrase's end would score every phrase after the
        first wrongly). The sum of `forward`, faster for many phrases.
        """
        if len(phrases) == 1:  # nothing to share: one matrix product
            tokens = torch.tensor(phrases, dtype=torch.int64, device=codes.device)
            return self(codes, tokens.expand(len(codes), -1)).sum(1)[None]
        scores = codes.new_empty(len(phrases), len(codes))
        recurrent = self.lstm.get_parameter("weight_hh_l0")
        word_gates = self.word_gates(phrases)
        zeros = codes.new_zeros(len(codes), self.lstm.hidden_size)
        hidden, cell = lstm_state(F.linear(zeros, recurrent) + self.code_gates(codes), zeros)
        # Of each prefix still to be scored: the state before its last word, and its likelihood, (N,).
        pending = [(prefix_tree(phrases), hidden, cell, codes.new_zeros(len(codes)))]
        while pending:
            prefix, hidden, cell, so_far = pending.pop()
            hidden, cell = lstm_state(F.linear(hidden, recurrent) + word_gates[prefix.word], cell)
            log_normalizer = self.output(hidden).logsumexp(1)
            ended, *values = (so_far - log_normalizer + self.next_logits(prefix, hidden).T).unbind()
            for phrase in prefix.phrases:
                scores[phrase] = ended
            for child, value in zip(prefix.children.values(), values, strict=True):
                pending.append((child, hidden, cell, value))
        return scores

    def code_gates(self, codes: Tensor) -> Tensor:
        """What codes add to the LSTM's gates, its biases included: (N, code) float32 -> (N, 4 hidden) float32."""
        return self._input_gates(F.relu(self.image(codes)))

    def word_gates(self, phrases: Sequence[Sequence[int]]) -> dict[int, Tensor]:
        """The same of START and of each word of some phrases: word id -> (4 hidden,) float32."""
        words = sorted({START, *(word for phrase in phrases for word in phrase)})
        ids = torch.tensor(words, device=self.words.weight.device)
        return dict(zip(words, self._input_gates(self.words(ids)), strict=True))

    def _input_gates(self, inputs: Tensor) -> Tensor:
        bias = self.lstm.get_parameter("bias_ih_l0") + self.lstm.get_parameter("bias_hh_l0")
        return F.linear(inputs, self.lstm.get_parameter("weight_ih_l0"), bias)

    def next_logits(self, prefix: Prefix, hidden: Tensor) -> Tensor:
        """Logits of END and of each of the words that the prefix goes on with, in their order.

        hidden: (N, hidden) float32, after the prefix. Returns (N, 1 + children) float32.
        """
        words = torch.tensor([END, *prefix.children], device=hidden.device)
        return F.linear(hidden, self.output.weight[words], self.output.bias[words])

    @torch.no_grad()
    def prepare_inference(self, dtype: torch.dtype) -> None:
        """Write phrases with matrices of this type from now on: of a network whose weights change no more.

        dtype: torch.int8, see `Int8Linear`; or another, for a GPU, where torch's LSTM would convert and lay out all its
        weights once more for every word.
        """
        recurrent, output = self.lstm.get_parameter("weight_hh_l0"), self.output
        if dtype == torch.int8:
            self._prepared = (
                Int8Linear(recurrent).of_unit,
                Int8Linear(output.weight, output.bias).of_unit,
            )
        else:
            self._prepared = (
                partial(_product, weight=recurrent.detach().to(dtype), bias=None),
                partial(_product, weight=output.weight.detach().to(dtype), bias=output.bias.detach().to(dtype)),
            )
        self._all_word_gates = self._input_gates(self.words.weight)

    @torch.no_grad()
    def generate(
        self, codes: Tensor, *, length: int, neutral: NeutralWords | None = None, drop_ended: bool | None = None
    ) -> Tensor:
        """The greedy phrase of each code, UNK left out: (N, code) -> (N, length) int64 ids, PAD from the end on.

        neutral: words that say less where the likeliest one is not likely enough.
        drop_ended: leave phrases that have ended alone. None: not on a GPU, where the program would wait after every
        word to learn how many those are.
        """
        if drop_ended is None:
            drop_ended = codes.device.type != "cuda"
        tokens = torch.full((len(codes), length), PAD, device=codes.device)
        hidden, cell = self._begin(codes)
        word = torch.full((len(codes),), START, device=codes.device)
        goes_on = torch.ones_like(word, dtype=torch.bool)
        rows = torch.arange(len(codes), device=codes.device)  # of the phrases that have not ended
        for step in range(length):
            logits, hidden, cell = self._write(word, hidden, cell)
            for special in (PAD, START, UNK):  # the likeliest word that has a spelling
                logits[:, special] = -torch.inf
            word = logits.argmax(1)
            if neutral is not None:
                word = neutral.choose(word, logits)
            if not drop_ended:
                goes_on &= word != END
                tokens[:, step] = word.where(goes_on, PAD)
                continue
            rows, word, hidden, cell = rows[open_ := word != END], word[open_], hidden[open_], cell[open_]
            if not len(rows):
                break
            tokens[rows, step] = word
        return tokens

    def _begin(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's hidden and cell state after x_-1, (N, hidden) each."""
        if self._prepared is not None:
            gates = self.code_gates(codes).float()
            return lstm_state(gates, gates.new_zeros(len(codes), self.lstm.hidden_size))
        _, (hidden, cell) = self.lstm(F.relu(self.image(codes))[:, None])
        return hidden[0], cell[0]

    def _write(self, word: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, vocabulary) float32 of what follows a word (N,), and the states after it."""
        if self._prepared is not None:
            recurrent, output = self._prepared
            gates = recurrent(hidden) + self._all_word_gates[word]
            hidden, cell = lstm_state(gates, cell)
            return output(hidden), hidden, cell
        found, states = self.lstm(self.words(word)[:, None], (hidden[None], cell[None]))
        return self.output(found[:, 0]).float(), states[0][0], states[1][0]


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, in) float32 -> (N, out) float32, multiplied in the type of the weights (out, in)."""
    return F.linear(inputs.to(weight.dtype), weight, bias).float()


def next_words(tokens: Tensor) -> Tensor:
    """What is to be said after each word of phrases: (N, T) int64, PAD after the end -> (N, T + 1), END after that."""
    return F.pad(tokens, (0, 1), value=PAD).scatter(1, (tokens != PAD).sum(1, keepdim=True), END)


def lstm_state(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """The LSTM's next hidden and cell state, (N, hidden) float32 each.

    gates: (N, 4 hidden) float32, what input, hidden state and biases add to them. cell: (N, hidden) float32.
    """
    enter, keep, new, leave = gates.chunk(4, 1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell
