"""Training: that it learns, that it can be killed, and that it stops where it should."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import fcln.training.trainer as trainer_module
from fcln.checkpoint import new_model
from fcln.errors import TrainingError
from fcln.modeling.fcln import FCLN
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.training.distillation import TeacherVectors, plain
from fcln.training.feature_cache import FeatureCache
from fcln.training.loader import BatchLoader
from fcln.training.losses import CONTRASTIVE_WEIGHTS, PAPER_WEIGHTS, TEACHER_WEIGHTS
from fcln.training.mosaic import mosaic
from fcln.training.trainer import Trainer, TrainingConfig, fill_cache, seed_everything
from helpers.small_world import tiny_config, tiny_network, vocabulary, word_pieces, write_world

TRAINING = TrainingConfig(epochs=2, batch_size=2, warmup=2, seed=3, bfloat16=False)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[AnnotatedImage]:
    return load_annotations(*write_world(tmp_path_factory.mktemp("world"), 6))


def trainer(
    photographs, folder: Path, training: TrainingConfig = TRAINING, *, cache=None, teacher=None, **config
) -> Trainer:
    """As scripts.train makes it: the same seed, the same network."""
    seed_everything(training.seed)
    model = tiny_network(**config)
    loader = BatchLoader(
        photographs, vocabulary(), word_pieces(), model.config,
        batch_size=training.batch_size, seed=training.seed, cache=cache, teacher=teacher,
        flip=training.flip, augment=training.augment, smallest_window=training.smallest_window,
    )  # fmt: skip
    return Trainer(model, loader, training, folder)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def weights_of(model: FCLN) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_rate_warms_up_and_falls_to_nothing():
    training = TrainingConfig(warmup=10)
    assert training.rate(0, -0.1) == pytest.approx(0.1)
    assert training.rate(9, -0.01) == pytest.approx(1)
    assert training.rate(10, 0.0) == pytest.approx(1)
    assert training.rate(60, 0.5) == pytest.approx(0.5)
    assert training.rate(109, 0.99) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert training.rate(110, 1.5) == 0


def test_every_step_has_its_rate(photographs, tmp_path):
    run = trainer(photographs, tmp_path)  # two steps of six warm up
    shares = []

    def note(_line: dict) -> None:
        (share,) = {round(group["lr"] / group["base"], 6) for group in run.optimizer.param_groups}
        shares.append(share)

    run.run(window=1, report=note)
    assert shares == pytest.approx([0.5, 1] + [0.5 * (1 + math.cos(math.pi * n / 4)) for n in range(4)], abs=1e-5)


def test_it_learns_two_photographs_by_heart(photographs, tmp_path):
    training = replace(TRAINING, epochs=60, learning_rate=5e-3, warmup=5, flip=False)
    run = trainer(photographs[:2], tmp_path, training, dropout=0.0)
    run.run(window=10)
    log = log_of(tmp_path)
    assert [line["step"] for line in log] == [10, 20, 30, 40, 50, 60]
    assert log[-1]["caption"] < 0.5 * log[0]["caption"]
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]


def test_the_log(photographs, tmp_path):
    lines = []
    trainer(photographs, tmp_path).run(window=4, report=lines.append)
    assert log_of(tmp_path) == lines
    assert [(line["step"], line["steps"], line["epoch"]) for line in lines] == [(4, 6, 1.333), (6, 6, 2.0)]
    names = {*PAPER_WEIGHTS, *CONTRASTIVE_WEIGHTS, "loss", "gradient_norm", "photographs_per_second"}
    assert set(lines[0]) == names | {"step", "steps", "epoch"}
    for line in lines:
        total = sum(w * line[name] for name, w in (PAPER_WEIGHTS | CONTRASTIVE_WEIGHTS).items())
        assert line["loss"] == pytest.approx(total, abs=1e-3)


def test_detection_weight_multiplies_four_losses(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, detection_weight=5))
    detection = ("proposal_score", "proposal_box", "final_score", "final_box")
    assert {name: run.weights[name] for name in detection} == dict.fromkeys(detection, 0.5)
    assert run.weights["caption"] == 1 and run.weights["grounding"] == CONTRASTIVE_WEIGHTS["grounding"]
    assert PAPER_WEIGHTS["final_box"] == 0.1  # the paper's own are left alone


def test_every_layer_is_trained_at_its_rate(photographs, tmp_path):
    run = trainer(photographs, tmp_path)
    before = weights_of(run.model)
    run.run(until=2)
    after = run.model.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"phrases.pieces"}  # the teacher's
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            (name,) = (n for n, p in run.parameters.items() if p is parameter)
            expected = TRAINING.backbone_learning_rate if name.startswith("model.backbone") else TRAINING.learning_rate
            assert group["base"] == expected
            assert group["weight_decay"] == (TRAINING.weight_decay if parameter.ndim > 1 else 0)


def test_a_backbone_of_rate_0_stays_as_it_is(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, backbone_learning_rate=0))
    before = weights_of(run.model)
    run.run(until=2)
    same = {name for name, tensor in run.model.state_dict().items() if torch.equal(before[name], tensor)}
    assert same == {name for name in before if name.startswith("backbone.")} | {"phrases.pieces"}


def test_frozen_stages_stay_as_they_are(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, frozen_stages=2))
    before = weights_of(run.model)
    run.run(until=2)
    same = {name for name, tensor in run.model.state_dict().items() if torch.equal(before[name], tensor)}
    frozen = {name for name in before if name.startswith(("backbone.0.", "backbone.1."))}
    assert same == frozen | {"phrases.pieces"}


def test_the_average_of_the_weights_by_hand(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, average=0.15))
    name = "localization.score.weight"
    seen = [weights_of(run.model)[name]]
    for step in (1, 2):
        run.run(until=step)
        seen.append(weights_of(run.model)[name])
    run.take_average()
    # What a step keeps: 1/10 at first, then 0.15 < 2/11.
    expected = 0.15 * (0.1 * seen[0] + 0.9 * seen[1]) + 0.85 * seen[2]
    torch.testing.assert_close(weights_of(run.model)[name], expected)
    assert not torch.equal(expected, seen[2])


def test_a_teacher_teaches_the_phrase_encoder(photographs, tmp_path):
    phrases = sorted({plain(p) for photo in photographs for ps in photo.phrases for p in ps})
    TeacherVectors.write(tmp_path / "t.h5", phrases, np.eye(len(phrases), dtype=np.float32))
    run = trainer(photographs, tmp_path, teacher=TeacherVectors(tmp_path / "t.h5"))
    run.run(until=2, window=2)
    line = log_of(tmp_path)[0]
    assert line["meaning"] > 0
    total = sum(w * line[name] for name, w in (PAPER_WEIGHTS | CONTRASTIVE_WEIGHTS | TEACHER_WEIGHTS).items())
    assert line["loss"] == pytest.approx(total, abs=1e-3)


def test_gradients_are_clipped(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, clip_norm=0.01))
    run.run(until=1, window=1)
    total = torch.stack([p.grad.norm() for p in run.parameters.values() if p.grad is not None]).norm()
    assert total.item() == pytest.approx(0.01, rel=1e-3)
    assert log_of(tmp_path)[0]["gradient_norm"] > 0.01  # as it was before


def test_bfloat16_trains_too(photographs, tmp_path):
    run = trainer(photographs, tmp_path, replace(TRAINING, bfloat16=True))
    run.run(until=2, window=1)
    assert {p.dtype for p in run.model.parameters()} == {torch.float32}
    assert all(math.isfinite(line["loss"]) for line in log_of(tmp_path))


# -- mosaics


@pytest.mark.parametrize(("share", "fewest", "most"), [(0, 0, 0), (0.3, 12, 37), (1, 82, 82)])
def test_mosaics_are_shown_in_their_share_of_the_steps_and_never_in_the_last_fifth(
    photographs, tmp_path, monkeypatch, share, fewest, most
):
    # 102 steps, of which two warm up: the last fifth begins with step 82.
    run = trainer(photographs[:4], tmp_path, replace(TRAINING, epochs=102, batch_size=4, mosaics=share))
    shown, sizes = [], []

    def note(batch, images):
        shown.append(run.step)
        return mosaic(batch, images)

    def losses(model, auxiliary, batch, features, generator):
        sizes.append(len(batch.sizes))
        return {"caption": features[0].sum() + model.embedding.weight.sum()}

    monkeypatch.setattr(trainer_module, "mosaic", note)
    monkeypatch.setattr(trainer_module, "training_losses", losses)
    monkeypatch.setattr(run.model, "features", lambda images: [images[:, :1]])
    run.run()
    assert fewest <= len(shown) <= most and all(step < 82 for step in shown)
    assert sizes == [1 if step in shown else 4 for step in range(102)]


def test_without_mosaics_nothing_is_drawn_for_them(photographs, tmp_path, monkeypatch):
    run = trainer(photographs, tmp_path)
    states = []
    real = run._losses
    monkeypatch.setattr(
        run, "_losses", lambda *given, **how: states.append(torch.get_rng_state()) or real(*given, **how)
    )
    run.run(until=1)
    torch.manual_seed(TRAINING.seed * 1_000_003)
    assert torch.equal(states[0], torch.get_rng_state())


# -- stopping and going on


def states_equal(a: Path, b: Path) -> bool:
    one, other = load_file(a / "state.safetensors"), load_file(b / "state.safetensors")
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_a_run_that_stopped_goes_on_to_the_same_result(photographs, tmp_path, stop):
    """Within an epoch (2, 5) and between two (3); three steps each."""
    whole = trainer(photographs, tmp_path / "whole")
    whole.run()
    trainer(photographs, tmp_path / "parts").run(until=stop)
    again = trainer(photographs, tmp_path / "parts")
    assert again.step == stop
    again.run()
    assert states_equal(tmp_path / "whole", tmp_path / "parts")
    assert load_file(tmp_path / "parts" / "state.safetensors").keys() >= {
        "model.backbone.0.0.weight", "optimizer.exp_avg_sq.model.backbone.0.0.weight",
        "auxiliary.contrastive.log_scale",
    }  # fmt: skip


def test_a_run_with_mosaics_and_blocks_left_out_goes_on_to_the_same_result(photographs, tmp_path):
    training = replace(
        TRAINING, batch_size=5, epochs=8, augment=True, smallest_window=0.4, mosaics=0.5, stochastic_depth=0.5
    )
    config = {"backbone": "efficientnet_lite2"}
    trainer(photographs, tmp_path / "whole", training, **config).run()
    trainer(photographs, tmp_path / "parts", training, **config).run(until=3)
    again = trainer(photographs, tmp_path / "parts", training, **config)
    assert again.step == 3 and again.model.backbone.blocks[-1].left_out == 0.5
    again.run()
    assert states_equal(tmp_path / "whole", tmp_path / "parts")


def test_a_finished_run_has_nothing_to_do(photographs, tmp_path):
    trainer(photographs, tmp_path).run()
    log, state = (tmp_path / "log.jsonl").read_bytes(), (tmp_path / "state.safetensors").read_bytes()
    trainer(photographs, tmp_path).run()
    assert (tmp_path / "log.jsonl").read_bytes() == log
    assert (tmp_path / "state.safetensors").read_bytes() == state


def test_what_was_logged_after_the_last_save_is_logged_again(photographs, tmp_path):
    trainer(photographs, tmp_path).run(until=4, window=2)
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 6, "steps": 6, "loss": 1}\n{"step": 8, "lo')  # the kill came in the middle of a line
    trainer(photographs, tmp_path).run(window=2)
    assert [line["step"] for line in log_of(tmp_path)] == [2, 4, 6]
    assert "caption" in log_of(tmp_path)[-1]


def test_a_run_killed_before_its_first_save_starts_anew(photographs, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 2}\n')
    trainer(photographs, tmp_path).run(window=3, until=3)
    assert [line["step"] for line in log_of(tmp_path)] == [3]


@pytest.mark.parametrize(
    ("training", "config", "count", "what"),
    [
        ({"learning_rate": 0.1}, {}, 6, "another training configuration"),
        ({}, {"fg_iou": 0.6}, 6, "another network"),
        ({}, {"hidden_size": 40}, 6, "another network"),
        ({}, {}, 5, "another set of photographs"),
    ],
)
def test_a_run_of_another_kind_is_refused(photographs, tmp_path, training, config, count, what):
    trainer(photographs, tmp_path).run(until=1)
    with pytest.raises(TrainingError, match=what):
        trainer(photographs[:count], tmp_path, replace(TRAINING, **training), **config)


def with_recipe(folder: Path, change: Callable[[dict], dict | None]) -> None:
    """The state in a folder as another version would have written it."""
    path = folder / "state.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    recipe = change(json.loads(metadata.pop("recipe")))
    save_file(load_file(path), path, metadata=metadata | ({} if recipe is None else {"recipe": json.dumps(recipe)}))


def test_a_run_that_began_before_there_was_a_field_goes_on(photographs, tmp_path):
    added = ("smallest_window", "mosaics", "stochastic_depth")
    trainer(photographs, tmp_path).run(until=1)
    with_recipe(tmp_path, lambda recipe: {name: value for name, value in recipe.items() if name not in added})
    assert trainer(photographs, tmp_path).step == 1
    for changes in ({"smallest_window": 0.4}, {"mosaics": 0.1}, {"learning_rate": 0.1}):
        with pytest.raises(TrainingError, match="another training configuration"):
            trainer(photographs, tmp_path, replace(TRAINING, **changes))


def test_a_run_of_a_network_that_looks_otherwise_at_test_time_goes_on(photographs, tmp_path):
    trainer(photographs, tmp_path, post_nms_top_n=7, final_nms_iou=0.3).run(until=1)
    assert trainer(photographs, tmp_path, post_nms_top_n=9).step == 1
    with pytest.raises(TrainingError, match="another network"):  # training reads it
        trainer(photographs, tmp_path, proposal_nms_iou=0.2)


@pytest.mark.parametrize("change", [lambda recipe: recipe | {"of_a_later_version": 1}, lambda recipe: None])
def test_a_state_whose_configuration_is_not_known_is_refused(photographs, tmp_path, change):
    trainer(photographs, tmp_path).run(until=1)
    with_recipe(tmp_path, change)
    with pytest.raises(TrainingError, match="another training configuration"):
        trainer(photographs, tmp_path)


def test_a_damaged_state_is_refused_by_name(photographs, tmp_path):
    trainer(photographs, tmp_path).run(until=1)
    content = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(TrainingError, match=r"state\.safetensors is damaged"):
        trainer(photographs, tmp_path)


# -- for some minutes


class Clock:
    """A second hand that only training moves: ten seconds a step."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr("fcln.training.trainer.time", SimpleNamespace(perf_counter=lambda: self.now))
        real = Trainer._train_step

        def step(trainer, batch):
            self.now += 5
            found = real(trainer, batch)
            self.now += 5
            return found

        monkeypatch.setattr(Trainer, "_train_step", step)


