"""A convolution in 8-bit integers, for a network whose weights change no more."""

import torch
from torch import Tensor, nn

from fcln.modeling.int8_linear import most_steps, round_positive, round_weights


class Int8Convolution:
    """A `nn.Conv2d` of stride 1 on numbers >= 0, one photograph at a time. Rounded as in `Int8Linear`."""

    @torch.no_grad()
    def __init__(self, layer: nn.Conv2d):
        """layer: one group, zeros around the map."""
        assert layer.stride == (1, 1) and layer.dilation == (1, 1) and layer.groups == 1
        onednn = torch.ops.onednn
        self._convolve = getattr(onednn, "qconv_pointwise", None) or onednn.qconv2d_pointwise  # before torch 2.8
        rounded, self._steps = round_weights(layer.weight)
        self._padding = [int(side) for side in layer.padding]
        # The step of the inputs, 1.0 here, is told with each call.
        self._packed = onednn.qconv_prepack(rounded, self._steps, 1.0, 0, [1, 1], self._padding, [1, 1], 1, None)
        self._zeros = torch.zeros(len(rounded), dtype=torch.int64)
        self._bias = None if layer.bias is None else layer.bias.detach().clone()
        self._most = most_steps()

    def of_positive(self, maps: Tensor, *, relu: bool = False) -> Tensor:
        """(B, C, H, W) float32 or bfloat16, >= 0 -> (B, out, H', W') float32, channels last in memory.

        The range that a photograph's numbers are rounded in is its own, so that none depends on the others.
        """
        return torch.cat([self._of_one(one, relu) for one in maps.split(1)])

    def _of_one(self, maps: Tensor, relu: bool) -> Tensor:
        by_cell = maps.permute(0, 2, 3, 1).float().contiguous()
        rounded, step = round_positive(by_cell, self._most, rows=1)
        found: Tensor = self._convolve(
            rounded.permute(0, 3, 1, 2), step, 0, self._packed, self._steps, self._zeros, self._bias,
            [1, 1], self._padding, [1, 1], 1, 1.0, 0, torch.float32, "relu" if relu else "none", [], "",
        )  # fmt: skip
        return found
