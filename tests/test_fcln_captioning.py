"""Training of the language model alone: what it minimises, that it learns, that a kill costs nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from fcln.errors import DatasetError, TrainingError
from fcln.modeling.language_model import LanguageModel, next_words
from fcln.training.captioning import CaptioningConfig, CaptionTrainer, caption_loss
from fcln.training.region_codes import PEOPLE, RegionCodes
from fcln.vocabulary import END, PAD, UNK, Vocabulary

VOCABULARY = Vocabulary(["a", "red", "blue", "square", "big"])
A, RED, BLUE, SQUARE, BIG = range(4, 9)
PLAIN = CaptioningConfig(
    epochs=2, batch_size=4, learning_rate=0.02, warmup=2, code_dropout=0.0, word_dropout=0.0, label_smoothing=0.0,
    longer=0.0, average=0.9, bfloat16=False,
)  # fmt: skip


def language() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(2, 16, 16, len(VOCABULARY))


def regions(phrases: list[list[str]], codes: list[tuple[float, float]], *, network: str = "n") -> RegionCodes:
    count = len(codes)
    kinds, overlaps = np.full(count, PEOPLE, np.uint8), np.ones(count, np.float16)
    return RegionCodes(np.array(codes, np.float16), phrases, kinds, overlaps, network)


def squares(count: int = 16) -> RegionCodes:
    """Red ones look to one side, blue ones to the other."""
    codes = [(1.0, 0.0), (0.0, 1.0)] * (count // 2)
    return regions([["a red square"], ["a blue square"]] * (count // 2), codes)


def trainer(folder, sets=None, config=PLAIN, model=None, **options) -> CaptionTrainer:
    sets = sets or [squares()]
    return CaptionTrainer(model or language(), VOCABULARY, sets, config, folder, max_words=4, **options)


def test_what_is_to_be_said_after_each_word():
    tokens = torch.tensor([[A, RED, SQUARE], [A, PAD, PAD], [PAD, PAD, PAD]])
    expected = [[A, RED, SQUARE, END], [A, END, PAD, PAD], [END, PAD, PAD, PAD]]
    assert next_words(tokens).tolist() == expected


def test_the_loss_is_the_mean_over_words_of_what_the_model_gives_them():
    model, codes = language(), torch.tensor([[1.0, 0.5], [0.2, 0.0]])
    tokens = torch.tensor([[A, RED], [A, PAD]])
    # Three words' factors of the first phrase with END, two of the second: a mean of five.
    expected = -model(codes, tokens).sum() / 5
    assert caption_loss(model, codes, tokens, PLAIN).item() == pytest.approx(expected.item(), abs=1e-6)


def test_smoothing_shares_a_word_out_to_all_words():
    model = language()
    with torch.no_grad():  # all words alike but END, which is e times as likely
        model.output.weight.zero_()
        model.output.bias.zero_()[END] = 1.0
    tokens, codes = torch.tensor([[A]]), torch.zeros(1, 2)
    normalizer = np.log(8 + np.e)  # of 9 words
    plain = -((0 - normalizer) + (1 - normalizer)) / 2
    assert caption_loss(model, codes, tokens, PLAIN).item() == pytest.approx(plain, abs=1e-6)
    smoothed = 0.8 * plain + 0.2 * (normalizer - 1 / 9)
    found = caption_loss(model, codes, tokens, replace(PLAIN, label_smoothing=0.2)).item()
    assert found == pytest.approx(smoothed, abs=1e-6)


def test_words_that_are_not_seen_are_still_to_be_said(monkeypatch):
    model, seen = language(), []
    states = model.states

    def watched(codes, tokens):
        seen.append(tokens)
        return states(codes, tokens)

    monkeypatch.setattr(model, "states", watched)
    tokens = torch.tensor([[A, RED, SQUARE], [A, PAD, PAD]])
    loss = caption_loss(model, torch.ones(2, 2), tokens, replace(PLAIN, word_dropout=0.999999))
    assert seen[0].tolist() == [[UNK, UNK, UNK], [UNK, PAD, PAD]]
    blind = states(torch.ones(2, 2), seen[0])
    chosen = model.output(blind).log_softmax(2).gather(2, next_words(tokens)[..., None])[..., 0]
    assert loss.item() == pytest.approx(-(chosen[0].sum() + chosen[1, :2].sum()).item() / 6, abs=1e-6)


def test_it_learns_to_say_what_codes_show(tmp_path):
    running = trainer(tmp_path, config=replace(PLAIN, epochs=60))
    running.run()
    said = running.language.generate(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), length=4)
    assert [VOCABULARY.decode(row) for row in said.tolist()] == ["a red square", "a blue square"]
    assert not running.language.training
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in log] == list(range(1, 61)) and log[-1]["loss"] < log[0]["loss"] / 2


def test_the_result_is_the_running_mean(tmp_path):
    model = language()
    before = {name: p.clone() for name, p in model.named_parameters()}
    running = trainer(tmp_path, [squares(4)], replace(PLAIN, epochs=1), model)  # a single step
    running.run()
    bias = before["output.bias"] - model.output.bias
    # After one step the mean keeps 2 / 11 of what was; Adam's first step is half the rate (a warm-up of 2) a number.
    moved = bias.abs()[bias != 0]
    assert moved.numel() and torch.allclose(moved, torch.full_like(moved, 0.01 * 9 / 11), rtol=0.02)


def test_a_killed_run_goes_on_to_the_same_result(tmp_path):
    config = replace(PLAIN, epochs=3, code_dropout=0.3, word_dropout=0.2, label_smoothing=0.1)
    whole = trainer(tmp_path / "whole", config=config)
    whole.run()

    class Killed(Exception):
        pass

    def kill(line):
        if line["epoch"] == 2:
            raise Killed

    first = trainer(tmp_path / "killed", config=config)
    with pytest.raises(Killed):
        first.run(report=kill)
    second = trainer(tmp_path / "killed", config=config)
    assert second.step == 2 * second.steps_an_epoch
    second.run()
    for name, parameter in whole.parameters.items():
        assert torch.equal(parameter, second.parameters[name]), name
    assert len((tmp_path / "killed" / "log.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 0.03}, {"epochs": 3}, {"seed": 2}, {"longer": 1.0}], ids=lambda c: next(iter(c))
)
def test_a_folder_of_another_run_is_refused(tmp_path, changes):
    trainer(tmp_path).run()
    with pytest.raises(TrainingError, match="another run"):
        trainer(tmp_path, config=replace(PLAIN, **changes))
    with pytest.raises(TrainingError, match="another run"):
        trainer(tmp_path, [squares(32)])


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 100])
def test_a_damaged_state_is_refused(tmp_path, content):
    (tmp_path / "state.safetensors").write_bytes(content)
    with pytest.raises(TrainingError, match=r"state.safetensors is damaged .* delete it to start again"):
        trainer(tmp_path)


def test_shares_of_sets(tmp_path):
    """Of the second set an epoch shows a quarter, of the first one and a half times all."""
    ones, twos = regions([["a red square"]] * 8, [(1.0, 0.0)] * 8), regions([["big"]] * 16, [(0.0, 1.0)] * 16)
    running = trainer(tmp_path, [ones, twos], weights=[1.5, 0.25])
    assert running.steps_an_epoch == 4  # 12 and 4, in batches of 4
    shown = np.concatenate(list(running._batches(0)))
    assert sorted(np.bincount(shown[shown < 8]).tolist()) == [1] * 4 + [2] * 4
    twice = shown[shown >= 8]
    assert len(twice) == len(set(twice.tolist())) == 4
    assert not np.array_equal(shown, np.concatenate(list(running._batches(1))))


def test_longer_phrases_are_drawn_more_often(tmp_path):
    both = regions([["a", "a big red square"]], [(1.0, 0.0)] * 1)
    running = trainer(tmp_path, [regions([["a", "a big red square"]] * 4, [(1.0, 0.0)] * 4)])
    rng = np.random.default_rng(0)
    for power, share in ((0.0, 0.5), (1.0, 0.8), (2.0, 16 / 17)):
        running.config = replace(PLAIN, longer=power)
        phrases = running._encode(both.phrases[0])
        drawn = np.mean([len(running._drawn(phrases, rng)) == 4 for _ in range(2000)])
        assert drawn == pytest.approx(share, abs=0.03), power


def test_phrases_that_are_too_long_train_nothing(tmp_path):
    long = regions([["a big red red square"], ["a", "a big red red square"], [""], ["a"]] * 2, [(1.0, 0.0)] * 8)
    running = trainer(tmp_path, [long])
    assert running.steps_an_epoch == 1  # four regions are left
    rows = np.concatenate(list(running._batches(0)))
    assert set(rows.tolist()) == {1, 3, 5, 7}
    assert [words for words, _ in running._words[1]] == [[A]]


def test_too_little_to_train_on_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="2 regions an epoch: fewer than a batch of 4"):
        trainer(tmp_path, [squares(2)])


def test_codes_of_two_networks_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="different networks"):
        trainer(tmp_path, [squares(), replace(squares(), network="other")])
