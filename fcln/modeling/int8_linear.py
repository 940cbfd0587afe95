"""A linear layer in 8-bit integers, for a network whose weights change no more."""

from functools import cache

import torch
from torch import Tensor

from fcln.modeling.processor import processor_has

# Rows are multiplied in multiples of this. oneDNN compiles a program for each number of rows and keeps 1,024 of them:
# as many rows as there happen to be, up to 200 in each step of a phrase, made 145 MB of programs of one layer each.
_ROWS = 16


class Int8Linear:
    """x -> W x + b. The weights are rounded to 255 steps in each row, the inputs to 256 steps of a range, or to 128.

    With AVX-512 VNNI half of bfloat16's time, with AVX2 half of float32's. Of a region code bfloat16 leaves the same:
    cosines of embeddings with those of bfloat16 are 0.99997, and 98 of 100 regions keep their box (40 photographs).
    """

    @torch.no_grad()
    def __init__(self, weight: Tensor, bias: Tensor):
        """weight: (out, in) float32. bias: (out,) float32."""
        self._steps = weight.abs().amax(1).clamp(min=1e-8) / 127
        rounded = (weight / self._steps[:, None]).round().to(torch.int8)
        # The operators that torch.compile puts in the place of quantized layers: they have no other name.
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = bias.detach().clone()
        self._half = torch.tensor(0.5)
        self._most = _most_steps()

    def of_positive(self, inputs: Tensor, *, relu: bool = False) -> Tensor:
        """(N, in) float32, >= 0 -> (N, out) float32. The range is that of these inputs."""
        step = max(inputs.max().item(), 1e-8) / self._most if len(inputs) else 1.0
        rounded = torch.add(self._half, inputs, alpha=1 / step)  # one pass, and one that cuts, as it becomes integers
        return self._multiply(rounded, step, 0, relu)

    def of_unit(self, inputs: Tensor) -> Tensor:
        """(N, in) float32 from -1 to 1 -> (N, out) float32."""
        half = self._most // 2
        return self._multiply((inputs * half).round_().add_(half + 1), 1 / half, half + 1, False)

    def _multiply(self, rounded: Tensor, step: float, zero: int, relu: bool) -> Tensor:
        """rounded: (N, in) float32, 0 to 255, to be cut to integers."""
        count = len(rounded)
        inputs = torch.empty((-(-count // _ROWS) * _ROWS, rounded.shape[1]), dtype=torch.uint8)
        inputs[:count] = rounded
        inputs[count:] = 0
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            inputs, step, zero, self._packed, self._steps, self._zeros, self._bias,
            1.0, 0, torch.float32, "relu" if relu else "none", [], "",
        )  # fmt: skip
        return found[:count]


@cache
def can_multiply_int8() -> bool:
    """Whether this processor multiplies 8-bit integers faster than anything else, and this torch can have it do so."""
    if not (processor_has("_is_vnni_supported") or processor_has("_is_avx2_supported")):
        return False
    try:
        found = Int8Linear(torch.tensor([[1.0, 1.0]]), torch.tensor([0.5])).of_positive(torch.tensor([[255.0, 255.0]]))
    except Exception:  # whatever an operator raises that another version of torch does not have
        return False
    return abs(found.item() - 510.5) < 1.0  # 255 where the two products were added up in too few bits


def _most_steps() -> int:
    """The largest number that inputs are rounded to."""
    # Without VNNI the products of two neighbours are added up in 16 bits, which hold 2 x 127 x 127, not 2 x 255 x 127.
    return 255 if processor_has("_is_vnni_supported") else 127
