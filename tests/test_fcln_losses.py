"""What training minimises: values worked out by hand, and which layers each loss reaches."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import fcln.training.losses
from fcln.checkpoint import new_model
from fcln.modeling.backbone import freeze_first_layers
from fcln.modeling.fcln import FCLN, Anchors, FCLNConfig, Stages
from fcln.modeling.normalization import normalize
from fcln.training.annotations import load_annotations
from fcln.training.batch import Batch
from fcln.training.loader import BatchLoader
from fcln.training.losses import (
    CONTRASTIVE_WEIGHTS,
    PAPER_WEIGHTS,
    AuxiliaryLosses,
    ContrastiveLoss,
    RegionDistillation,
    _candidates,
    box_loss,
    distillation_loss,
    localization_losses,
    naming_losses,
    objectness_loss,
    recognition_losses,
    sample_rois,
    spoken_regions,
    training_losses,
)
from fcln.training.region_targets import RegionTargets
from fcln.training.sampling import Sample
from helpers.made_up_batch import batch_of
from helpers.small_world import tiny_config, vocabulary, word_pieces, write_world


def test_the_papers_weights():
    assert PAPER_WEIGHTS == {
        "proposal_score": 0.1, "proposal_box": 0.1, "final_score": 0.1, "final_box": 0.1, "caption": 1.0,
    }  # fmt: skip


def objectness(logits: list[float], target: list[float]) -> float:
    """Of one photograph, all of whose samples are judged."""
    return objectness_loss(torch.tensor([logits]), torch.tensor([target]), torch.ones(1, len(target))).item()


def box(offsets: Tensor, start: Tensor, truth: Tensor, beta: float) -> Tensor:
    """Of one photograph, all of whose samples are positives."""
    return box_loss(offsets[None], start[None], truth[None], torch.ones(1, len(start), dtype=torch.bool), beta)


def test_objectness_is_the_binary_logistic_loss():
    # Positive with logit 0: log 2. Positive with log 3: p = 3/4. Negative with log 3: 1 - p = 1/4.
    found = objectness([0.0, math.log(3), math.log(3)], [1.0, 1.0, 0.0])
    assert_close(found, (math.log(2) + math.log(4 / 3) + math.log(4)) / 3, atol=1e-6, rtol=0)


def test_objectness_of_a_positive_may_be_its_overlap():
    # Logit log 3 (p = 3/4) and target 0.6: 0.6 log(4/3) + 0.4 log 4.
    found = objectness([math.log(3)], [0.6])
    assert_close(found, 0.6 * math.log(4 / 3) + 0.4 * math.log(4), atol=1e-6, rtol=0)


def test_objectness_is_a_mean_over_photographs_of_what_is_judged():
    # log 2 of two samples; log 4 of one (the other is not judged); nothing judged; log 4/3.
    log3 = math.log(3)
    logits = torch.tensor([[0.0, 0.0], [log3, 50.0], [7.0, -7.0], [log3, 0.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    judged = torch.tensor([[True, True], [True, False], [False, False], [True, False]])
    found = objectness_loss(logits, target, judged)
    assert_close(found.item(), (math.log(2) + math.log(4) + math.log(4 / 3)) / 3, atol=1e-6, rtol=0)
    found.backward()
    assert ((logits.grad != 0) == judged).all()
    assert objectness_loss(logits, target, torch.zeros_like(judged)).item() == 0  # nothing at all: 0, not NaN


def test_box_loss_is_smooth_l1_in_transform_coordinates():
    # Targets (0.5, 0, log 2, -log 2), as in the test of find_offsets. Predicted all 0 but the first, 2.5.
    start, truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 2.5, 20.0, 7.5]])
    found = box(torch.tensor([[2.5, 0.0, 0.0, 0.0]]), start, truth, 1.0)
    # |2.5 - 0.5| = 2 -> 2 - 1/2; twice log 2 < 1 -> log(2)^2 / 2
    assert_close(found.item(), (1.5 + 2 * math.log(2) ** 2 / 2) / 4, atol=1e-6, rtol=0)


def test_box_loss_leaves_degenerate_boxes_out():
    start = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.001, 0.001]])  # the second's target is 50,000
    offsets = torch.full((2, 4), 0.5, requires_grad=True)
    found = box(offsets, start, start[:1].expand(2, -1), 1.0)
    assert_close(found.item(), (4 * 0.125 + 0) / 8)
    found.backward()
    assert not offsets.grad[1].any() and offsets.grad[0].all()


def test_box_loss_reaches_the_box_that_it_starts_from():
    # As in the released code: the final regression's targets depend on the region's box.
    start = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    box(torch.zeros(1, 4), start, torch.tensor([[1.0, 1.0, 13.0, 9.0]]), 1.0).backward()
    assert start.grad.abs().sum() > 0


def test_box_loss_is_linear_beyond_beta():
    # Off by 0.5 in the first of four: beta 1 gives 0.5^2 / 2, beta 1/9 gives 0.5 - 1/18.
    given, offsets = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.5, 0.0, 0.0, 0.0]])
    assert_close(box(offsets, given, given, 1.0).item(), 0.125 / 4)
    assert_close(box(offsets, given, given, 1 / 9).item(), (0.5 - 1 / 18) / 4, atol=1e-6, rtol=0)


def test_box_loss_is_a_mean_over_photographs_that_have_positives():
    # Off by 1 in all four: 0.5. Two samples of the first photograph are, one of the second; the third has none, and
    # what fills its truth up with zeros takes no part.
    start = torch.tensor([0.0, 0.0, 10.0, 10.0]).expand(3, 2, -1)
    offsets = torch.tensor([[1.0, 1.0], [1.0, 5.0], [9.0, 9.0]])[..., None].expand(-1, -1, 4).clone().requires_grad_()
    truth = torch.stack([start[0], start[1], torch.zeros(2, 4)])
    positive = torch.tensor([[True, True], [True, False], [False, False]])
    found = box_loss(offsets, start, truth, positive, 1.0)
    assert_close(found.item(), (0.5 + 0.5) / 2)
    found.backward()
    assert ((offsets.grad != 0).all(-1) == positive).all() and torch.isfinite(offsets.grad).all()
    assert box_loss(offsets, start, truth, torch.zeros_like(positive), 1.0).item() == 0


def test_the_pool_is_what_test_time_would_look_at_and_the_best_of_each_truth():
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, 8.0],  # IoU 0.8 with the first, which scores higher
            [50.0, 0.0, 60.0, 10.0],
            [80.0, 0.0, 90.0, 10.0],  # a third good one, where two are looked at
            [20.0, 20.0, 28.0, 30.0],  # hardly scored, and best on the true box
            [20.0, 20.0, 30.0, 30.0],  # on it exactly, in the padding
        ]
    )
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6, -5.0, 3.0])
    allowed = torch.tensor([True] * 5 + [False])
    batch = batch_of([[[20.0, 20.0, 30.0, 30.0]], []], [(0, 0, True)])  # the second photograph has no box
    pool = _candidates(
        boxes.expand(2, -1, -1), scores.expand(2, -1), batch, allowed.expand(2, -1), tiny_config(roi_candidates=2)
    )
    assert pool.tolist() == [[True, False, True, False, True, False], [True, False, True, False, False, False]]


def unit(*rows: tuple[float, float]) -> Tensor:
    return F.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


WHOLE = [0.0, 0.0, 100.0, 100.0]
CORNER = [0.0, 0.0, 20.0, 20.0]
MIDDLE = [40.0, 40.0, 60.0, 60.0]


@pytest.fixture
def contrastive() -> ContrastiveLoss:
    """Both temperatures 1/2: logits are similarities times 2."""
    loss = ContrastiveLoss()
    nn.init.constant_(loss.log_scale, math.log(2))
    return loss


def softmax(*logits: float) -> list[float]:
    total = sum(map(math.exp, logits))
    return [math.exp(x) / total for x in logits]


def two_photographs() -> tuple[Tensor, Tensor, Tensor]:
    """Two photographs, two regions each, two phrases; similarities are easy to read off."""
    regions = torch.stack([unit((1, 0), (0, 1)), unit((0.6, 0.8), (-1, 0))])  # (B, R, E)
    boxes = torch.tensor([[CORNER, WHOLE], [MIDDLE, WHOLE]])
    phrases = unit((1, 0), (0, 1))
    return regions, boxes, phrases


def test_phrases_loss_by_hand(contrastive):
    # Best similarity of phrase 0: 1 in photograph 0, 0.6 in 1. Of phrase 1, which is photograph 1's: 1 and 0.8.
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, True)])
    found = contrastive(*two_photographs(), batch)["phrases"].item()
    expected = -(math.log(softmax(2, 1.2)[0]) + math.log(softmax(2, 1.6)[1])) / 2
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_phrase_may_find_photographs_of_nearly_its_meaning_by_the_teacher(contrastive):
    # The teacher finds phrase 1 0.9 like phrase 0: of each target 0.3 is shared out by exp(10 x similarity).
    alike = math.sqrt(1 - 0.9**2)
    vectors = torch.tensor([[1.0, 0.0], [0.9, alike]])
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, True)], phrase_vectors=vectors)
    found = contrastive(*two_photographs(), batch)["phrases"].item()
    own, other = (0.7 + 0.3 * share if share > 0.5 else 0.3 * share for share in softmax(10, 9))
    first, second = softmax(2, 1.2), softmax(2, 1.6)
    expected = own * math.log(first[0]) + other * math.log(first[1])
    expected += own * math.log(second[1]) + other * math.log(second[0])
    assert found == pytest.approx(-expected / 2, abs=1e-4)


def test_meaning_is_least_where_we_agree_with_the_teacher():
    teacher = unit((1, 0), (0.9, 0.4), (0, 1))
    agreed = distillation_loss(teacher, teacher)
    assert agreed < distillation_loss(teacher[[2, 1, 0]] * torch.tensor([1, -1]), teacher)
    # By hand: each row's target is the softmax of the two others' similarities / 0.07.
    similar = (teacher @ teacher.T / 0.07).tolist()
    rows = [softmax(*(similar[i][j] for j in range(3) if j != i)) for i in range(3)]
    assert agreed.item() == pytest.approx(-sum(p * math.log(p) for row in rows for p in row) / 3, abs=1e-4)


def test_meaning_leaves_out_what_the_teacher_was_not_asked():
    teacher = unit((1, 0), (0.9, 0.4), (0, 1))
    more = torch.cat([teacher, torch.zeros(1, 2)])
    assert_close(distillation_loss(torch.cat([teacher, -teacher[:1]]), more), distillation_loss(teacher, teacher))


def test_phrases_that_hold_for_another_photograph_are_not_held_against_it(contrastive):
    also = torch.tensor([[False, True], [False, False]])
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, True)], also_true=also)
    found = contrastive(*two_photographs(), batch)["phrases"].item()
    assert found == pytest.approx(-math.log(softmax(2, 1.6)[1]) / 2, abs=1e-5)  # phrase 0 has no wrong answer left


def test_photographs_loss_by_hand(contrastive):
    # The query of photograph 0 is both phrases: (1 + 1)/2 against (0.6 + 0.8)/2. Photograph 1 asks the second: 1, 0.8.
    regions, boxes, phrases = two_photographs()
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (0, 0, True), (1, 0, True), (1, 0, False)])
    found = contrastive(regions, boxes, phrases[[0, 1, 1, 0]], batch)["photographs"].item()
    scores = [[2 * 1.0, 2 * 0.7], [2 * 1.0, 2 * 0.8]]
    forward = -(math.log(softmax(*scores[0])[0]) + math.log(softmax(*scores[1])[1])) / 2
    backward = -(math.log(softmax(2.0, 2.0)[0]) + math.log(softmax(1.4, 1.6)[1])) / 2
    assert found == pytest.approx((forward + backward) / 2, abs=1e-5)


def test_a_photograph_without_a_query_is_only_a_wrong_answer(contrastive):
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, False)])
    found = contrastive(*two_photographs(), batch)["photographs"].item()
    assert found == pytest.approx(-math.log(softmax(2, 1.2)[0]) / 2, abs=1e-5)  # backward: one query, no other


def test_a_batch_without_any_query_is_no_loss(contrastive):
    batch = batch_of([[CORNER], [MIDDLE]], [(0, 0, False), (1, 0, False)])
    assert contrastive(*two_photographs(), batch)["photographs"].item() == 0


def test_grounding_picks_the_region_on_the_phrases_box(contrastive):
    # Phrase (1, 0) on CORNER: similarities 1 and 0, the first region is right. On the whole photograph: the second.
    regions, boxes, phrases = two_photographs()
    for box, right in ((0, 0), (-1, 1)):
        batch = batch_of([[CORNER], [MIDDLE]], [(0, box, True)])
        found = contrastive(regions, boxes, phrases[:1], batch)["grounding"].item()
        assert found == pytest.approx(-math.log(softmax(2, 0)[right]), abs=1e-5)


def test_grounding_shares_the_phrase_among_regions_by_overlap(contrastive):
    # IoU with (0, 0, 10, 10): 1, 0.6 (both answer), 0.4 (does not), and the whole photograph's 0.01.
    truth = [0.0, 0.0, 10.0, 10.0]
    boxes = torch.tensor([[truth, [0.0, 0.0, 10.0, 6.0], [0.0, 0.0, 10.0, 4.0], WHOLE]])
    regions = unit((1, 0), (0, 1), (0.6, 0.8), (-1, 0))[None]
    found = contrastive(regions, boxes, unit((1, 0)), batch_of([[truth]], [(0, 0, True)]))["grounding"].item()
    log = [math.log(p) for p in softmax(2, 0, 1.2, -2)]
    assert found == pytest.approx(-(1 / 1.6 * log[0] + 0.6 / 1.6 * log[1]), abs=1e-5)


def test_grounding_without_a_good_region_takes_the_best_there_is(contrastive):
    boxes = torch.tensor([[[0.0, 0.0, 10.0, 4.0], [0.0, 0.0, 10.0, 2.0], WHOLE]])
    regions = unit((1, 0), (0, 1), (-1, 0))[None]
    batch = batch_of([[[0.0, 0.0, 10.0, 10.0]]], [(0, 0, True)])
    found = contrastive(regions, boxes, unit((1, 0)), batch)["grounding"].item()
    assert found == pytest.approx(-math.log(softmax(2, 0, -2)[0]), abs=1e-5)


def test_temperatures_are_trained_and_bounded(contrastive):
    nn.init.constant_(contrastive.log_scale, 50.0)
    found = contrastive(*two_photographs(), batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, True)]))
    assert all(torch.isfinite(loss) for loss in found.values())


# -- all of it, through the network


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> Batch:
    photographs = load_annotations(*write_world(tmp_path_factory.mktemp("world"), 3))
    loader = BatchLoader(
        photographs, vocabulary(), word_pieces(), tiny_config(), batch_size=3, seed=1, cache=None, flip=False
    )
    return loader.batch([0, 1, 2], (0,))


def fresh_model(**changes) -> FCLN:
    torch.manual_seed(0)
    config: FCLNConfig = tiny_config(dropout=0.0, **changes)
    model = new_model(config, vocabulary(), word_pieces())
    nn.init.normal_(model.phrases.pieces)
    for layer in (model.localization.offset, model.recognition.offset):  # fresh ones are 0 and let nothing through
        nn.init.normal_(layer.weight, std=0.01)
    freeze_first_layers(model.backbone, config.backbone)
    return model


def losses_of(model: FCLN, batch: Batch) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return training_losses(model, AuxiliaryLosses(), batch, model.features(normalize(batch.images)), generator)


def test_all_losses_are_there_finite_and_of_the_size_of_ignorance(batch):
    losses = losses_of(fresh_model(), batch)
    assert set(losses) == set(PAPER_WEIGHTS) | set(CONTRASTIVE_WEIGHTS)
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())
    assert losses["final_score"].item() == pytest.approx(math.log(2), abs=0.1)  # a coin
    assert losses["caption"].item() == pytest.approx(math.log(len(vocabulary())), abs=0.4)  # a word of ten, per word


def test_caption_loss_is_the_mean_over_words_and_end(batch):
    captions = torch.tensor([[[4, 0, 0], [5, 6, 7]], [[4, 5, 0], [0, 0, 0]], [[0, 0, 0], [6, 0, 0]]])
    model = fresh_model()
    seen = []
    model.language.register_forward_hook(lambda module, given, log: seen.append((given[1], log)))
    with torch.no_grad():
        found = losses_of(model, replace(batch, captions=captions))["caption"].item()
    ((tokens, log),) = seen
    lengths = (tokens > 0).sum(1).tolist()
    assert {1, 3} <= set(lengths) and 0 not in lengths  # what has no phrase is not asked
    parts = [row[: n + 1] for row, n in zip(log, lengths, strict=True) if n]  # n words and END
    assert found == pytest.approx(-torch.cat(parts).mean().item(), abs=1e-5)


def test_a_box_without_a_phrase_short_enough_trains_no_caption(batch):
    silent = replace(batch, captions=torch.zeros_like(batch.captions))
    model = fresh_model()
    loss = losses_of(model, silent)["caption"]
    assert loss.item() == 0
    loss.backward()
    gradient = model.language.output.weight.grad
    assert gradient is None or not gradient.any()


def gradients(name: str, batch: Batch, **changes) -> dict[str, Tensor]:
    """Every parameter's gradient through one loss alone."""
    model = fresh_model(**changes)
    losses_of(model, batch)[name].backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_caption_alone_trains_the_offsets_and_the_backbone(batch):
    """The point of bilinear sampling: what is said of a box moves it."""
    found = gradients("caption", batch)
    assert "localization.offset.weight" in found
    assert "backbone.0.0.weight" in found and "backbone.0.0.bias" in found  # the very first layer
    assert "language.output.weight" in found and "recognition.fc6.weight" in found
    assert "recognition.score.weight" not in found and "localization.score.weight" not in found


