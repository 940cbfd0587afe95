"""Convolutions in 8-bit integers: torch's answers to the rounding, and no photograph's depend on its neighbours."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from fcln.modeling.fcln import FCLN, FCLNConfig, Maps
from fcln.modeling.int8_convolution import Int8Convolution
from fcln.modeling.int8_linear import can_multiply_int8
from helpers.int8 import needs_int8, processor, relative_error, seeded  # noqa: F401

pytestmark = needs_int8


@torch.no_grad()
def test_photographs_of_any_range_each_as_if_alone():
    layer = torch.nn.Conv2d(48, 32, 3, padding=1)
    fast = Int8Convolution(layer)
    maps = torch.rand(3, 48, 9, 13) * torch.tensor([1e-3, 1.0, 1e3])[:, None, None, None]
    found = fast.of_positive(maps)
    for one, mine, right in zip(maps, found, layer(maps), strict=True):
        assert relative_error(mine, right) < 0.01
        assert torch.equal(fast.of_positive(one[None])[0], mine)
    rectified = fast.of_positive(maps.contiguous(memory_format=torch.channels_last), relu=True)
    assert torch.equal(rectified, found.relu())  # however the maps lie in memory


@torch.no_grad()
def test_the_largest_sums_and_the_border_are_exact():
    # Without VNNI two neighbours' products are added up in 16 bits: 2 x 255 x 127 would be cut to 32,767.
    layer = torch.nn.Conv2d(64, 16, 3, padding=1, bias=False)
    layer.weight.fill_(1.0)
    found = Int8Convolution(layer).of_positive(torch.full((1, 64, 4, 5), 7.0))
    inside, corner, edge = 9 * 64 * 7.0, 4 * 64 * 7.0, 6 * 64 * 7.0
    torch.testing.assert_close(found[0, 3, 1, 2].item(), inside)
    torch.testing.assert_close(found[0, 3, 0, 0].item(), corner)
    torch.testing.assert_close(found[0, 3, 0, 2].item(), edge)
    assert not Int8Convolution(layer).of_positive(torch.zeros(2, 64, 4, 5)).any()


@torch.no_grad()
def test_the_name_that_older_versions_of_torch_have(monkeypatch):
    """torch 2.6 and 2.7 call the operator by another name; where neither is there, 8 bits are not chosen."""
    layer, maps = torch.nn.Conv2d(16, 16, 3, padding=1), torch.rand(1, 16, 5, 5)
    expected = Int8Convolution(layer).of_positive(maps)
    now = torch.ops.onednn
    kept = {name: getattr(now, name) for name in ("qconv_prepack", "qlinear_prepack", "qlinear_pointwise")}
    older = SimpleNamespace(**kept, qconv2d_pointwise=now.qconv_pointwise)
    monkeypatch.setattr(torch.ops, "onednn", older)
    assert torch.equal(Int8Convolution(layer).of_positive(maps), expected)
    can_multiply_int8.cache_clear()
    try:
        assert can_multiply_int8()
        del older.qconv2d_pointwise
        can_multiply_int8.cache_clear()
        assert not can_multiply_int8()
    finally:
        can_multiply_int8.cache_clear()


@pytest.mark.parametrize(
    "config",
    [
        FCLNConfig(backbone="resnet18"),
        FCLNConfig(backbone="resnet50", caffe_strides=True),
        replace(FCLNConfig.default(), deep_features=False),
        replace(FCLNConfig.default(), stride8_features=False),
        FCLNConfig(backbone="vgg16", neck_channels=0, stride8_features=False),
    ],
    ids=["resnet18", "resnet50", "no deep features", "no stride 8", "vgg16"],
)
@torch.no_grad()
def test_networks_of_every_kind(config):
    config = replace(config, hidden_size=32, code_size=16)
    network = FCLN(config, vocabulary=20, pieces=10).eval()
    sizes, images = torch.tensor([[96.0, 64.0]]), torch.randn(1, 3, 64, 96)
    boxes = torch.tensor([[[8.0, 8.0, 60.0, 50.0], [0.0, 0.0, 96.0, 64.0]]])
    features = network.features(images)

    def see() -> tuple[torch.Tensor, torch.Tensor]:
        maps = network.maps(features)
        return network.localize(maps).scores, network.codes(maps, sizes, boxes)

    exact = see()
    network.prepare_inference(torch.int8)
    for found, expected in zip(see(), exact, strict=True):
        assert relative_error(found, expected) < 0.03


@torch.no_grad()
def test_a_network_prepared_so_sees_what_it_saw():
    """Maps, codes, scores and offsets of two photographs; the weights stay as they are, and so does a saved file."""
    config = FCLNConfig.default()
    network = FCLN(config, vocabulary=20, pieces=10).eval()
    torch.nn.init.normal_(network.localization.offset.weight, std=0.01)  # which training begins with at 0
    features = [
        torch.rand(2, channels, 64 // stride, 96 // stride) for stride, channels in ((8, 48), (16, 120), (32, 1280))
    ]
    features[2][1] *= 6  # of the second photograph

    def see() -> tuple[Maps, tuple[torch.Tensor, ...], torch.Tensor]:
        maps = network.maps(features)
        sizes = torch.tensor([[96.0, 64.0]] * 2)
        boxes = torch.tensor([[[8.0, 8.0, 60.0, 50.0], [0.0, 0.0, 96.0, 64.0]]] * 2)
        return maps, network.localization(maps.neck)[:2], network.codes(maps, sizes, boxes)

    names = set(network.state_dict())
    maps, (scores, offsets), codes = see()
    network.prepare_inference(torch.int8)
    fast_maps, (fast_scores, fast_offsets), fast_codes = see()
    assert set(network.state_dict()) == names  # one truth
    assert 0 < relative_error(fast_maps.neck, maps.neck) < 0.01
    assert maps.deep is not None and fast_maps.deep is not None
    assert 0 < relative_error(fast_maps.deep, maps.deep) < 0.01
    assert 0 < relative_error(fast_scores, scores) < 0.02
    assert 0 < relative_error(fast_offsets, offsets) < 0.02
    assert 0 < relative_error(fast_codes, codes) < 0.02
    alone = network.maps([level[1:] for level in features])
    torch.testing.assert_close(alone.neck[0], fast_maps.neck[1], rtol=1e-5, atol=1e-5)
    assert alone.deep is not None
    assert torch.equal(alone.deep[0], fast_maps.deep[1])
