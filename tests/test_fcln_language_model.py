"""The language model against loops written out, one step at a time."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from fcln.modeling.language_model import LanguageModel
from fcln.vocabulary import END, PAD, START, UNK

WORDS = 7  # PAD, START, END, UNK and three words


@pytest.fixture
def language() -> LanguageModel:
    torch.manual_seed(4)
    return LanguageModel(code=5, word=6, hidden=8, vocabulary=WORDS)


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).abs()


def next_words(language: LanguageModel, code: Tensor, words: list[int]) -> list[float]:
    """p(w | words so far, code) of every w: paper 3.4, x_-1 from the code, x_0 = START, then the words."""
    hidden = cell = torch.zeros(1, 8)
    inputs = [F.relu(language.image(code[None]))]
    inputs += [language.words.weight[[word]] for word in (START, *words)]
    weights = dict(language.lstm.named_parameters())
    for x in inputs:
        gates = x @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        gates = gates + hidden @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        i, f, g, o = gates.chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
    logits = (hidden @ language.output.weight.T + language.output.bias)[0].tolist()
    total = sum(map(math.exp, logits))
    return [math.exp(x) / total for x in logits]


@torch.no_grad()
@pytest.mark.parametrize("phrase", [[4], [4, 6, 5], [5, UNK, 4], [UNK]])
def test_log_likelihood_is_the_sum_over_words_and_end(language, codes, phrase):
    (found,) = language.log_likelihood(codes, [phrase]).tolist()
    for code, value in zip(codes, found, strict=True):
        expected = sum(math.log(next_words(language, code, phrase[:t])[w]) for t, w in enumerate([*phrase, END]))
        assert value == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_forward_gives_each_words_share_and_nothing_after_the_end(language, codes):
    tokens = torch.tensor([[4, 5, PAD, PAD], [6, 6, 6, 6], [PAD] * 4])
    found = language(codes, tokens)
    assert found.shape == (3, 5)
    first = [math.log(next_words(language, codes[0], [4, 5][:t])[w]) for t, w in enumerate([4, 5, END])]
    assert_close(found[0], torch.tensor([*first, 0.0, 0.0]), atol=1e-5, rtol=0)
    assert (found[1] < 0).all()
    assert found[2, 0].item() == pytest.approx(math.log(next_words(language, codes[2], [])[END]), abs=1e-5)
    assert not found[2, 1:].any()


@torch.no_grad()
def test_padding_and_company_do_not_matter(language, codes):
    alone = language(codes[:1], torch.tensor([[4, 5]])).sum(1)
    padded = language(codes, torch.tensor([[4, 5, PAD, PAD, PAD], [6, PAD, PAD, PAD, PAD], [4, 5, 6, 4, 5]])).sum(1)
    assert_close(padded[:1], alone)


@torch.no_grad()
def test_probabilities_of_all_short_phrases_stay_below_one(language, codes):
    def total(length: int) -> Tensor:
        phrases = [p for n in range(length + 1) for p in itertools.product(range(UNK, WORDS), repeat=n)]
        return language.log_likelihood(codes, phrases).exp().sum(0)

    up_to_one, up_to_three = total(1), total(3)
    assert (up_to_one > 0).all() and (up_to_one < up_to_three).all() and (up_to_three < 1).all()
    # Every word, END and the two that never come: one step's probabilities are all there is.
    for code in codes:
        assert sum(next_words(language, code, [])) == pytest.approx(1)


@torch.no_grad()
def test_the_code_is_heard(language, codes):
    (found,) = language.log_likelihood(codes, [[4, 5]]).tolist()
    assert len(set(found)) == 3


def one_by_one(language: LanguageModel, codes: Tensor, phrases: list[list[int]]) -> Tensor:
    """(Q, N): each phrase alone, all its words in one pass."""
    return torch.stack([language(codes, torch.tensor([phrase] * len(codes))).sum(1) for phrase in phrases])


# One that others begin with, ones that part at the first and at the last word, one that comes twice, a long one.
SHARED = [[4, 5], [4, 5, 6], [4, 5, 6, 6], [4, 6], [5], [4, 5, 6], [6, UNK, 4], [4], [4, 5, 5, 4, 6, 6, 5, 4, UNK, 5]]


@torch.no_grad()
def test_phrases_that_share_their_beginning_are_scored_as_if_alone():
    language = talkative()
    codes = torch.randn(30, 5, generator=torch.Generator().manual_seed(3)).abs() * 3
    expected = one_by_one(language, codes, SHARED)
    assert expected.std() > 1
    assert_close(language.log_likelihood(codes, SHARED), expected, atol=1e-4, rtol=0)
    order = torch.randperm(len(SHARED), generator=torch.Generator().manual_seed(4))
    shuffled = language.log_likelihood(codes, [SHARED[n] for n in order])
    assert_close(shuffled, expected[order], atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_shared_beginning_is_computed_once(language, codes):
    steps = []
    original = F.linear

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        steps.append(weight.shape == language.lstm.weight_hh_l0.shape)
        return original(x, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", counted)
        language.log_likelihood(codes, [[4, 5, 6], [4, 5, 4], [4, 5], [4, 5]])
    assert sum(steps) == 6  # the image, START, "4", "4 5" and its two continuations


@torch.no_grad()
def test_no_phrases_and_no_codes(language, codes):
    assert language.log_likelihood(codes, []).shape == (0, 3)
    assert language.log_likelihood(codes[:0], [[4], [5]]).shape == (2, 0)
    ends = [math.log(next_words(language, code, [])[END]) for code in codes]
    assert_close(language.log_likelihood(codes, [[]]), torch.tensor([ends]), atol=1e-5, rtol=0)


def greedy(language: LanguageModel, code: Tensor, length: int) -> list[int]:
    words: list[int] = []
    while len(words) < length:
        shares = next_words(language, code, words)
        word = max((w for w in range(WORDS) if w not in (PAD, START, UNK)), key=shares.__getitem__)
        if word == END:
            break
        words.append(word)
    return words + [PAD] * (length - len(words))


@torch.no_grad()
def talkative() -> LanguageModel:
    """Large random weights: phrases of many lengths."""
    torch.manual_seed(7)
    language = LanguageModel(code=5, word=6, hidden=8, vocabulary=WORDS)
    lstm = language.lstm
    for weight in (language.output.weight, language.words.weight, lstm.weight_ih_l0, lstm.weight_hh_l0):
        torch.nn.init.normal_(weight)
    return language


@torch.no_grad()
def test_generate_is_greedy():
    language = talkative()
    codes = torch.randn(40, 5, generator=torch.Generator().manual_seed(2)).abs() * 3
    found = language.generate(codes, length=6).tolist()
    assert found == [greedy(language, code, 6) for code in codes]
    lengths = {sum(word != PAD for word in row) for row in found}
    assert len(lengths) > 2 and 6 in lengths and min(lengths) < 5  # some end early, some never


@torch.no_grad()
def test_generate_does_not_depend_on_the_batch():
    language = talkative()
    codes = torch.randn(20, 5, generator=torch.Generator().manual_seed(2)).abs() * 3
    together = language.generate(codes, length=6)
    for code, row in zip(codes, together, strict=True):
        assert torch.equal(language.generate(code[None], length=6)[0], row)


@torch.no_grad()
def test_generate_never_says_pad_or_start(language, codes):
    language.output.bias.copy_(torch.tensor([50.0, 40.0, -50.0, 0.0, 0.0, 30.0, 0.0]))
    assert language.generate(codes, length=3).tolist() == [[5, 5, 5]] * 3


@torch.no_grad()
def test_a_phrase_that_ends_at_once_is_empty(language, codes):
    language.output.bias[END] = 50
    assert language.generate(codes, length=3).tolist() == [[PAD] * 3] * 3


def test_forgetting_starts_switched_off(language):
    bias = language.lstm.bias_ih_l0 + language.lstm.bias_hh_l0
    assert bias[8:16].tolist() == [1.0] * 8


def test_phrases_that_have_ended_stay_as_they_are_where_they_are_not_dropped():
    """A GPU's way: it would have to tell after every word how many go on."""
    torch.manual_seed(22)
    model = LanguageModel(32, 24, 48, 60).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.8)
    with torch.no_grad():
        model.output.bias[END] = 3  # some end at once, some never
    codes = 3 * torch.rand(64, 32)
    expected = model.generate(codes, length=8, drop_ended=True)
    lengths = (expected != PAD).sum(1)
    assert len(lengths.unique()) > 4 and lengths.max() == 8
    assert torch.equal(model.generate(codes, length=8, drop_ended=False), expected)
    model.prepare_inference(torch.float32)  # nor with what a GPU runs in the LSTM's place
    assert torch.equal(model.generate(codes, length=8, drop_ended=False), expected)
    model.prepare_inference(torch.bfloat16)
    found = model.generate(codes, length=8, drop_ended=False)
    assert (found == expected).all(1).float().mean() > 0.75  # random weights leave words close to each other