def test_caption_box_gradient_scales_what_the_boxes_get_and_nothing_else(batch):
    whole, tenth, none = (gradients("caption", batch, caption_box_gradient=share) for share in (1.0, 0.1, 0.0))
    assert_close(tenth["localization.offset.weight"], whole["localization.offset.weight"] * 0.1)
    assert_close(tenth["recognition.fc6.weight"], whole["recognition.fc6.weight"])
    assert "localization.offset.weight" not in none


@pytest.mark.parametrize(
    ("name", "reached", "spared"),
    [
        ("proposal_score", "localization.score.weight", "localization.offset.weight"),
        ("proposal_box", "localization.offset.weight", "recognition.fc6.weight"),
        ("final_score", "recognition.score.weight", "language.output.weight"),
        ("final_box", "recognition.offset.weight", "language.output.weight"),
        ("photographs", "phrases.output.weight", "language.output.weight"),
        ("phrases", "embedding.weight", "language.output.weight"),
        ("grounding", "embedding.weight", "language.output.weight"),
    ],
)
def test_each_loss_trains_its_layers(batch, name, reached, spared):
    found = gradients(name, batch)
    assert reached in found and spared not in found
    assert "backbone.0.0.weight" in found


def test_the_contrastive_losses_are_not_computed_in_bfloat16(batch, monkeypatch):
    # Not every processor has an LSTM in bfloat16 (fcln.precision).
    monkeypatch.setattr(fcln.training.losses, "caption_loss", lambda *given: torch.zeros(()))
    model = fresh_model()
    seen = []
    auxiliary = AuxiliaryLosses()
    auxiliary.contrastive.register_forward_pre_hook(
        lambda module, given: seen.append((given, torch.is_autocast_enabled("cpu")))
    )
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(normalize(batch.images))
        training_losses(model, auxiliary, batch, features, torch.Generator().manual_seed(0))
    ((regions, boxes, phrases, _), autocast) = seen[0]
    assert not autocast and {regions.dtype, boxes.dtype, phrases.dtype} == {torch.float32}


