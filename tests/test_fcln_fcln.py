"""The configurations, and the network's test-time path."""

import json
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from fcln.checkpoint import load_checkpoint
from fcln.modeling.boxes import apply_offsets, clip, iou
from fcln.modeling.fcln import FCLN, Detection, FCLNConfig, whole_boxes
from fcln.modeling.localization import _nms_by_passes, bilinear_sample
from helpers.small_world import tiny_config


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def paper() -> FCLN:
    """The paper's network without memory for its weights, and its vocabulary of 10,497 words."""
    with torch.device("meta"):
        return FCLN(FCLNConfig.paper(), vocabulary=10_497 + 4, pieces=20_000)


def test_the_papers_network_has_the_papers_size(paper):
    """As the paper and the released code have it, in millions of numbers."""
    assert count(paper.recognition.fc6) == 512 * 7 * 7 * 4096 + 4096  # 102.8
    assert count(paper.recognition.fc7) == 4096 * 4096 + 4096  # 16.8
    assert round(count(paper.localization) / 1e6, 1) == 1.2
    assert round(count(paper.language.image) / 1e6, 2) == 2.10
    assert round(count(paper.language.lstm) / 1e6, 2) == 2.10
    assert round(count(paper.language.words) / 1e6, 1) == 5.4
    assert round(count(paper.language.output) / 1e6, 1) == 5.4
    assert round(count(paper.backbone) / 1e6, 1) == 14.7  # VGG-16's thirteen convolutions


def test_the_papers_configuration():
    config = FCLNConfig.paper()
    assert (config.backbone, config.image_size, config.code_size) == ("vgg16", 720, 4096)
    assert len(config.anchors) == 12 and config.roi_size == 7
    assert (config.anchors_per_image, config.rois_per_image, config.fg_iou, config.bg_iou) == (256, 256, 0.7, 0.3)
    assert (config.roi_fg_iou, config.roi_bg_iou) == (0.7, 0.3)
    assert (config.post_nms_top_n, config.proposal_nms_iou, config.max_words, config.dropout) == (300, 0.7, 10, 0.5)
    assert (config.caption_box_gradient, config.smooth_l1_beta, config.context) == (1.0, 1.0, False)


def test_the_papers_network_runs(paper):
    """Shapes only: VGG-16 features of 720x480, codes of five boxes, what is said of them."""
    with torch.device("meta"):
        features = paper.features(torch.empty(2, 3, 480, 720))
        (stride16,) = features
        maps = paper.maps(features)
        assert maps.regions_stride == maps.context_stride == 16 and maps.deep is None
        scores, offsets, anchors = paper.localization(paper.neck(stride16))
        regions = bilinear_sample(stride16, torch.empty(2, 5, 4), stride=16, size=7)
        codes = paper.recognition(regions.flatten(0, 1), torch.empty(10, 512), torch.empty(10, 5))
        said = paper.language(codes, torch.empty(10, 6, dtype=torch.int64))
    assert stride16.shape == (2, 512, 30, 45)
    assert scores.shape == (2, 30 * 45 * 12) and offsets.shape == (2, 30 * 45 * 12, 4) and len(anchors) == 16_200
    assert regions.shape == (2, 5, 512, 7, 7) and codes.shape == (10, 4096) and said.shape == (10, 7)


def test_the_default_configuration_has_twelve_anchors_of_its_own_frame():
    config = FCLNConfig.default()
    assert len(config.anchors) == 12
    w, h = config.anchors[-1]  # the paper's largest square: 512 of 720
    assert w == h == pytest.approx(512 / 720 * config.image_size, abs=0.01)


@pytest.mark.parametrize("config", [FCLNConfig.default(), FCLNConfig.paper(), tiny_config(hidden_rank=7)])
def test_configurations_survive_json(config):
    again = FCLNConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config and hash(again) == hash(config)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="colour"):
        FCLNConfig.from_json(FCLNConfig.default().to_json() | {"colour": "red"})


