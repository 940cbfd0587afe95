"""The backbones: maps by stride, batch norms folded without changing what is computed, where the strides are."""

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.testing import assert_close

from fcln.errors import CheckpointError
from fcln.modeling.backbone import (
    CHANNELS,
    freeze_first_layers,
    load_imagenet,
    make_backbone,
    strides_on_conv1,
)
from fcln.modeling.normalization import normalize


def unfolded(resnet: nn.Module, images: Tensor) -> list[Tensor]:
    """layer2 and layer3 of torchvision's own network."""
    x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
    stride8 = resnet.layer2(resnet.layer1(x))
    return [stride8, resnet.layer3(stride8)]


def random_resnet(name: str) -> nn.Module:
    """torchvision's network with batch norms that do something."""
    torch.manual_seed(3)
    resnet = getattr(torchvision.models, name)(weights=None)
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return resnet.eval()


def save(resnet: nn.Module, path: Path, **metadata: str) -> Path:
    state = {k: v for k, v in resnet.state_dict().items() if not k.startswith(("layer4", "fc"))}
    save_file(state, path, metadata=metadata)
    return path


def empty_backbone(name: str, *, caffe_strides: bool = True) -> nn.Module:
    """A backbone whose weights wait to be loaded; drawing them at random takes longer."""
    with torch.device("meta"):
        backbone = make_backbone(name, caffe_strides=caffe_strides)
    return backbone.to_empty(device="cpu")