def test_the_batch_of_one_photograph(batch):
    one = batch.only(1)
    assert one.names == [batch.names[1]] and torch.equal(one.images[0], batch.images[1])
    assert torch.equal(one.phrases, batch.phrases[batch.phrase_photo == 1]) and not one.phrase_photo.any()
    assert one.also_true.shape == (len(one.phrases), 1)
    assert all(torch.isfinite(loss) for loss in losses_of(fresh_model(), one).values())


# -- photographs without boxes, and those that are labelled in part


def same_but(batch: Batch, photo: int, **changes) -> Batch:
    """The batch with one photograph's boxes gone."""
    is_box, boxes = batch.is_box.clone(), batch.boxes.clone()
    is_box[photo], boxes[photo] = False, 0
    phrase_boxes = batch.phrase_boxes.clone()
    phrase_boxes[batch.phrase_photo == photo] = False
    complete = batch.complete.clone()
    complete[photo] = False
    return replace(batch, is_box=is_box, boxes=boxes, phrase_boxes=phrase_boxes, complete=complete, **changes)


def test_a_photograph_without_boxes_trains_no_detection(batch):
    """Its losses of scores and boxes are those of the two others, and finite are all."""
    model = fresh_model()
    features = model.features(normalize(batch.images))
    without = same_but(batch, 2)
    found = training_losses(model, AuxiliaryLosses(), without, features, torch.Generator().manual_seed(0))
    assert all(torch.isfinite(loss) for loss in found.values())
    gradient = torch.autograd.grad(found["proposal_score"] + found["final_score"], features, retain_graph=True)
    for maps in gradient:
        assert maps[0].any() and maps[1].any() and not maps[2].any()
    alone = training_losses(
        model, AuxiliaryLosses(), without.only(2), [m[2:] for m in features], torch.Generator().manual_seed(0)
    )
    detection = ("proposal_score", "proposal_box", "final_score", "final_box", "caption", "grounding")
    assert {name: alone[name].item() for name in detection} == dict.fromkeys(detection, 0.0)


