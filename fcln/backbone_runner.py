"""How a network's backbone runs at test time: in ONNX Runtime where that is faster, else in torch."""

from contextlib import suppress

import torch
from torch import Tensor

from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.modeling.fcln import FCLN
from fcln.onnx_backbone import OnnxBackbone
from fcln.precision import autocast


class BackboneRunner:
    """`FCLN.features` of a network whose weights change no more."""

    def __init__(self, model: FCLN, device: torch.device):
        """Moves nothing: the model is on the device already."""
        self._model = model
        self._device = device
        self._onnx: OnnxBackbone | None = None
        model.backbone.to(memory_format=torch.channels_last)
        # Depthwise convolutions gain little from bfloat16 on most CPUs and lose much on some: always float32 there.
        self._float32 = device.type == "cpu" and isinstance(model.backbone, EfficientNetLite2)
        if self._float32:
            with suppress(ImportError):  # there may be none for this computer: torch takes twice the time
                self._onnx = OnnxBackbone(model.backbone, threads=torch.get_num_threads())  # type: ignore[arg-type]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised RGB on the device -> maps by stride."""
        if self._onnx:
            return self._onnx(images)
        with autocast(self._device, enabled=not self._float32):
            return self._model.features(images.contiguous(memory_format=torch.channels_last))
