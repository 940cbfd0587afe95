"""How a network's backbone runs at test time: in the fastest of the runtimes that are there."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.errors import DeviceError
from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.modeling.fcln import FCLN
from fcln.onnx_backbone import OnnxBackbone
from fcln.openvino_backbone import OpenVinoBackbone
from fcln.precision import autocast, has_bfloat16

RUNTIMES = ("openvino", "onnxruntime", "torch")  # the fastest first
# Photographs of one batch on a GPU, of an EfficientNet-Lite2: see `filled_up`.
_LITE2_BATCHES = (4, 32)


class BackboneRunner:
    """`FCLN.features` of a network whose weights change no more. Safe to share between threads."""

    def __init__(self, model: FCLN, device: torch.device, *, runtime: str = "auto"):
        """Moves nothing: the model is on the device already.

        runtime: one of RUNTIMES, or "auto": OpenVINO where it is installed and the processor has bfloat16, ONNX Runtime
        where there is one for this computer, else torch. DeviceError if the one that is asked for does not run here.
        """
        self._model = model
        self._device = device
        self._onnx: Callable[[Tensor], list[Tensor]] | None = None  # the graph of onnx_backbone, in whatever runtime
        self.runtime = "torch"
        self.precision = "bfloat16" if has_bfloat16(device.type) else "float32"
        model.backbone.to(memory_format=torch.channels_last)
        self._copy: nn.Module | None = None
        if device.type == "cuda" and self.precision == "bfloat16":
            self._copy = _in_bfloat16(model.backbone)
        self._sizes = _LITE2_BATCHES if isinstance(model.backbone, EfficientNetLite2) else ()
        # Depthwise convolutions gain little from bfloat16 in torch on most CPUs and lose much on some.
        self._float32 = device.type == "cpu" and isinstance(model.backbone, EfficientNetLite2)
        if self._float32:
            self.precision = "float32"
            self._choose(runtime)
        if runtime not in ("auto", self.runtime):
            raise DeviceError(f"This backbone does not run in {runtime} here: it needs {_needs(runtime)}.")

    def _choose(self, runtime: str) -> None:
        assert isinstance(self._model.backbone, EfficientNetLite2)
        if runtime in ("auto", "openvino") and has_bfloat16("cpu"):
            with suppress(ImportError):
                self._onnx = OpenVinoBackbone(self._model.backbone, threads=torch.get_num_threads())
                self.runtime, self.precision = "openvino", "bfloat16"
                return
        if runtime in ("auto", "onnxruntime"):
            with suppress(ImportError):  # there may be none for this computer: torch takes twice the time
                self._onnx = OnnxBackbone(self._model.backbone)
                self.runtime = "onnxruntime"

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised RGB on the device -> maps by stride."""
        if self._onnx:
            # Four at a time are no faster, and these runtimes keep what the largest call took: 150 MB more a thread.
            one_by_one = [self._onnx(image) for image in images.split(1)]
            return [torch.cat(maps) for maps in zip(*one_by_one, strict=True)]
        with autocast(self._device, enabled=not self._float32):
            images = images.contiguous(memory_format=torch.channels_last)
            if self._copy is None:
                return self._model.features(images)
            count = len(images)
            more = filled_up(count, self._sizes) - count
            if more:
                images = torch.cat([images, images[:1].expand(more, -1, -1, -1)])
                images = images.contiguous(memory_format=torch.channels_last)
            return [maps[:count] for maps in self._copy(images)]


def filled_up(count: int, sizes: Sequence[int]) -> int:
    """How many images a GPU is given in place of `count`, of which the last are nothing: few sizes, for few shapes.

    Its libraries plan each new shape of a batch, which takes them seconds, and for depthwise convolutions longest: an
    album has many shapes, and each as many sizes of batches as there are here. An EfficientNet-Lite2 is done with an
    image in 0.2 ms.

    sizes: in ascending order; beyond the last of them, the next power of two.
    """
    return next((size for size in sizes if size >= count), 1 << (count - 1).bit_length())


def _in_bfloat16(backbone: nn.Module) -> nn.Module:
    """A copy whose convolutions need not convert their weights for every batch; the sums beside them stay float32."""
    backbone = copy.deepcopy(backbone).requires_grad_(False)
    for module in list(backbone.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                child.to(torch.bfloat16)
                if child.kernel_size == (1, 1) and child.stride == (1, 1) and child.groups == 1:
                    setattr(module, name, _Pointwise(child))
    return backbone


class _Pointwise(nn.Module):
    """A convolution of single pixels as the matrix product that it is.

    cuDNN would add the bias in a pass of its own, and those passes take longer than all convolutions: 20 ms and 15 for
    256 photographs on an H200. And it plans every new shape of a batch, in every thread.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach()[:, :, 0, 0].contiguous(), requires_grad=False)
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), channels last in memory -> (B, C', H, W), likewise."""
        batch, channels, rows, columns = x.shape
        found = F.linear(x.permute(0, 2, 3, 1).reshape(-1, channels), self.weight, self.bias)
        return found.view(batch, rows, columns, -1).permute(0, 3, 1, 2)


def _needs(runtime: str) -> str:
    if runtime == "openvino":
        return "an EfficientNet-Lite2 on a processor with bfloat16, and `pip install openvino`"
    return "an EfficientNet-Lite2 on a processor, and `pip install onnxruntime onnx`"