def test_of_a_photograph_that_is_labelled_in_part_only_what_is_labelled_is_judged():
    """A detector's boxes are positives; what lies outside them is no background."""
    config = tiny_config(anchors_per_image=8)
    low = torch.arange(10.0)[:, None].expand(-1, 2) * 10
    anchors = Anchors(torch.randn(2, 10).requires_grad_(), torch.zeros(2, 10, 4), torch.cat([low, low + 10], 1))
    batch = batch_of([[[0.0, 0.0, 10.0, 10.0]]] * 2, [(0, 0, True)], complete=torch.tensor([True, False]))
    losses = localization_losses(anchors, batch, config, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(losses["proposal_score"], anchors.scores)
    judged = (gradient != 0).int().sum(1).tolist()
    assert judged == [8, 1] and gradient[1, 0] < 0  # one positive and seven negatives; the positive alone
    logits = anchors.scores[1, :1]
    expected = F.softplus(-logits).item()
    first = localization_losses(
        Anchors(anchors.scores[1:], anchors.offsets[1:], anchors.boxes), batch.only(1), config, torch.Generator()
    )
    assert first["proposal_score"].item() == pytest.approx(expected, abs=1e-6)


def test_a_detectors_boxes_are_neither_things_nor_background_where_people_labelled():
    """Where people did not, they are things; a person's box is one in both."""
    config = tiny_config(anchors_per_image=8)
    low = torch.arange(10.0)[:, None].expand(-1, 2) * 10
    offsets = torch.full((2, 10, 4), 0.5, requires_grad=True)
    anchors = Anchors(torch.randn(2, 10).requires_grad_(), offsets, torch.cat([low, low + 10], 1))
    own, weak = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]
    batch = batch_of(
        [[own, weak]] * 2, [(0, 0, True)],
        is_weak=torch.tensor([[False, True], [True, True]]), complete=torch.tensor([True, False]),
    )  # fmt: skip
    losses = localization_losses(anchors, batch, config, torch.Generator().manual_seed(0))
    total = losses["proposal_score"] + losses["proposal_box"]
    scored, moved = torch.autograd.grad(total, [anchors.scores, anchors.offsets])
    assert scored[0, 0] < 0 and scored[0, 5] == 0 and (scored[0] > 0).sum() == 6
    assert scored[1, 0] < 0 and scored[1, 5] < 0 and not (scored[1] > 0).any()
    assert moved.abs().sum(2).nonzero().tolist() == [[0, 0], [1, 0], [1, 5]]