@pytest.fixture(scope="module")
def resnet50() -> nn.Module:
    """Made once: a second of work."""
    return random_resnet("resnet50")


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    return random_resnet("resnet18")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("vgg16", {16: 512}),
        ("resnet50", {8: 512, 16: 1024}),
        ("resnet18", {8: 128, 16: 256}),
        ("efficientnet_lite2", {8: 48, 16: 120, 32: 1280}),
    ],
)
def test_maps_have_the_strides_and_channels_that_are_told(name, channels):
    with torch.device("meta"):
        backbone = make_backbone(name)
        maps = backbone(torch.empty(2, 3, 96, 176))
    assert CHANNELS[name] == channels
    expected = [(2, c, 96 // stride, -(-176 // stride)) for stride, c in channels.items()]
    assert [tuple(m.shape) for m in maps] == expected  # 176 is no multiple of 32


@torch.no_grad()
def test_stride_8_is_layer2s_own_and_stride_16_layer3s(images):
    torch.manual_seed(0)
    backbone = make_backbone("resnet18")
    stride8, stride16 = backbone(images)
    assert stride16.shape == (2, 256, 4, 6) and stride8.shape == (2, 128, 8, 12)
    stem, layer1, layer2, layer3 = backbone
    assert_close(stride8, layer2(layer1(stem(images))))
    assert_close(stride16, layer3(stride8))


def test_the_first_stages_of_a_resnet_can_stay_as_they_are():
    backbone = make_backbone("resnet18")
    freeze_first_layers(backbone, "resnet18", stages=2)
    trained = [all(p.requires_grad for p in stage.parameters()) for stage in backbone]
    assert trained == [False, False, True, True]


def test_an_unknown_backbone_is_refused():
    with pytest.raises(ValueError, match="alexnet"):
        make_backbone("alexnet")


def test_vgg16_ends_before_the_last_pooling():
    with torch.device("meta"):
        backbone = make_backbone("vgg16")
    assert len(backbone) == 30  # conv1_1 to relu5_3
    assert sum(isinstance(m, nn.Conv2d) for m in backbone) == 13
    assert sum(isinstance(m, nn.MaxPool2d) for m in backbone) == 4


def test_vgg16_keeps_the_first_four_convolutions_frozen():
    with torch.device("meta"):
        backbone = make_backbone("vgg16")
    freeze_first_layers(backbone, "vgg16")
    trained = [m.weight.requires_grad and m.bias.requires_grad for m in backbone if isinstance(m, nn.Conv2d)]
    assert trained == [False] * 4 + [True] * 9


def test_a_resnet_is_trained_whole():
    with torch.device("meta"):
        backbone = make_backbone("resnet18")
    freeze_first_layers(backbone, "resnet18")
    assert all(parameter.requires_grad for parameter in backbone.parameters())


@torch.no_grad()
def test_a_folded_resnet18_computes_what_torchvisions_does(resnet18, images, tmp_path):
    backbone = empty_backbone("resnet18")
    load_imagenet(backbone, "resnet18", save(resnet18, tmp_path / "w.safetensors"))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    assert_close(backbone(images), unfolded(resnet18, images), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_a_folded_resnet50_computes_what_torchvisions_does(resnet50, images, tmp_path):
    backbone = empty_backbone("resnet50", caffe_strides=False)
    load_imagenet(backbone, "resnet50", save(resnet50, tmp_path / "w.safetensors"))
    expected = unfolded(resnet50, images)
    assert_close(backbone(images), expected, atol=1e-3, rtol=1e-3)
    assert expected[1].std() > 0.1  # the comparison is not one of zeros


@torch.no_grad()
def test_caffes_resnet50_has_its_strides_on_conv1(resnet50, images, tmp_path):
    path = save(resnet50, tmp_path / "w.safetensors", stride_placement="layer2.0 and layer3.0 stride on conv1 (Caffe)")
    backbone = empty_backbone("resnet50", caffe_strides=True)
    load_imagenet(backbone, "resnet50", path)
    strides = [(layer[0].conv1.stride, layer[0].conv2.stride) for layer in (backbone[2], backbone[3])]
    assert strides == [((2, 2), (1, 1))] * 2
    blocks = [resnet50.layer2[0], resnet50.layer3[0]]
    try:
        for block in blocks:
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
        expected = unfolded(resnet50, images)
    finally:
        for block in blocks:
            block.conv1.stride, block.conv2.stride = (1, 1), (2, 2)
    assert_close(backbone(images), expected, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(expected[1], unfolded(resnet50, images)[1], atol=0.05)  # it makes a difference


def test_vgg16_reads_torchvisions_names_and_leaves_the_classifier(tmp_path):
    backbone = empty_backbone("vgg16")
    names = backbone.state_dict()
    state = {
        f"features.{name}": torch.full(t.shape, n, dtype=torch.float16) for n, (name, t) in enumerate(names.items())
    }
    save_file(state | {"classifier.0.bias": torch.zeros(4096)}, tmp_path / "w.safetensors")
    load_imagenet(backbone, "vgg16", tmp_path / "w.safetensors")
    assert [t.flatten()[0].item() for t in backbone.state_dict().values()] == list(range(26))


def test_weights_for_the_other_strides_are_refused(resnet50, tmp_path):
    path = save(resnet50, tmp_path / "w.safetensors", stride_placement="on conv1")
    assert strides_on_conv1(path) and not strides_on_conv1(None)
    backbone = empty_backbone("resnet50", caffe_strides=False)
    with pytest.raises(CheckpointError, match="strides"):
        load_imagenet(backbone, "resnet50", path)


@pytest.mark.parametrize("drop", ["layer3.1.conv2.weight", "bn1.running_mean"])
def test_a_file_that_lacks_a_tensor_is_refused(resnet18, tmp_path, drop):
    state = {k: v for k, v in resnet18.state_dict().items() if k != drop}
    save_file(state, tmp_path / "w.safetensors")
    backbone = empty_backbone("resnet18")
    with pytest.raises(CheckpointError, match=drop):
        load_imagenet(backbone, "resnet18", tmp_path / "w.safetensors")


def test_a_file_of_another_network_is_refused(resnet18, tmp_path):
    path = save(resnet18, tmp_path / "w.safetensors")
    for name in ("vgg16", "resnet50"):
        with pytest.raises(CheckpointError, match=f"does not fit {name}"):
            load_imagenet(empty_backbone(name), name, path)


def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path):
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04not tensors")
    backbone = empty_backbone("resnet18")
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        load_imagenet(backbone, "resnet18", tmp_path / "w.safetensors")


def test_normalize_written_out():
    pixels = torch.tensor([255, 0, 51], dtype=torch.uint8).view(1, 3, 1, 1)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert_close(normalize(pixels).flatten(), torch.tensor(expected))
