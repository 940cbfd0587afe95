"""Likelihoods with floors against those of all phrases and regions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

import scripts.evaluate.pruned_likelihood
from fcln.modeling.language_model import LanguageModel
from fcln.precision import has_bfloat16
from fcln.vocabulary import MAX_PHRASE_WORDS, PAD, UNK
from scripts.evaluate.pruned_likelihood import pruned_log_likelihood, pruned_scores

# One that others begin with, ones that part at the first and at the last word, one that comes twice, a long one.
SHARED = [[4, 5], [4, 5, 6], [4, 5, 6, 6], [4, 6], [5], [4, 5, 6], [6, UNK, 4], [4], [4, 5, 5, 4, 6, 6, 5, 4, UNK, 5]]


@pytest.fixture
def language() -> LanguageModel:
    torch.manual_seed(4)
    return LanguageModel(code=5, word=6, hidden=8, vocabulary=7)


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).abs()


@torch.no_grad()
def with_large_weights() -> LanguageModel:
    torch.manual_seed(7)
    language = LanguageModel(code=5, word=6, hidden=8, vocabulary=7)
    lstm = language.lstm
    for weight in (language.output.weight, language.words.weight, lstm.weight_ih_l0, lstm.weight_hh_l0):
        torch.nn.init.normal_(weight)
    return language


def one_by_one(language: LanguageModel, codes: Tensor, phrases: list[list[int]]) -> Tensor:
    """(Q, N): each phrase alone, all its words in one pass."""
    return torch.stack([language(codes, torch.tensor([phrase] * len(codes))).sum(1) for phrase in phrases])


@torch.no_grad()
@pytest.mark.parametrize("frequent", [1, 5, 256])
def test_what_reaches_its_floor_is_exact_and_the_rest_may_be_left_out(monkeypatch, frequent):
    monkeypatch.setattr(scripts.evaluate.pruned_likelihood, "_FREQUENT_WORDS", frequent)
    language = with_large_weights()
    codes = torch.randn(30, 5, generator=torch.Generator().manual_seed(3)).abs() * 3
    expected = one_by_one(language, codes, SHARED)
    assert expected.std() > 1
    noise = torch.randn(expected.shape, generator=torch.Generator().manual_seed(5))
    for floors in (expected - 0.01, expected + 0.01, expected + 5 * noise, torch.full_like(expected, -torch.inf)):
        found = pruned_scores(language, codes, SHARED, floors)
        reached = expected >= floors
        assert_close(found[reached], expected[reached], atol=1e-4, rtol=0)
        # What does not reach it is right or -inf, nothing between.
        known = found > -torch.inf
        assert_close(found[known], expected[known], atol=1e-4, rtol=0)
    # One phrase is of interest for one region only; the phrases that it begins with are not.
    floors = torch.full_like(expected, torch.inf)
    floors[2, 7] = -torch.inf
    found = pruned_scores(language, codes, SHARED, floors)
    assert (found > -torch.inf).nonzero().tolist() == [[0, 7], [1, 7], [2, 7], [5, 7], [7, 7]]
    assert_close(found[2, 7], expected[2, 7], atol=1e-4, rtol=0)


@torch.no_grad()
def test_regions_below_their_floors_cost_nothing_more(language, codes):
    sizes = []
    original = F.linear

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if weight.shape == language.lstm.weight_hh_l0.shape:
            sizes.append(len(x))
        return original(x, weight, bias)

    first_word = language(codes[:1], torch.tensor([[4, PAD]]))[0, 0].item()
    floors = torch.tensor([[first_word - 1e-4, torch.inf, -torch.inf]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "linear", counted)
        pruned_scores(language, codes, [[4, 5, 6]], floors)
    # The image, START, "4"; "4 5" costs the first region more than it may. Nobody asks for the second.
    assert sizes == [2, 2, 2, 1, 1]


@torch.no_grad()
def test_bfloat16_errs_by_hundredths():
    torch.manual_seed(5)
    language = LanguageModel(code=32, word=48, hidden=64, vocabulary=500)
    torch.nn.init.normal_(language.output.weight, std=0.5)
    codes = torch.randn(50, 32, generator=torch.Generator().manual_seed(6)).abs()
    phrases = [[7, 8, 9], [7, 8, 300, 4], [499]]
    exact = language.log_likelihood(codes, phrases)
    fast = pruned_scores(language, codes, phrases, torch.full_like(exact, -torch.inf), dtype=torch.bfloat16)
    assert fast.dtype == torch.float32
    assert 0 < (fast - exact).abs().max() < 0.1


@torch.no_grad()
def test_no_phrases_and_no_codes(language, codes):
    assert pruned_scores(language, codes, [], torch.zeros(0, 3)).shape == (0, 3)
    assert pruned_scores(language, codes[:0], [[4], [5]], torch.zeros(2, 0)).shape == (2, 0)


def test_of_a_predictor_without_floors_it_is_the_predictors_own(tiny_predictor):
    codes = np.random.default_rng(0).random((11, tiny_predictor.code_size)).astype(np.float16)
    phrases = ["a red dog", "A red zebra!"]
    expected = tiny_predictor.log_likelihood(phrases, codes)
    none = np.full(expected.shape, -np.inf, np.float32)
    found = pruned_log_likelihood(tiny_predictor, phrases, codes, none, bfloat16=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    fast = pruned_log_likelihood(tiny_predictor, phrases, codes, none, bfloat16=True)
    np.testing.assert_allclose(fast, expected, atol=0.1)
    assert (fast != found).any() == has_bfloat16("cpu")


def test_in_chunks_each_region_has_its_own_floors(tiny_predictor, monkeypatch):
    codes = np.random.default_rng(0).random((11, tiny_predictor.code_size)).astype(np.float16)
    phrases = ["a dog", "a red dog"]
    whole = tiny_predictor.log_likelihood(phrases, codes)
    monkeypatch.setattr(scripts.evaluate.pruned_likelihood, "_CHUNK", 4)
    wanted = np.zeros(whole.shape, bool)
    wanted[0, [3, 4]] = wanted[1, [0, 10]] = True
    floors = np.where(wanted, whole - 0.01, np.inf).astype(np.float32)
    found = pruned_log_likelihood(tiny_predictor, phrases, codes, floors, bfloat16=False)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[wanted], whole[wanted], rtol=1e-5)
    assert np.isneginf(found[1, [1, 2, 5, 6, 7, 8, 9]]).all() and np.isneginf(found[0, [1, 2, 5, 6, 7, 8, 9]]).all()


def test_of_nothing_and_of_what_cannot_be_scored(tiny_predictor):
    codes = np.zeros((2, tiny_predictor.code_size), np.float16)
    empty = np.zeros((1, 0), np.float32)
    assert pruned_log_likelihood(tiny_predictor, ["a dog"], codes[:0], empty, bfloat16=False).shape == (1, 0)
    assert pruned_log_likelihood(tiny_predictor, [], codes, np.zeros((0, 2), np.float32), bfloat16=False).shape == (
        0,
        2,
    )
    for phrase in ("", "a " * (MAX_PHRASE_WORDS + 1)):
        with pytest.raises(ValueError):
            pruned_log_likelihood(tiny_predictor, [phrase], codes, np.zeros((1, 2), np.float32), bfloat16=False)
