"""A linear layer in 8-bit integers, for a network whose weights change no more."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from fcln.modeling.processor import processor_has

# Rows are multiplied in multiples of this. oneDNN compiles a program for each number of rows and keeps 1,024 of them:
# as many rows as there happen to be, up to 200 in each step of a phrase, made 145 MB of programs of one layer each.
_ROWS = 16
_HALF = torch.tensor(0.5)


class Int8Linear:
    """x -> W x + b. The weights are rounded to 255 steps in each row, the inputs to 256 steps of a range, or to 128.

    With AVX-512 VNNI half of bfloat16's time, with AVX2 half of float32's. Of a region code bfloat16 leaves the same:
    cosines of embeddings with those of bfloat16 are 0.99997, and 98 of 100 regions keep their box (40 photographs).
    """

    @torch.no_grad()
    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        """weight: (out, in) float32. bias: (out,) float32; None: there is none."""
        rounded, self._steps = round_weights(weight)
        # The operators that torch.compile puts in the place of quantized layers: they have no other name.
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._bias = None if bias is None else bias.detach().clone()
        self._most = most_steps()

    def of_positive(self, inputs: Tensor, *, relu: bool = False) -> Tensor:
        """(N, in) float32, >= 0 -> (N, out) float32. The range is that of these inputs."""
        rounded, step = round_positive(inputs, self._most, rows=_filled_up(len(inputs)))
        return self._multiply(rounded, len(inputs), step, 0, relu)

    def of_unit(self, inputs: Tensor) -> Tensor:
        """(N, in) float32 from -1 to 1 -> (N, out) float32."""
        half = self._most // 2
        rounded = (inputs * half).round_().add_(half + 1)
        return self._multiply(_cut(rounded, _filled_up(len(inputs))), len(inputs), 1 / half, half + 1, False)

    def _multiply(self, inputs: Tensor, count: int, step: float, zero: int, relu: bool) -> Tensor:
        """inputs: uint8, of which the first `count` rows are wanted."""
        found: Tensor = torch.ops.onednn.qlinear_pointwise(
            inputs, step, zero, self._packed, self._steps, self._zeros, self._bias,
            1.0, 0, torch.float32, "relu" if relu else "none", [], "",
        )  # fmt: skip
        return found[:count]


def round_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (out, ...) as whole numbers from -127 to 127 of a step for each output, int8, and the steps (out,)."""
    rows = weight.flatten(1)
    steps = rows.abs().amax(1).clamp(min=1e-8) / 127
    return (rows / steps[:, None]).round().to(torch.int8).view_as(weight), steps


def round_positive(inputs: Tensor, most: int, *, rows: int) -> tuple[Tensor, float]:
    """Numbers >= 0, float32, as whole ones from 0 to `most` of a step, uint8, and the step; `rows`: see `_cut`."""
    step = max(inputs.amax().item(), 1e-8) / most if len(inputs) else 1.0
    # One pass that adds a half, and one that cuts.
    return _cut(torch.add(_HALF, inputs, alpha=1 / step), rows), step


def _cut(numbers: Tensor, rows: int) -> Tensor:
    """The whole parts of float32 numbers from 0 to 255 as uint8, with zeros below up to so many rows."""
    found = torch.empty((rows, *numbers.shape[1:]), dtype=torch.uint8)
    # By NumPy: torch 2.14 takes eight times as long, a number at a time.
    np.copyto(found[: len(numbers)].numpy(), numbers.numpy(), casting="unsafe")
    found[len(numbers) :] = 0
    return found


def _filled_up(count: int) -> int:
    return -(-count // _ROWS) * _ROWS


@cache
def can_multiply_int8() -> bool:
    """Whether this processor multiplies 8-bit integers faster than anything else, and this torch can have it do so."""
    if not (processor_has("_is_vnni_supported") or processor_has("_is_avx2_supported")):
        return False
    try:
        from fcln.modeling.int8_convolution import Int8Convolution  # which imports this module

        Int8Convolution(torch.nn.Conv2d(1, 1, 1)).of_positive(torch.ones(1, 1, 1, 1))
        found = Int8Linear(torch.tensor([[1.0, 1.0]]), torch.tensor([0.5])).of_positive(torch.tensor([[255.0, 255.0]]))
    except Exception:  # whatever an operator raises that another version of torch does not have
        return False
    return abs(found.item() - 510.5) < 1.0  # 255 where the two products were added up in too few bits


def most_steps() -> int:
    """The largest number that inputs are rounded to."""
    # Without VNNI the products of two neighbours are added up in 16 bits, which hold 2 x 127 x 127, not 2 x 255 x 127.
    return 255 if processor_has("_is_vnni_supported") else 127