def test_weights_that_say_nothing_of_a_rank_have_one_matrix():
    values = tiny_config(hidden_rank=7).to_json()
    del values["hidden_rank"]
    assert FCLNConfig.from_json(values) == tiny_config()
    for rank, parts in ((0, ["weight", "bias"]), (7, ["0.weight", "1.weight", "1.bias"])):
        model = FCLN(tiny_config(hidden_rank=rank), vocabulary=10, pieces=40, backbone=False)
        assert list(model.recognition.fc6.state_dict()) == parts


def test_names_of_version_0_1_are_read():
    old = {
        "fine": False, "samples": 1, "positive_iou": 0.61, "negative_iou": 0.11, "rois": 2, "roi_pool": 3,
        "roi_positive_iou": 0.62, "roi_negative_iou": 0.12, "box_gradient": 0.13, "score_overlap": False,
        "box_beta": 0.14, "proposals": 4, "considered": 5, "proposal_iou": 0.63, "proposal_share": 0.15,
        "final_iou": 0.64,
    }  # fmt: skip
    config = FCLNConfig.from_json({"backbone": "resnet50", "anchors": [[1, 2]], **old})
    assert config == FCLNConfig(
        anchors=((1.0, 2.0),), stride8_features=False, anchors_per_image=1, fg_iou=0.61, bg_iou=0.11,
        rois_per_image=2, roi_candidates=3, roi_fg_iou=0.62, roi_bg_iou=0.12, caption_box_gradient=0.13,
        iou_aware_score=False, smooth_l1_beta=0.14, post_nms_top_n=4, pre_nms_top_n=5, proposal_nms_iou=0.63,
        proposal_logit_weight=0.15, final_nms_iou=0.64,
    )  # fmt: skip
    assert not set(old) & set(config.to_json())  # written by today's names


def test_the_shipped_weights_load():
    model = load_checkpoint().model
    stages = model.features(torch.zeros(1, 3, 64, 64))
    (found,) = model.detect(stages, torch.tensor([[64.0, 64.0]]), max_regions=3)
    assert len(found.boxes) >= 1 and torch.isfinite(found.codes).all()


def test_every_field_is_json(tmp_path):
    values = FCLNConfig.default().to_json()
    assert set(values) == {field.name for field in fields(FCLNConfig)}


# -- test time


@pytest.fixture(scope="module")
def model() -> FCLN:
    torch.manual_seed(0)
    model = FCLN(tiny_config(), vocabulary=10, pieces=40).eval()
    nn.init.normal_(model.localization.score.weight)  # else all proposals of the random network score alike
    nn.init.normal_(model.localization.offset.weight, std=0.3)
    nn.init.normal_(model.recognition.score.weight)
    return model


@pytest.fixture(scope="module")
def features(model) -> list[Tensor]:
    with torch.no_grad():
        return model.features(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))


def with_config(model: FCLN, **changes) -> FCLN:
    """The same weights, used otherwise."""
    other = FCLN(replace(model.config, **changes), vocabulary=10, pieces=40).eval()
    other.load_state_dict(other.state_dict() | model.state_dict())
    return other


SIZES = torch.tensor([[64.0, 64.0], [48.0, 32.0]])  # the second photograph is padded


def test_regions_are_sorted_inside_and_apart(model, features):
    model = with_config(model, box_voting_iou=1.0)  # votes bring neighbours together
    found = model.detect(features, SIZES, max_regions=10)
    assert len(found) == 2
    for detection, (width, height) in zip(found, SIZES.tolist(), strict=True):
        boxes, scores = detection.boxes, detection.scores
        assert 3 <= len(boxes) <= 10 and len(boxes) == len(scores) == len(detection.codes)
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert torch.equal(scores, scores.sort(descending=True).values)
        assert ((scores >= 0) & (scores <= 1)).all()
        whole = (boxes == torch.tensor([0.0, 0.0, width, height])).all(1)
        assert whole.any()
        others = boxes[~whole]
        assert (iou(others, others).fill_diagonal_(0) <= model.config.final_nms_iou).all()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_at_most_max_regions_and_the_whole_photograph_among_them(model, features, most):
    for detection, size in zip(model.detect(features, SIZES, max_regions=most), SIZES, strict=True):
        assert len(detection.boxes) == most
        assert (detection.boxes == torch.cat([torch.zeros(2), size])).all(1).any()


