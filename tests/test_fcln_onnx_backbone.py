"""EfficientNet-Lite2 in ONNX Runtime: torch's answers, whatever the photograph's sides."""

import builtins
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from matplotlib.cbook import get_sample_data
from PIL import Image
from torch import Tensor, nn
from torch.testing import assert_close

import fcln.backbone_runner
from fcln.backbone_runner import BackboneRunner
from fcln.checkpoint import Checkpoint, load_checkpoint, new_model
from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.modeling.normalization import normalize
from fcln.onnx_backbone import OnnxBackbone, onnx_graph
from fcln.predictor import Predictor


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """A real one, 512x600."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as image:
        return image.convert("RGB")


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite2:
    """Random weights whose values neither vanish nor are all cut off at 6 on the way."""
    torch.manual_seed(3)
    backbone = EfficientNetLite2().eval()
    for layer in backbone.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.3)
    return backbone.requires_grad_(False)


def seen(photograph: Image.Image, width: int, height: int) -> Tensor:
    """Normalised, (2, 3, height, width): the photograph and its mirror image."""
    pixels = torch.from_numpy(np.array(photograph.resize((width, height)))).permute(2, 0, 1)[None]
    return normalize(torch.cat([pixels, pixels.flip(3)]))


@pytest.fixture(scope="module")
def fast(backbone: EfficientNetLite2) -> OnnxBackbone:
    return OnnxBackbone(backbone, threads=1)


@pytest.mark.parametrize("size", [(448, 336), (336, 448), (225, 161), (97, 130), (33, 448), (32, 32), (7, 1)])
def test_every_map_is_torchs(backbone, fast, photograph, size):
    images = seen(photograph, *size)
    found, expected = fast(images), backbone(images)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for stride, f, e in zip((8, 16, 32), found, expected, strict=True):
        assert f.dtype == torch.float32 and e.std() > 0.1, stride  # there is something to see
        assert_close(f, e, atol=1e-3, rtol=1e-3)


def test_images_of_any_memory_format(backbone, fast, photograph):
    images = seen(photograph, 96, 64)
    for f, e in zip(fast(images.contiguous(memory_format=torch.channels_last)), fast(images), strict=True):
        assert torch.equal(f, e)


def test_the_graph_is_valid_and_its_sides_are_free(backbone):
    graph = onnx_graph(backbone)
    onnx.checker.check_model(graph, full_check=True)
    (images,) = graph.graph.input
    assert [side.dim_param or side.dim_value for side in images.type.tensor_type.shape.dim] == [
        "batch", 3, "height", "width",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, backbone) -> Checkpoint:
    """`tiny_checkpoint` with the default's maps."""
    tiny = load_checkpoint(tiny_checkpoint)
    config = replace(tiny.model.config, backbone="efficientnet_lite2", deep_features=True, image_size=160)
    torch.manual_seed(0)
    model = new_model(config, tiny.vocabulary, tiny.pieces)
    model.backbone.load_state_dict(backbone.state_dict())
    torch.nn.init.normal_(model.phrases.pieces)
    torch.nn.init.normal_(model.localization.score.weight)
    torch.nn.init.normal_(model.recognition.score.weight)
    return replace(tiny, model=model.eval())


def without_onnxruntime(monkeypatch) -> None:
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.split(".")[0] in ("onnx", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_a_photograph_is_described_alike_without_onnx_runtime(checkpoint, photograph, monkeypatch):
    images = [photograph, photograph.crop((100, 0, 411, 500))]
    fast = Predictor(checkpoint, "", device="cpu", runtime="onnxruntime")
    assert fast._backbone._onnx is not None and fast.precision.runtime == "onnxruntime"
    with monkeypatch.context() as patched:
        without_onnxruntime(patched)
        plain = Predictor(checkpoint, "", device="cpu")
    assert plain._backbone._onnx is None and plain.precision.runtime == "torch"
    for f, p in zip(fast.describe(images, max_regions=12), plain.describe(images, max_regions=12), strict=True):
        assert len(f.boxes) == len(p.boxes) > 3
        for a, b in ((f.boxes, p.boxes), (f.scores, p.scores), (f.embeddings, p.embeddings)):
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)
        assert f.phrases == p.phrases


def test_torch_runs_this_backbone_in_float32_whatever_the_processor_has(checkpoint, photograph, monkeypatch):
    without_onnxruntime(monkeypatch)
    runner = BackboneRunner(checkpoint.model, torch.device("cpu"))
    images = seen(photograph, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert {found.dtype for found in runner(images)} == {torch.float32}


def test_other_backbones_run_in_torch(tiny_checkpoint):
    assert BackboneRunner(load_checkpoint(tiny_checkpoint).model, torch.device("cpu"))._onnx is None


def test_one_that_is_only_asked_makes_no_graph(checkpoint, tiny_checkpoint, monkeypatch):
    for name in ("OnnxBackbone", "OpenVinoBackbone"):
        monkeypatch.setattr(fcln.backbone_runner, name, None)  # calling it fails
    Predictor(replace(checkpoint, model=_without_backbone(checkpoint)), "", device="cpu")


def _without_backbone(checkpoint: Checkpoint) -> nn.Module:
    return new_model(checkpoint.model.config, checkpoint.vocabulary, checkpoint.pieces, backbone=False).eval()