def test_final_losses_by_hand():
    """Two photographs, the second labelled in part: of its regions the positive alone is judged, by its overlap."""
    truth = [0.0, 0.0, 10.0, 10.0]
    boxes = torch.tensor([[truth, [0.0, 0.0, 10.0, 8.0], [50.0, 50.0, 60.0, 60.0], WHOLE]] * 2)
    logits = torch.tensor([[0.0, math.log(3), 0.0, 9.0]] * 2)
    stages = Stages(None, boxes, torch.zeros(2, 4, 3), logits, torch.zeros(2, 4, 4))
    rois = Sample(
        torch.arange(3).expand(2, -1), torch.zeros(2, 3, dtype=torch.int64),
        torch.tensor([[True, True, False], [False, True, False]]),
        torch.tensor([[False, False, True], [False, False, True]]),
    )  # fmt: skip
    batch = batch_of([[truth]] * 2, [(0, 0, True)], complete=torch.tensor([True, False]))
    aware = 0.8 * math.log(4 / 3) + 0.2 * math.log(4)  # overlap 0.8, p = 3/4
    for iou_aware, second in ((True, aware), (False, math.log(4 / 3))):
        config = tiny_config(iou_aware_score=iou_aware, smooth_l1_beta=1.0)
        found = recognition_losses(stages, rois, batch, config)
        first = (math.log(2) + second + math.log(2)) / 3
        assert found["final_score"].item() == pytest.approx((first + second) / 2, abs=1e-6)
        # From 8 high to 10: ty = 1/8, th = log 1.25; the first of the first photograph fits.
        off = ((1 / 8) ** 2 / 2 + math.log(1.25) ** 2 / 2) / 4
        assert found["final_box"].item() == pytest.approx((off / 2 + off) / 2, abs=1e-6)