def test_a_batch_equals_its_photographs_one_by_one(model, features):
    together = model.detect(features, SIZES, max_regions=10)
    for n, detection in enumerate(together):
        (alone,) = model.detect([maps[n : n + 1] for maps in features], SIZES[n : n + 1], max_regions=10)
        assert_close(detection.boxes, alone.boxes, atol=1e-3, rtol=0)
        assert_close(detection.scores, alone.scores)
        assert_close(detection.codes, alone.codes)


def test_what_is_suppressed_votes_on_the_boxes_that_stay(model, features):
    everybody = everything(model, features)
    still = with_config(model, box_voting_iou=1.0).detect(features, SIZES, max_regions=10)[0]
    (voted, _) = with_config(model, box_voting_iou=0.6).detect(features, SIZES, max_regions=10)
    assert torch.equal(voted.scores, still.scores) and torch.equal(voted.codes, still.codes)
    whole = torch.tensor([0.0, 0.0, 64.0, 64.0])
    moved = 0
    for before, after in zip(still.boxes, voted.boxes, strict=True):
        if torch.equal(before, whole):
            assert torch.equal(after, whole)
            continue
        # By hand: the mean of all proposals that overlap it by 0.6, each by (its score times its overlap) squared.
        others = [n for n, box in enumerate(everybody.boxes) if not torch.equal(box, whole)]
        overlaps = iou(before[None], everybody.boxes[others])[0]
        voters = [(n, float(o)) for n, o in zip(others, overlaps, strict=True) if o >= 0.6]
        weights = [(float(everybody.scores[n]) * overlap) ** 2 for n, overlap in voters]
        by_hand = sum(w * everybody.boxes[n] for w, (n, _) in zip(weights, voters, strict=True)) / sum(weights)
        assert_close(after, by_hand, atol=1e-3, rtol=1e-4)
        moved += len(voters) > 1
    assert moved


def first(features: list[Tensor]) -> list[Tensor]:
    """The features of the first photograph."""
    return [maps[:1] for maps in features]


def everything(model: FCLN, features: list[Tensor]) -> Detection:
    """All proposals of the first photograph: nothing is suppressed at the end, and no box moved by others."""
    return with_config(model, final_nms_iou=1.0, box_voting_iou=1.0).detect(
        first(features), SIZES[:1], max_regions=1000
    )[0]


@pytest.mark.parametrize("most", [1, 3, 10])
def test_a_gpus_way_finds_the_same(model, features, monkeypatch, most):
    expected = model.detect(features, SIZES, max_regions=most)
    monkeypatch.setattr("fcln.modeling.fcln.nms_of_each", _nms_by_passes)
    for found, other in zip(model.detect(features, SIZES, max_regions=most), expected, strict=True):
        assert_close(found.boxes, other.boxes)
        assert_close(found.scores, other.scores)
        assert_close(found.codes, other.codes)


def test_proposals_are_limited(model, features):
    assert len(everything(model, features).boxes) == model.config.post_nms_top_n + 1
    few = with_config(model, post_nms_top_n=3)
    assert len(everything(few, features).boxes) == 4


def test_the_second_regression_moves_the_boxes(model, features):
    before = everything(model, features)
    moved = with_config(model)
    offset = torch.tensor([0.1, 0.0, 0.0, -0.2])
    with torch.no_grad():
        moved.recognition.offset.bias.copy_(offset)
    after = everything(moved, features)
    whole = (before.boxes == torch.tensor([0.0, 0.0, 64.0, 64.0])).all(1)
    assert_close(after.codes, before.codes)  # regions are looked at where they were proposed
    expected = clip(apply_offsets(before.boxes, offset.expand(len(before.boxes), -1)), 64, 64)
    assert_close(after.boxes, torch.where(whole[:, None], before.boxes, expected), atol=1e-3, rtol=0)
    assert not torch.equal(after.boxes, before.boxes)


def test_codes_are_those_of_the_boxes(model, features):
    with torch.no_grad():
        found = everything(with_config(model, proposal_logit_weight=0.0), features)
        codes = model.codes(model.maps(first(features)), SIZES[:1], found.boxes[None])[0]
        logits, _ = model.recognition.score_and_offset(codes)
    assert_close(found.codes, codes)  # the second regression of a fresh network is 0
    assert_close(found.scores, logits.sigmoid())