MINUTES = replace(TRAINING, minutes=1.5)  # nine steps of ten seconds; two epochs are six


def test_a_run_of_some_minutes_ends_when_they_are_over(photographs, tmp_path, monkeypatch):
    Clock(monkeypatch)
    run = trainer(photographs, tmp_path, MINUTES)
    run.run(window=4)
    assert run.step == 9
    assert [line["step"] for line in log_of(tmp_path)] == [4, 8, 9]
    (share,) = {round(group["lr"] / group["base"], 6) for group in run.optimizer.param_groups}
    assert share == pytest.approx(0.5 * (1 + math.cos(math.pi * 85 / 90)), abs=1e-5)  # the last step began at 85
    state = (tmp_path / "state.safetensors").read_bytes()
    trainer(photographs, tmp_path, MINUTES).run()
    assert (tmp_path / "state.safetensors").read_bytes() == state  # nothing left to do


def test_what_a_killed_run_has_trained_counts(photographs, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    trainer(photographs, tmp_path / "whole", MINUTES).run()
    clock.now = 5000.0
    parts = trainer(photographs, tmp_path / "parts", MINUTES)
    parts.run(until=2)
    clock.now += 1000  # between two calls nothing is trained
    parts.run(until=5)
    clock.now = 123.0  # another process, whose clock began anew
    again = trainer(photographs, tmp_path / "parts", MINUTES)
    assert again.step == 5
    clock.now += 1000
    again.run()
    assert again.step == 9
    assert states_equal(tmp_path / "whole", tmp_path / "parts")


# -- not finite


@pytest.fixture
def cache(photographs, tmp_path):
    cache = FeatureCache(tmp_path / "features.h5", "tiny")
    seed_everything(TRAINING.seed)
    fill_cache(new_model(tiny_config(), vocabulary(), word_pieces()), photographs, cache)
    yield cache
    cache.close()


FROZEN = replace(TRAINING, backbone_learning_rate=0, flip=False)


def test_a_loss_that_is_not_finite_names_the_photograph(photographs, tmp_path, cache):
    broken = FeatureCache(tmp_path / "broken.h5", "tiny")
    for photo in photographs:
        features = cache.read(photo.image_id)
        if photo.image_id == 4:
            features = [np.full_like(maps, np.nan) for maps in features]
        broken.write(photo.image_id, features)
    run = trainer(photographs, tmp_path / "run", FROZEN, cache=broken)
    with pytest.raises(TrainingError, match=r"^Step \d: loss not finite \(.*caption.*\) on [^ ]*/4\.jpg\.$"):
        run.run(save_every=1)
    assert all(torch.isfinite(p).all() for p in run.model.parameters())  # the step was not taken
    broken.close()


def test_weights_that_are_not_finite_name_the_whole_batch(photographs, tmp_path):
    run = trainer(photographs, tmp_path)
    torch.nn.init.constant_(run.model.language.output.bias, math.nan)
    with pytest.raises(TrainingError, match=r"on .*\.jpg, .*\.jpg\.$"):
        run.run()


def test_a_gradient_that_is_not_finite_stops_too(photographs, tmp_path):
    run = trainer(photographs, tmp_path)
    run.model.embedding.weight.register_hook(lambda gradient: gradient * math.inf)
    before = weights_of(run.model)
    with pytest.raises(TrainingError, match="gradient not finite"):
        run.run()
    assert all(torch.equal(before[name], tensor) for name, tensor in run.model.state_dict().items())


# -- cached features


def test_the_cache_holds_what_the_backbone_gives(photographs, tmp_path, cache):
    assert cache.missing(photo.image_id for photo in photographs) == []
    for bfloat16 in (False, True):
        run = trainer(photographs, tmp_path / f"cached{bfloat16}", replace(FROZEN, bfloat16=bfloat16), cache=cache)
        run.run(until=1, window=1)
        plain = trainer(photographs, tmp_path / f"plain{bfloat16}", replace(FROZEN, bfloat16=bfloat16))
        plain.run(until=1, window=1)
        cached, computed = (log_of(tmp_path / f"{name}{bfloat16}")[0] for name in ("cached", "plain"))
        assert cached["caption"] == pytest.approx(computed["caption"], rel=0.02)
        assert cached["photographs"] == pytest.approx(computed["photographs"], rel=0.02)


def test_only_what_is_missing_is_computed(photographs, tmp_path):
    asked = []

    def progress(photos):
        asked.append([photo.image_id for photo in photos])
        return photos

    cache = FeatureCache(tmp_path / "features.h5", "tiny")
    model = new_model(tiny_config(), vocabulary(), word_pieces())
    fill_cache(model, photographs[:2], cache, progress=progress)
    fill_cache(model, photographs[:4], cache, progress=progress)
    assert asked == [[1, 2], [3, 4]]
    cache.close()
