"""The recognition network: codes by hand, and what context adds."""

import pytest
import torch
from torch.testing import assert_close

from fcln.modeling.recognition import RecognitionNetwork, mean_features
from helpers.int8 import needs_int8, relative_error


def network(**changes) -> RecognitionNetwork:
    torch.manual_seed(0)
    return RecognitionNetwork(2, 3, 5, 4, **({"context": 0, "dropout": 0.0} | changes))


@torch.no_grad()
def test_the_papers_network_is_two_layers_with_relu():
    net = network()
    regions = torch.randn(6, 2, 3, 3)
    hidden = (regions.reshape(6, 18) @ net.fc6.weight.T + net.fc6.bias).clamp(min=0)
    expected = (hidden @ net.fc7.weight.T + net.fc7.bias).clamp(min=0)
    codes = net(regions, torch.randn(6, 7), torch.randn(6, 5))  # context and place are not looked at
    assert_close(codes, expected)
    assert net.context is None and net.geometry is None


@torch.no_grad()
def test_context_and_place_are_added_before_the_last_relu():
    net = network(context=7)
    regions, context, place = torch.randn(6, 2, 3, 3), torch.randn(6, 7), torch.randn(6, 5)
    hidden = (regions.reshape(6, 18) @ net.fc6.weight.T + net.fc6.bias).clamp(min=0)
    summed = hidden @ net.fc7.weight.T + net.fc7.bias + context @ net.context.weight.T + place @ net.geometry.weight.T
    assert_close(net(regions, context, place), summed.clamp(min=0))


@torch.no_grad()
def test_what_the_deepest_map_shows_is_added_likewise():
    net = network(context=7)
    regions, context, place = torch.randn(6, 2, 3, 3), torch.randn(6, 7), torch.randn(6, 5)
    deep = torch.randn(6, 4)
    hidden = (regions.reshape(6, 18) @ net.fc6.weight.T + net.fc6.bias).clamp(min=0)
    summed = hidden @ net.fc7.weight.T + net.fc7.bias + context @ net.context.weight.T + place @ net.geometry.weight.T
    assert_close(net(regions, context, place, deep), (summed + deep).clamp(min=0))


@torch.no_grad()
def test_with_a_rank_the_first_layer_is_two_without_a_relu_between_them():
    net = network(context=7, rank=3)
    regions, context, place = torch.randn(6, 2, 3, 3), torch.randn(6, 7), torch.randn(6, 5)
    first, second = net.fc6
    assert first.weight.shape == (3, 18) and first.bias is None and second.weight.shape == (5, 3)
    between = regions.reshape(6, 18) @ first.weight.T
    assert (between < 0).any()
    hidden = (between @ second.weight.T + second.bias).clamp(min=0)
    summed = hidden @ net.fc7.weight.T + net.fc7.bias + context @ net.context.weight.T + place @ net.geometry.weight.T
    assert_close(net(regions, context, place), summed.clamp(min=0))


@torch.no_grad()
def test_score_and_offset():
    net = network()
    net.score.weight.copy_(torch.tensor([[1.0, 0.0, -1.0, 2.0]]))
    net.score.bias.fill_(0.5)
    scores, offsets = net.score_and_offset(torch.tensor([[3.0, 9.0, 1.0, 2.0], [0.0, 0.0, 4.0, 0.0]]))
    assert_close(scores, torch.tensor([3.0 - 1 + 4 + 0.5, -4 + 0.5]))
    assert offsets.shape == (2, 4) and not offsets.any()  # refinement starts as "leave the box where it is"


@torch.no_grad()
def test_photographs_share_their_context():
    net = network(context=7)
    regions, context, place = torch.randn(6, 2, 3, 3), torch.randn(2, 7), torch.randn(6, 5)
    assert_close(net(regions, context, place), net(regions, context.repeat_interleave(3, 0), place))


@torch.no_grad()
@pytest.mark.parametrize("rank", [0, 3])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_prepared_for_inference_it_finds_the_same(dtype, tolerance, rank):
    net = network(context=7, rank=rank)
    regions, context, place = torch.randn(6, 2, 3, 3), torch.randn(6, 7), torch.randn(6, 5)
    expected = net(regions, context, place)
    names = set(net.state_dict())
    net.prepare_inference(dtype)
    last = regions.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        assert_close(net(last, context, place).float(), expected, atol=tolerance, rtol=tolerance)
    assert set(net.state_dict()) == names  # one truth


@needs_int8
@pytest.mark.parametrize("bfloat16", [False, True])
@torch.no_grad()
def test_with_a_rank_a_photographs_codes_in_int8_are_nearly_the_same_and_do_not_depend_on_the_others(bfloat16):
    torch.manual_seed(0)
    net = RecognitionNetwork(16, 7, 64, 32, context=8, dropout=0.0, rank=24).eval()
    net.fc6[1].bias.fill_(-0.1)  # as much of it is negative before the ReLU as not
    regions = torch.rand(12, 16, 7, 7).contiguous(memory_format=torch.channels_last)
    regions[6:] *= 50  # of the other photograph
    context, place = torch.zeros(2, 8), torch.zeros(12, 5)
    exact = net(regions, context, place)
    names = set(net.state_dict())
    net.prepare_inference(torch.int8)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        found = net(regions, context, place).float()
        alone = net(regions[:6], context[:1], place[:6]).float()
    for photograph in (slice(0, 6), slice(6, 12)):
        assert 0 < relative_error(found[photograph], exact[photograph]) < 0.03
    assert torch.equal(alone, found[:6])
    assert set(net.state_dict()) == names  # one truth


def test_dropout_only_while_training():
    net = network(dropout=0.5)
    given = (torch.randn(50, 2, 3, 3), torch.zeros(50, 7), torch.zeros(50, 5))
    assert not torch.equal(net.train()(*given), net.train()(*given))
    assert torch.equal(net.eval()(*given), net.eval()(*given))


def test_context_is_the_mean_without_padding():
    # 48x32 pixels are 3x2 cells; the map is padded to 4x3 with nonsense.
    features = torch.full((1, 2, 3, 4), 1000.0)
    features[0, 0, :2, :3] = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    features[0, 1, :2, :3] = 7.0
    assert_close(mean_features(features, torch.tensor([[48.0, 32.0]]), 16), torch.tensor([[3.5, 7.0]]))


def test_the_means_of_photographs_of_several_sizes():
    features = torch.randn(3, 4, 3, 4)
    sizes = torch.tensor([[128.0, 96.0], [40.0, 33.0], [1.0, 1.0]])  # at stride 32: 4x3 cells, 2x2, 1x1
    found = mean_features(features, sizes, 32)
    for n, (rows, columns) in enumerate([(3, 4), (2, 2), (1, 1)]):
        assert_close(found[n], features[n, :, :rows, :columns].mean((1, 2)))