def test_embeddings_have_unit_length(model):
    with torch.no_grad():
        found = model.embed(torch.randn(5, 3, model.config.code_size))
    assert found.shape == (5, 3, model.config.embedding_size)
    assert_close(found.norm(dim=-1), torch.ones(5, 3))


def test_embeddings_are_moved_by_what_the_photograph_shows(model):
    seeing = with_config(model, scene=True)
    codes, whole = torch.randn(2, 5, 3, model.config.code_size)
    alone = seeing.embed(codes)
    assert torch.equal(model.embed_in_scene(alone, whole), alone)  # a network without it
    assert_close(seeing.embed_in_scene(alone, whole), alone)  # not fitted yet
    with torch.no_grad():
        nn.init.normal_(seeing.scene.weight)
        nn.init.normal_(seeing.scene.bias)
        found = seeing.embed_in_scene(alone, whole)
    moved = alone + whole @ seeing.scene.weight.T + seeing.scene.bias
    assert_close(found, moved / moved.norm(dim=-1, keepdim=True))
    assert not any(parameter.requires_grad for parameter in seeing.scene.parameters())


def test_every_detection_has_the_code_of_the_whole_photograph(model, features):
    for detection, (width, height) in zip(model.detect(features, SIZES, max_regions=5), SIZES.tolist(), strict=True):
        whole = (detection.boxes == torch.tensor([0.0, 0.0, width, height])).all(1)
        assert any(torch.equal(code, detection.whole) for code in detection.codes[whole])


def test_a_share_of_the_proposals_log_odds_joins_the_final_score(model, features):
    with torch.no_grad():
        maps = model.maps(first(features))
        found = model.proposals(model.localize(maps), SIZES[:1], count=model.config.post_nms_top_n)
        (boxes,), (log_odds,) = found
        whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
        codes = model.codes(maps, SIZES[:1], torch.cat([whole, boxes])[None])[0]
        logits, _ = model.recognition.score_and_offset(codes)
    assert log_odds.tolist() == sorted(log_odds.tolist(), reverse=True)
    logits[1:] += 0.5 * log_odds  # nobody proposed the whole photograph
    found = everything(with_config(model, proposal_logit_weight=0.5), features)
    assert_close(found.scores, logits.sigmoid().sort(descending=True).values)


def test_regions_are_sampled_from_stride_8_and_16_together(model, features):
    fine = with_config(model)
    with torch.no_grad():
        before = fine.maps(features)
        assert before.regions_stride == 8 and before.regions.shape[2:] == (8, 8) and before.neck.shape[2:] == (4, 4)
        # A fresh network sees what stride 16 shows, four cells for one.
        above = F.interpolate(fine.roi(before.neck), scale_factor=2, mode="bilinear")
        assert_close(before.regions, F.relu(above))
        nn.init.ones_(fine.lateral.weight)
        after = fine.maps(features)
        layer2 = features[0].sum(1, keepdim=True)
        assert_close(after.regions, F.relu(above + layer2), atol=1e-4, rtol=1e-4)
    assert torch.equal(after.neck, before.neck)


def test_without_fine_features_regions_are_sampled_from_stride_16(model):
    coarse = FCLN(replace(model.config, stride8_features=False), vocabulary=10, pieces=40).eval()
    with torch.no_grad():
        maps = coarse.maps(coarse.features(torch.randn(1, 3, 64, 64)))
        assert maps.regions_stride == 16 and maps.regions.shape[2:] == (4, 4)
        assert_close(maps.regions, F.relu(coarse.roi(maps.neck)))


# -- a pyramid from stride 32


@pytest.fixture(scope="module")
def lite() -> FCLN:
    """A small network above EfficientNet-Lite2, whose own weights are random and not run."""
    torch.manual_seed(0)
    config = tiny_config(backbone="efficientnet_lite2", deep_features=True)
    model = FCLN(config, vocabulary=10, pieces=40, backbone=False).eval()
    nn.init.normal_(model.localization.score.weight)
    nn.init.normal_(model.lateral.weight, std=0.1)
    return model


