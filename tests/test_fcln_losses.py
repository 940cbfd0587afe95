"""What training minimises: values worked out by hand, and which layers each loss reaches."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

import fcln.training.losses
from fcln.checkpoint import new_model
from fcln.modeling.backbone import freeze_first_layers, normalize
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.training.annotations import BatchLoader, load_annotations
from fcln.training.losses import (
    CONTRASTIVE_WEIGHTS,
    PAPER_WEIGHTS,
    Batch,
    ContrastiveLoss,
    _box_loss,
    _objectness,
    _pool,
    distillation_loss,
    training_losses,
)
from helpers.small_world import tiny_config, vocabulary, word_pieces, write_world


def test_the_papers_weights():
    assert PAPER_WEIGHTS == {
        "proposal_score": 0.1, "proposal_box": 0.1, "final_score": 0.1, "final_box": 0.1, "caption": 1.0,
    }  # fmt: skip


def test_objectness_is_the_binary_logistic_loss():
    # Positive with logit 0: log 2. Positive with log 3: p = 3/4. Negative with log 3: 1 - p = 1/4.
    found = _objectness(torch.tensor([0.0, math.log(3), math.log(3)]), torch.ones(2))
    assert_close(found.item(), (math.log(2) + math.log(4 / 3) + math.log(4)) / 3, atol=1e-6, rtol=0)


def test_objectness_of_a_positive_may_be_its_overlap():
    # Logit log 3 (p = 3/4) and target 0.6: 0.6 log(4/3) + 0.4 log 4.
    found = _objectness(torch.tensor([math.log(3)]), torch.tensor([0.6]))
    assert_close(found.item(), 0.6 * math.log(4 / 3) + 0.4 * math.log(4), atol=1e-6, rtol=0)


def test_box_loss_is_smooth_l1_in_transform_coordinates():
    # Targets (0.5, 0, log 2, -log 2), as in the test of find_offsets. Predicted all 0 but the first, 2.5.
    start, truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 2.5, 20.0, 7.5]])
    found = _box_loss(torch.tensor([[2.5, 0.0, 0.0, 0.0]]), start, truth, 1.0)
    # |2.5 - 0.5| = 2 -> 2 - 1/2; twice log 2 < 1 -> log(2)^2 / 2
    assert_close(found.item(), (1.5 + 2 * math.log(2) ** 2 / 2) / 4, atol=1e-6, rtol=0)


def test_box_loss_leaves_degenerate_boxes_out():
    start = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 0.001, 0.001]])  # the second's target is 50,000
    offsets = torch.full((2, 4), 0.5, requires_grad=True)
    found = _box_loss(offsets, start, start[:1].expand(2, -1), 1.0)
    assert_close(found.item(), (4 * 0.125 + 0) / 8)
    found.backward()
    assert not offsets.grad[1].any() and offsets.grad[0].all()


def test_box_loss_reaches_the_box_that_it_starts_from():
    # Reference 1.7 (b): the final regression's targets depend on the region's box.
    start = torch.tensor([[0.0, 0.0, 10.0, 10.0]], requires_grad=True)
    _box_loss(torch.zeros(1, 4), start, torch.tensor([[1.0, 1.0, 13.0, 9.0]]), 1.0).backward()
    assert start.grad.abs().sum() > 0


def test_box_loss_is_linear_beyond_beta():
    # Off by 0.5 in the first of four: beta 1 gives 0.5^2 / 2, beta 1/9 gives 0.5 - 1/18.
    box, offsets = torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.5, 0.0, 0.0, 0.0]])
    assert_close(_box_loss(offsets, box, box, 1.0).item(), 0.125 / 4)
    assert_close(_box_loss(offsets, box, box, 1 / 9).item(), (0.5 - 1 / 18) / 4, atol=1e-6, rtol=0)


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
    pool = _pool(boxes, scores, torch.tensor([[20.0, 20.0, 30.0, 30.0]]), allowed, tiny_config(roi_candidates=2))
    assert pool.tolist() == [True, False, True, False, True, False]


def batch_of(boxes: list[list[list[float]]], phrases: list[tuple[int, int, bool]], **changes) -> Batch:
    """A batch of 100x100 photographs for the contrastive losses. phrases: photograph, box or -1, in its query."""
    values = {
        "images": None,
        "features": None,
        "sizes": torch.full((len(boxes), 2), 100.0),
        "boxes": [torch.tensor(b) for b in boxes],
        "captions": [],
        "phrases": torch.zeros(len(phrases), 1, dtype=torch.int64),
        "phrase_photo": torch.tensor([p for p, _, _ in phrases]),
        "phrase_boxes": torch.tensor([[b == n for n in range(max(map(len, boxes)))] for _, b, _ in phrases]),
        "phrase_group": torch.tensor([g for _, _, g in phrases]),
        "also_true": torch.zeros(len(phrases), len(boxes), dtype=torch.bool),
        "names": [f"{n}.jpg" for n in range(len(boxes))],
    }
    return Batch(**(values | changes))


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
    return training_losses(model, ContrastiveLoss(), batch, model.features(normalize(batch.images)), generator)


def test_all_losses_are_there_finite_and_of_the_size_of_ignorance(batch):
    losses = losses_of(fresh_model(), batch)
    assert set(losses) == set(PAPER_WEIGHTS) | set(CONTRASTIVE_WEIGHTS)
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())
    assert losses["final_score"].item() == pytest.approx(math.log(2), abs=0.1)  # a coin
    assert losses["caption"].item() == pytest.approx(math.log(len(vocabulary())), abs=0.4)  # a word of ten, per word


def test_caption_loss_is_the_mean_over_words_and_end(batch):
    captions = [torch.tensor([[4, 0, 0], [5, 6, 7]]), torch.tensor([[4, 5], [0, 0]]), torch.tensor([[0], [6]])]
    model = fresh_model()
    seen = []
    model.language.register_forward_hook(lambda module, given, log: seen.append((given[1], log)))
    with torch.no_grad():
        found = losses_of(model, Batch(**(vars(batch) | {"captions": captions})))["caption"].item()
    ((tokens, log),) = seen
    lengths = (tokens > 0).sum(1).tolist()
    assert {0, 1, 3} <= set(lengths)
    parts = [row[: n + 1] for row, n in zip(log, lengths, strict=True) if n]  # n words and END
    assert found == pytest.approx(-torch.cat(parts).mean().item(), abs=1e-5)


def test_a_box_without_a_phrase_short_enough_trains_no_caption(batch):
    silent = Batch(**(vars(batch) | {"captions": [torch.zeros_like(c) for c in batch.captions]}))
    model = fresh_model()
    loss = losses_of(model, silent)["caption"]
    assert loss.item() == 0
    loss.backward()
    assert not model.language.output.weight.grad.any()


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


def test_box_gradient_scales_what_the_boxes_get_and_nothing_else(batch):
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
    monkeypatch.setattr(fcln.training.losses, "_caption_loss", lambda *given: torch.zeros(()))
    model = fresh_model()
    seen = []
    contrastive = ContrastiveLoss()
    contrastive.register_forward_pre_hook(lambda module, given: seen.append((given, torch.is_autocast_enabled("cpu"))))
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(normalize(batch.images))
        training_losses(model, contrastive, batch, features, torch.Generator().manual_seed(0))
    ((regions, boxes, phrases, _), autocast) = seen[0]
    assert not autocast and {regions.dtype, boxes.dtype, phrases.dtype} == {torch.float32}


def test_the_batch_of_one_photograph(batch):
    one = batch.only(1)
    assert one.names == [batch.names[1]] and torch.equal(one.images[0], batch.images[1])
    assert torch.equal(one.phrases, batch.phrases[batch.phrase_photo == 1]) and not one.phrase_photo.any()
    assert one.also_true.shape == (len(one.phrases), 1)
    assert all(torch.isfinite(loss) for loss in losses_of(fresh_model(), one).values())