def test_sampled_regions_end_with_the_whole_photograph_and_unused_ones_are_it():
    config = tiny_config(rois_per_image=8, roi_candidates=0)
    low = torch.tensor([[0.0, 0.0], [50.0, 50.0]])
    anchors = Anchors(torch.zeros(1, 2), torch.zeros(1, 2, 4, requires_grad=True), torch.cat([low, low + 20], 1))
    batch = batch_of([[[0.0, 0.0, 20.0, 20.0]]], [(0, 0, True)])
    boxes, sample = sample_rois(anchors, batch, config, torch.Generator())
    used = (sample.positive | sample.negative)[0]
    assert used.sum() == 2 and boxes.shape == (1, used.numel() + 1, 4)
    assert boxes[0, -1].tolist() == WHOLE
    assert all(row == WHOLE for row in boxes[0, :-1][~used].tolist())
    assert sorted(boxes[0, :-1][used].tolist()) == [[0, 0, 20, 20], [50, 50, 70, 70]]


def test_grounding_leaves_names_free(contrastive):
    """A name of something somewhere in the photograph may pick any region: it adds nothing, and is not counted."""
    regions, boxes, phrases = two_photographs()
    placed = batch_of([[CORNER], [MIDDLE]], [(0, 0, True)])
    both = batch_of([[CORNER], [MIDDLE]], [(0, 0, True), (1, -2, False)])
    one = contrastive(regions, boxes, phrases[:1], placed)["grounding"]
    assert_close(contrastive(regions, boxes, phrases, both)["grounding"], one)
    nowhere = batch_of([[CORNER], [MIDDLE]], [(0, -2, True), (1, -2, True)])
    assert contrastive(regions, boxes, phrases, nowhere)["grounding"].item() == 0


# -- names of things


def naming(photo_terms: list[list[int]], box_terms: list[list[list[int]]], main: list[int]) -> Batch:
    return batch_of(
        [[CORNER], [MIDDLE]], [(0, 0, True), (1, 0, True)], terms=torch.ones(len(photo_terms[0]), 1, dtype=torch.int64),
        photo_terms=torch.tensor(photo_terms, dtype=torch.int8), box_terms=torch.tensor(box_terms),
        main_term=torch.tensor(main),
    )  # fmt: skip


NO_POSITIVES = Sample(
    torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64),
    torch.zeros(2, 1, dtype=torch.bool), torch.ones(2, 1, dtype=torch.bool),
)  # fmt: skip
FIRST_IS_POSITIVE = replace(NO_POSITIVES, positive=torch.ones(2, 1, dtype=torch.bool))
# Terms (1, 0), (0, 1), (-1, 0) against the regions of `two_photographs`: best similarities of photograph 0 are 1, 1, 0;
# of photograph 1 they are 0.6, 0.8, 1.
TERMS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0))