def lite_features(batch: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    shapes = ((48, 8, 12), (120, 4, 6), (1280, 2, 3))
    return [torch.rand(batch, *shape, generator=generator) for shape in shapes]


@torch.no_grad()
def test_the_pyramids_maps_by_hand(lite):
    stride8, stride16, stride32 = features = lite_features()
    maps = lite.maps(features)
    above = F.interpolate(stride32, size=(4, 6), mode="bilinear")  # the 1x1 convolution after it, here
    neck = F.relu(lite.neck[0](stride16) + lite.top_down(above))
    assert_close(maps.neck, neck, atol=1e-4, rtol=1e-4)
    regions = F.relu(F.interpolate(lite.roi(neck), scale_factor=2, mode="bilinear") + lite.lateral(stride8))
    assert_close(maps.regions, regions, atol=1e-4, rtol=1e-4)
    assert (maps.regions_stride, maps.context_stride) == (8, 32)
    assert torch.equal(maps.context, stride32)
    assert_close(maps.deep, lite.deep(stride32))


@torch.no_grad()
def test_codes_read_the_deep_map_at_three_by_three_points(lite):
    features, sizes = lite_features(), torch.tensor([[96.0, 64.0]])
    boxes = torch.tensor([[[8.0, 8.0, 40.0, 60.0], [0.0, 0.0, 96.0, 64.0]]])
    maps = lite.maps(features)
    found = lite.codes(maps, sizes, boxes)[0]
    regions = bilinear_sample(maps.regions, boxes, stride=8, size=lite.config.roi_size)[0]
    deep = bilinear_sample(lite.deep(features[2]), boxes, stride=32, size=3)[0].mean((2, 3))
    context = features[2].mean((2, 3)).expand(2, -1)
    places = torch.tensor([[8 / 96, 8 / 64, 40 / 96, 60 / 64, (32 * 52 / (96 * 64)) ** 0.5], [0, 0, 1, 1, 1]])
    assert_close(found, lite.recognition(regions, context, places, deep), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, lite.recognition(regions, context, places), atol=1e-3)  # the deep map counts


def test_without_deep_features_codes_read_no_deep_map():
    config = tiny_config(backbone="efficientnet_lite2", deep_features=False)
    model = FCLN(config, vocabulary=10, pieces=40, backbone=False)
    assert not hasattr(model, "deep") and model.maps(lite_features()).deep is None


@torch.no_grad()
def test_a_batch_of_the_pyramid_equals_its_photographs_one_by_one(lite):
    features = lite_features(2)
    sizes = torch.tensor([[96.0, 64.0], [80.0, 48.0]])
    together = lite.detect(features, sizes, max_regions=10)
    for n, detection in enumerate(together):
        (alone,) = lite.detect([maps[n : n + 1] for maps in features], sizes[n : n + 1], max_regions=10)
        assert_close(detection.boxes, alone.boxes, atol=1e-3, rtol=0)
        assert_close(detection.codes, alone.codes, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_forward_runs_the_stages_on_the_boxes_that_are_selected(model, features):
    given: list = []
    chosen = torch.tensor([[[4.0, 4.0, 30.0, 20.0]], [[0.0, 0.0, 16.0, 16.0]]])

    def select(anchors):
        given.append(anchors)
        return chosen

    stages = model(features, SIZES, select)
    maps = model.maps(features)
    scores, offsets, boxes = model.localization(maps.neck)
    assert torch.equal(stages.anchors.scores, scores) and torch.equal(stages.anchors.offsets, offsets)
    assert torch.equal(stages.anchors.boxes, boxes) and given == [stages.anchors]
    assert torch.equal(stages.boxes, chosen)
    codes = model.codes(maps, SIZES, chosen)
    assert torch.equal(stages.codes, codes)
    logits, refinement = model.recognition.score_and_offset(codes)
    assert torch.equal(stages.logits, logits) and torch.equal(stages.offsets, refinement)


def test_features_of_another_backbone_are_refused(model, features):
    with pytest.raises(ValueError, match="argument"):
        model.maps(features[1:])


def test_whole_boxes():
    assert whole_boxes(SIZES).tolist() == [[[0, 0, 64, 64]], [[0, 0, 48, 32]]]
