"""The configurations, and the network's test-time path."""

import json
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from fcln.modeling.backbone import split_features
from fcln.modeling.boxes import apply_offsets, clip, iou
from fcln.modeling.fcln import FCLN, Detection, FCLNConfig
from fcln.modeling.localization import bilinear_sample
from helpers.small_world import tiny_config


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def paper() -> FCLN:
    """The paper's network without memory for its weights, and its vocabulary of 10,497 words."""
    with torch.device("meta"):
        return FCLN(FCLNConfig.paper(), vocabulary=10_497 + 4, pieces=20_000)


def test_the_papers_network_has_the_papers_size(paper):
    """Reference 1.10, in millions of numbers."""
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
    assert (config.samples, config.rois, config.positive_iou, config.negative_iou) == (256, 256, 0.7, 0.3)
    assert (config.roi_positive_iou, config.roi_negative_iou) == (0.7, 0.3)
    assert (config.proposals, config.proposal_iou, config.max_words, config.dropout) == (300, 0.7, 10, 0.5)
    assert (config.box_gradient, config.box_beta, config.context) == (1.0, 1.0, False)


def test_the_papers_network_runs(paper):
    """Shapes only: VGG-16 features of 720x480, codes of five boxes, what is said of them."""
    with torch.device("meta"):
        features = paper.features(torch.empty(2, 3, 480, 720))
        scores, offsets, anchors = paper.localization(paper.neck(features))
        regions = bilinear_sample(features, torch.empty(2, 5, 4), stride=16, size=7)
        codes = paper.recognition(regions.flatten(0, 1), torch.empty(10, 512), torch.empty(10, 5))
        said = paper.language(codes, torch.empty(10, 6, dtype=torch.int64))
    assert features.shape == (2, 512, 30, 45)
    assert scores.shape == (2, 30 * 45 * 12) and offsets.shape == (2, 30 * 45 * 12, 4) and len(anchors) == 16_200
    assert regions.shape == (2, 5, 512, 7, 7) and codes.shape == (10, 4096) and said.shape == (10, 7)


def test_the_default_configuration_has_twelve_anchors_of_its_own_frame():
    config = FCLNConfig.default()
    assert len(config.anchors) == 12
    w, h = config.anchors[-1]  # the paper's largest square: 512 of 720
    assert w == h == pytest.approx(512 / 720 * config.image_size, abs=0.01)


@pytest.mark.parametrize("config", [FCLNConfig.default(), FCLNConfig.paper(), tiny_config()])
def test_configurations_survive_json(config):
    again = FCLNConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config and hash(again) == hash(config)


def test_an_unknown_field_is_refused():
    with pytest.raises(TypeError, match="colour"):
        FCLNConfig.from_json(FCLNConfig.default().to_json() | {"colour": "red"})


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
def features(model) -> Tensor:
    with torch.no_grad():
        return model.features(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)))


def with_config(model: FCLN, **changes) -> FCLN:
    """The same weights, used otherwise."""
    other = FCLN(replace(model.config, **changes), vocabulary=10, pieces=40).eval()
    other.load_state_dict(model.state_dict())
    return other


SIZES = torch.tensor([[64.0, 64.0], [48.0, 32.0]])  # the second photograph is padded


def test_regions_are_sorted_inside_and_apart(model, features):
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
        assert (iou(others, others).fill_diagonal_(0) <= model.config.final_iou).all()


@pytest.mark.parametrize("most", [1, 2, 5])
def test_at_most_max_regions_and_the_whole_photograph_among_them(model, features, most):
    for detection, size in zip(model.detect(features, SIZES, max_regions=most), SIZES, strict=True):
        assert len(detection.boxes) == most
        assert (detection.boxes == torch.cat([torch.zeros(2), size])).all(1).any()


def test_a_batch_equals_its_photographs_one_by_one(model, features):
    together = model.detect(features, SIZES, max_regions=10)
    for n, detection in enumerate(together):
        (alone,) = model.detect(features[n : n + 1], SIZES[n : n + 1], max_regions=10)
        assert_close(detection.boxes, alone.boxes, atol=1e-3, rtol=0)
        assert_close(detection.scores, alone.scores)
        assert_close(detection.codes, alone.codes)


def everything(model: FCLN, features: Tensor) -> Detection:
    """All proposals of the first photograph: nothing is suppressed at the end."""
    return with_config(model, final_iou=1.0).detect(features[:1], SIZES[:1], max_regions=1000)[0]


def test_proposals_are_limited(model, features):
    assert len(everything(model, features).boxes) == model.config.proposals + 1
    few = with_config(model, proposals=3)
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
        found = everything(with_config(model, proposal_share=0.0), features)
        codes = model.codes(model.maps(features[:1]), SIZES[:1], found.boxes[None])[0]
        logits, _ = model.recognition.score_and_offset(codes)
    assert_close(found.codes, codes)  # the second regression of a fresh network is 0
    assert_close(found.scores, logits.sigmoid())


def test_embeddings_have_unit_length(model):
    with torch.no_grad():
        found = model.embed(torch.randn(5, 3, model.config.code_size))
    assert found.shape == (5, 3, model.config.embedding_size)
    assert_close(found.norm(dim=-1), torch.ones(5, 3))


def test_a_share_of_the_proposals_log_odds_joins_the_final_score(model, features):
    with torch.no_grad():
        maps = model.maps(features[:1])
        ((boxes, first),) = model.propose(maps, SIZES[:1], count=model.config.proposals)
        whole = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
        codes = model.codes(maps, SIZES[:1], torch.cat([whole, boxes])[None])[0]
        logits, _ = model.recognition.score_and_offset(codes)
    assert first.tolist() == sorted(first.tolist(), reverse=True)
    logits[1:] += 0.5 * first  # nobody proposed the whole photograph
    found = everything(with_config(model, proposal_share=0.5), features)
    assert_close(found.scores, logits.sigmoid().sort(descending=True).values)


def test_regions_are_sampled_from_stride_8_and_16_together(model, features):
    fine = with_config(model)
    with torch.no_grad():
        before = fine.maps(features)
        assert before.stride == 8 and before.regions.shape[2:] == (8, 8) and before.neck.shape[2:] == (4, 4)
        # A fresh network sees what stride 16 shows, four cells for one.
        above = F.interpolate(fine.roi(before.neck), scale_factor=2, mode="bilinear")
        assert_close(before.regions, F.relu(above))
        nn.init.ones_(fine.lateral.weight)
        after = fine.maps(features)
        layer2 = split_features(features, "resnet18")[1].sum(1, keepdim=True)
        assert_close(after.regions, F.relu(above + layer2), atol=1e-4, rtol=1e-4)
    assert torch.equal(after.neck, before.neck)


def test_without_fine_features_regions_are_sampled_from_stride_16(model):
    coarse = FCLN(replace(model.config, fine=False), vocabulary=10, pieces=40).eval()
    with torch.no_grad():
        maps = coarse.maps(coarse.features(torch.randn(1, 3, 64, 64)))
        assert maps.stride == 16 and maps.regions.shape[2:] == (4, 4)
        assert_close(maps.regions, F.relu(coarse.roi(maps.neck)))