def test_naming_losses_by_hand():
    regions, _, _ = two_photographs()
    # Photograph 0 shows term 0, may show term 1; photograph 1 shows terms 1 and 2.
    batch = naming([[1, -1, 0], [0, 1, 1]], [[[0]], [[1]]], [0, 2])
    losses, best = naming_losses(regions, unit(*TERMS), torch.tensor(2.0), FIRST_IS_POSITIVE, batch)
    first = -math.log(softmax(2 * 1, 2 * 0)[0])  # against term 2 alone
    second = (
        -(math.log(softmax(1.6, 1.2)[0]) + math.log(softmax(2.0, 1.2)[0])) / 2
    )  # each against term 0, not the other
    assert losses["names"].item() == pytest.approx((first + second) / 2, abs=1e-5)
    # Over photographs: term 0 is in photograph 0 (2) and not in 1 (1.2); term 1 has no photograph that lacks it;
    # term 2 is in photograph 1 (2) and not in 0 (0).
    over = -(math.log(softmax(2.0, 1.2)[0]) + math.log(softmax(2.0, 0.0)[0])) / 2
    assert losses["named_photographs"].item() == pytest.approx(over, abs=1e-5)
    # Boxes: region 0 of photograph 0 is term 0 (similarity 1), against term 2 (-1). Region 0 of photograph 1, which is
    # (0.6, 0.8), is term 1 against term 0.
    named = -(math.log(softmax(2.0, -2.0)[0]) + math.log(softmax(1.6, 1.2)[0])) / 2
    assert losses["region_names"].item() == pytest.approx(named, abs=1e-5)
    assert best.tolist() == [0, 1]  # (1, 0) answers term 0; (-1, 0) answers term 2


def test_what_a_photograph_may_show_is_no_wrong_answer():
    regions, _, _ = two_photographs()
    batch = naming([[1, -1, -1], [-1, 1, -1]], [[[0]], [[1]]], [0, 1])
    losses, _ = naming_losses(regions, unit(*TERMS), torch.tensor(2.0), FIRST_IS_POSITIVE, batch)
    assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)


def test_without_names_nothing_is_lost_and_gradients_are_finite():
    regions, _, _ = two_photographs()
    regions = regions.clone().requires_grad_()
    nothing = naming([[0, 0, 0], [0, 0, 0]], [[[-1]], [[-1]]], [-1, -1])
    everything = naming([[1, 1, 1], [1, 1, 1]], [[[0]], [[1]]], [0, 1])
    for batch in (nothing, everything):
        for rois in (NO_POSITIVES, FIRST_IS_POSITIVE):
            losses, _ = naming_losses(regions, unit(*TERMS), torch.tensor(2.0), rois, batch)
            assert {name: loss.item() for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)
            (gradient,) = torch.autograd.grad(sum(losses.values()), regions)
            assert not gradient.any()  # nor NaN


def test_several_terms_of_a_box_are_all_right_for_it():
    regions, _, _ = two_photographs()
    batch = naming([[1, 1, 0], [0, 0, 0]], [[[0, 1, -1]], [[-1, -1, -1]]], [-1, -1])
    losses, _ = naming_losses(regions, unit(*TERMS), torch.tensor(2.0), FIRST_IS_POSITIVE, batch)
    expected = -(math.log(softmax(2.0, -2.0)[0]) + math.log(softmax(0.0, -2.0)[0])) / 2
    assert losses["region_names"].item() == pytest.approx(expected, abs=1e-5)


def test_a_name_is_said_of_the_whole_photograph_and_of_the_region_that_answers_it():
    codes = torch.arange(12.0).view(2, 3, 2)  # two regions and the whole photograph
    rois = Sample(
        torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[1, 0], [0, 0]]),
        torch.tensor([[True, False], [False, False]]), torch.zeros(2, 2, dtype=torch.bool),
    )  # fmt: skip
    batch = batch_of(
        [[CORNER, MIDDLE], []], [(0, 0, True)], captions=torch.tensor([[[4, 0], [5, 6]], [[0, 0], [0, 0]]]),
        whole_captions=torch.tensor([[0, 0, 0], [7, 8, 9]]),
    )  # fmt: skip
    spoken, tokens = spoken_regions(codes, rois, batch, torch.tensor([0, 1]))
    assert spoken.tolist() == [codes[0, 0].tolist(), codes[1, 2].tolist(), codes[1, 1].tolist()]
    assert tokens.tolist() == [[5, 6, 0], [7, 8, 9], [7, 8, 9]]
    spoken, tokens = spoken_regions(codes, rois, batch, None)
    assert len(spoken) == len(tokens) == 2


# -- an image classifier teaches codes


