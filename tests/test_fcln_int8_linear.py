"""Linear layers in 8-bit integers: torch's answers to the rounding, and nobody's depend on their neighbours."""

import pytest
import torch

from fcln.modeling import int8_linear
from fcln.modeling.int8_linear import Int8Linear, can_multiply_int8
from fcln.modeling.language_model import LanguageModel
from fcln.modeling.recognition import RecognitionNetwork
from helpers.int8 import needs_int8, processor, relative_error, seeded  # noqa: F401


@needs_int8
@torch.no_grad()
def test_positive_inputs_of_any_size():
    layer = torch.nn.Linear(640, 96)
    fast = Int8Linear(layer.weight, layer.bias)
    for scale in (1e-4, 1.0, 1e4):
        inputs = torch.rand(33, 640) * scale
        assert relative_error(fast.of_positive(inputs), layer(inputs)) < 0.01
        assert relative_error(fast.of_positive(inputs, relu=True), layer(inputs).relu()) < 0.01
    layer.bias.zero_()
    assert not Int8Linear(layer.weight, layer.bias).of_positive(torch.zeros(4, 640)).any()
    assert fast.of_positive(torch.zeros(0, 640)).shape == (0, 96)


@needs_int8
@torch.no_grad()
def test_rows_of_weights_have_steps_of_their_own():
    weight = torch.randn(8, 640) * torch.logspace(-4, 4, 8)[:, None]
    weight[3] = 0
    fast, inputs = Int8Linear(weight, torch.zeros(8)), torch.rand(5, 640)
    for row, (found, expected) in enumerate(zip(fast.of_positive(inputs).T, (inputs @ weight.T).T, strict=True)):
        assert row == 3 or relative_error(found, expected) < 0.05
    assert not fast.of_positive(inputs)[:, 3].any()


@needs_int8
@torch.no_grad()
def test_the_largest_sums_are_exact():
    # Without VNNI two neighbours' products are added up in 16 bits: 2 x 255 x 127 would be cut to 32,767.
    fast = Int8Linear(torch.ones(3, 640), torch.zeros(3))
    torch.testing.assert_close(fast.of_positive(torch.full((2, 640), 7.0)), torch.full((2, 3), 4480.0))
    torch.testing.assert_close(fast.of_unit(torch.ones(2, 640)), torch.full((2, 3), 640.0))
    torch.testing.assert_close(fast.of_unit(-torch.ones(2, 640)), torch.full((2, 3), -640.0))


@needs_int8
@torch.no_grad()
def test_inputs_from_minus_one_to_one_each_row_as_if_alone():
    layer = torch.nn.Linear(640, 96)
    fast, inputs = Int8Linear(layer.weight, layer.bias), torch.rand(9, 640) * 2 - 1
    inputs[0], inputs[1], inputs[2] = 1.0, -1.0, 0.001
    found = fast.of_unit(inputs)
    assert relative_error(found[3:], layer(inputs)[3:]) < 0.02
    for row in range(9):
        assert torch.equal(fast.of_unit(inputs[row : row + 1])[0], found[row])


@needs_int8
@torch.no_grad()
def test_a_photographs_codes_do_not_depend_on_the_others():
    net = RecognitionNetwork(16, 7, 64, 32, context=8, dropout=0.0).eval()
    regions = torch.rand(12, 16, 7, 7).contiguous(memory_format=torch.channels_last)
    regions[6:] *= 50  # of the other photograph
    context, place = torch.randn(2, 8), torch.randn(12, 5)
    exact = net(regions, context, place)
    net.prepare_inference(torch.int8)
    found = net(regions, context, place)
    assert relative_error(found, exact) < 0.02
    torch.testing.assert_close(net(regions[:6], context[:1], place[:6]), found[:6])


@needs_int8
@torch.no_grad()
def test_phrases_are_those_of_float32_and_do_not_depend_on_the_others():
    model = LanguageModel(32, 24, 48, 60).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    codes = torch.rand(64, 32)
    exact = model.generate(codes, length=8)
    names = set(model.state_dict())
    model.prepare_inference(torch.int8)
    found = model.generate(codes, length=8)
    assert (found == exact).all(1).float().mean() > 0.6  # random weights leave words close to each other
    assert (found[:, 0] == exact[:, 0]).float().mean() > 0.9
    for start in range(0, 64, 7):
        assert torch.equal(model.generate(codes[start : start + 7], length=8), found[start : start + 7])
    assert set(model.state_dict()) == names  # one truth


@pytest.fixture
def not_remembered():
    can_multiply_int8.cache_clear()
    yield
    can_multiply_int8.cache_clear()


def test_a_processor_without_either_does_not(monkeypatch, not_remembered):
    for test in ("_is_vnni_supported", "_is_avx2_supported"):
        monkeypatch.setattr(torch.cpu, test, lambda: False, raising=False)
    assert can_multiply_int8() is False


def test_a_torch_that_cannot_tell_or_lacks_the_operators_does_not(monkeypatch, not_remembered):
    for test in ("_is_vnni_supported", "_is_avx2_supported"):
        monkeypatch.delattr(torch.cpu, test, raising=False)
    assert can_multiply_int8() is False
    can_multiply_int8.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: True, raising=False)

    def lacks(*arguments):
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qlinear_prepack'")

    monkeypatch.setattr(int8_linear, "Int8Linear", lacks)
    assert can_multiply_int8() is False


@needs_int8
def test_sums_in_too_few_bits_are_noticed(monkeypatch, not_remembered):
    class InTooFewBits(Int8Linear):
        def _multiply(self, inputs, *others):
            return super()._multiply(inputs.clamp(max=128), *others)

    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True, raising=False)
    monkeypatch.setattr(int8_linear, "Int8Linear", InTooFewBits)
    assert can_multiply_int8() is False


@needs_int8
@torch.no_grad()
def test_few_numbers_of_rows_are_multiplied(monkeypatch):
    """oneDNN compiles a program for each and keeps it: 50 MB for the 200 of one layer."""
    layer = torch.nn.Linear(64, 48)
    fast = Int8Linear(layer.weight, layer.bias)
    inputs = torch.rand(200, 64)
    whole = fast.of_unit(inputs)
    multiply, seen = torch.ops.onednn.qlinear_pointwise, set()

    def counting(rounded, *args):
        seen.add(len(rounded))
        return multiply(rounded, *args)

    monkeypatch.setattr(torch.ops.onednn, "qlinear_pointwise", counting)
    for count in range(1, 201):
        assert torch.equal(fast.of_unit(inputs[:count]), whole[:count])
    assert len(seen) <= 13
