"""The language model (paper 3.4): an LSTM over a region code that writes a phrase or scores a given one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.vocabulary import END, PAD, START, UNK


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
    def log_likelihood(self, codes: Tensor, tokens: Tensor) -> Tensor:
        """log P(phrase | region) = sum over t = 1..T+1 of log p(w_t | w_<t, region), END included (paper, retrieval).

        codes: (N, code). tokens: (T,) int64, one phrase. Returns (N,) float32. The image step's state is not shared
        between phrases (a fork that did scored every phrase after the first wrongly; reference densecap 7.6).
        """
        return self(codes, tokens[None].expand(len(codes), -1)).sum(1)

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
