"""How a GPU runs a backbone, on a processor: in bfloat16, single pixels as matrix products, in few shapes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fcln.backbone_runner import BackboneRunner, _in_bfloat16, _Pointwise, filled_up
from fcln.checkpoint import new_model
from fcln.modeling.backbone import make_backbone
from helpers.small_world import tiny_config, vocabulary, word_pieces


@pytest.mark.parametrize(("name", "pointwise"), [("efficientnet_lite2", 42), ("resnet50", 25), ("vgg16", 0)])
@torch.inference_mode()
def test_its_copy_computes_what_the_backbone_computes(name: str, pointwise: int) -> None:
    torch.manual_seed(0)
    backbone = make_backbone(name).eval().to(memory_format=torch.channels_last)
    images = torch.randn(2, 3, 64, 96).contiguous(memory_format=torch.channels_last)
    expected = backbone(images)
    copy = _in_bfloat16(backbone)
    assert sum(isinstance(module, _Pointwise) for module in copy.modules()) == pointwise
    assert all(p.dtype == torch.bfloat16 for p in copy.parameters())
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
    assert not any(isinstance(module, _Pointwise) for module in backbone.modules())
    with torch.autocast("cpu", torch.bfloat16):
        as_before, found = backbone(images), copy(images)
    for one, other, exact in zip(found, as_before, expected, strict=True):
        assert one.shape == exact.shape
        scale = exact.norm()
        assert (one.float() - exact).norm() < 1.5 * (other.float() - exact).norm() + 1e-3 * scale
        assert (one.float() - exact).norm() < 0.05 * scale


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((), [1, 2, 4, 8, 8, 32, 64]), ((4, 32), [4, 4, 4, 32, 32, 32, 64])],
)
def test_batches_are_filled_up_to_few_sizes(sizes: tuple[int, ...], expected: list[int]) -> None:
    assert [filled_up(count, sizes) for count in (1, 2, 3, 5, 7, 32, 33)] == expected


@pytest.mark.parametrize(
    ("backbone", "given"), [("resnet18", [1, 2, 4, 8, 8]), ("efficientnet_lite2", [4, 4, 4, 32, 32])]
)
@torch.inference_mode()
def test_what_is_filled_up_changes_nothing(backbone: str, given: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(tiny_config(), backbone=backbone, deep_features=backbone == "efficientnet_lite2")
    model = new_model(config, vocabulary(), word_pieces()).eval()
    runner = BackboneRunner(model, torch.device("cpu"), runtime="torch")
    seen: list[int] = []

    class Counting(nn.Module):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            seen.append(len(images))
            return model.features(images)

    images = torch.randn(7, 3, 64, 64)
    expected = {count: runner(images[:count]) for count in (1, 2, 3, 5, 7)}
    monkeypatch.setattr(runner, "_copy", Counting())
    for count, maps in expected.items():
        for one, other in zip(runner(images[:count]), maps, strict=True):
            torch.testing.assert_close(one, other)
    assert seen == given


@torch.inference_mode()
def test_other_runtimes_see_one_photograph_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep the memory that their largest call took, in each thread."""
    model = new_model(tiny_config(), vocabulary(), word_pieces()).eval()
    runner = BackboneRunner(model, torch.device("cpu"), runtime="torch")
    images = torch.randn(3, 3, 64, 64)
    expected = model.features(images)
    seen: list[int] = []

    def counting(images: torch.Tensor) -> list[torch.Tensor]:
        seen.append(len(images))
        return model.features(images)

    monkeypatch.setattr(runner, "_onnx", counting)
    found = runner(images)
    assert seen == [1, 1, 1]
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)