def region_targets(tmp_path, vectors, classes=None, probabilities=None) -> RegionTargets:
    """Those of one photograph, from a file."""
    none = np.zeros((len(vectors), 5))
    found = (none if values is None else np.array(values) for values in (classes, probabilities))
    RegionTargets.write(tmp_path / "targets.h5", [1], [len(vectors)], np.array(vectors), *found)
    return RegionTargets(tmp_path / "targets.h5")


def test_region_distillation_by_hand(tmp_path):
    targets = region_targets(tmp_path, [[0.0, 9.0], [3.0, 0.0], [0.0, 2.0], [4.0, 3.0]])
    distillation = RegionDistillation(targets, 2)
    with torch.no_grad():
        distillation.linear.weight.copy_(torch.eye(2))
        distillation.linear.bias.zero_()
    codes = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.0, 5.0], [1.0, 1.0], [1.0, 1.0]]])
    rois = Sample(
        torch.zeros(2, 2, dtype=torch.int64), torch.tensor([[1, 0], [0, 0]]),
        torch.tensor([[True, False], [True, True]]), torch.zeros(2, 2, dtype=torch.bool),
    )  # fmt: skip
    # Photograph 0: boxes are rows 1 and 2, the whole is row 3. Photograph 1: its box has no row, nor the whole.
    rows = torch.tensor([[1, 2, 3], [-1, -1, -1]])
    found = distillation(codes, rois, rows)
    # Its first region is matched with box 1, row 2: (1, 0) against (0, 2). The whole: (1, 0) against (4, 3).
    assert found.item() == pytest.approx(((1 - 0) + (1 - 0.8)) / 2, abs=1e-6)
    codes = codes.clone().requires_grad_()
    none = distillation(codes, rois, torch.full((2, 3), -1))
    assert none.item() == 0
    none.backward()
    assert not codes.grad.any()


def test_what_the_classifier_sees_is_said_in_words_by_hand(tmp_path):
    """Two photographs, two regions each and the whole; terms east, north, west; classes 0 and 1 are east and north."""
    classes = [[0, 1, 2, 2, 2], [1, 2, 2, 2, 2]]
    targets = region_targets(tmp_path, [[1.0], [1.0]], classes, [[0.5, 0.25, 0.25, 0, 0], [1, 0, 0, 0, 0]])
    distillation = RegionDistillation(targets, 2)
    terms = unit((1, 0), (0, 1), (-1, 0))
    regions = torch.stack([unit((1, 0), (0, 1), (0, 1)), unit((1, 0), (1, 0), (0, 1))])
    rois = Sample(
        torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.int64),
        torch.tensor([[True, False], [False, False]]), torch.zeros(2, 2, dtype=torch.bool),
    )  # fmt: skip
    batch = batch_of(
        [[[0.0, 0.0, 9.0, 9.0]]] * 2, [(0, 0, True)],
        target_rows=torch.tensor([[0, 1], [-1, -1]]), class_terms=torch.tensor([0, 1, -1]),
        photo_terms=torch.tensor([[0, 0, -1], [0, 0, 0]], dtype=torch.int8),
    )  # fmt: skip
    scale = torch.tensor(2.0)
    found = distillation.class_loss(regions, terms, scale, rois, batch)
    # The first region lies at east: 0.5 of east and 0.25 of north, against those two: west may be there. The whole lies
    # at north, which it is.
    east, north = 2 - math.log(math.exp(2) + 1), -math.log(math.exp(2) + 1)
    assert found.item() == pytest.approx((-(0.5 * east + 0.25 * north) - east) / 2, abs=1e-6)
    shown = replace(batch, photo_terms=torch.tensor([[1, 0, 0], [0, 0, 0]], dtype=torch.int8))
    found = distillation.class_loss(regions, terms, scale, rois, shown)
    # East is no wrong answer for the whole of a photograph that shows it, but west is; it stays a right one.
    east, north = (x - math.log(math.exp(2) + 1 + math.exp(-2)) for x in (2.0, 0.0))
    whole = 2 - math.log(math.exp(2) + 1)
    assert found.item() == pytest.approx((-(0.5 * east + 0.25 * north) - whole) / 2, abs=1e-6)
    regions.requires_grad_()
    nothing = replace(batch, target_rows=torch.full((2, 2), -1))
    none = distillation.class_loss(regions, terms, scale, rois, nothing)
    assert none.item() == 0 and none.requires_grad
    elsewhere = replace(batch, class_terms=torch.tensor([-1, -1, -1]))
    assert distillation.class_loss(regions, terms, scale, rois, elsewhere).item() == 0


def test_targets_are_not_kept_with_the_weights(tmp_path):
    auxiliary = AuxiliaryLosses(region_targets(tmp_path, np.zeros((5, 7))), code_size=3)
    assert set(auxiliary.state_dict()) == {
        "contrastive.log_scale", "log_term_scale", "distillation.linear.weight", "distillation.linear.bias",
    }  # fmt: skip
    assert set(AuxiliaryLosses().state_dict()) == {"contrastive.log_scale", "log_term_scale"}
