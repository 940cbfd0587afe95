"""In which numbers a network computes: bfloat16 and 8-bit integers where the hardware makes them worth it.

bfloat16 halves the time of convolutions where the hardware has it and not elsewhere. Most computers' processors (AVX2)
do not have it: convolutions there take seven times as long in bfloat16 as in float32, and torch's LSTM may not run at
all.
"""

import re
from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True)
class Precision:
    """How photographs are described, besides by which checkpoint; str() is what a collection remembers of it."""

    backbone: str  # "float32" or "bfloat16"
    runtime: str  # of the backbone: "torch", "onnxruntime", "openvino"
    regions: str  # "float32", "bfloat16" or "int8": the layers that most of a region's time is spent in

    def __str__(self) -> str:
        return f"backbone {self.backbone} in {self.runtime}, regions {self.regions}"


# Of these each combination was compared with float32 throughout: the mean cosine of the same regions' embeddings is
# 0.999 or more (scripts.evaluate.precision; docs/experiments.md says what did not reach it).
_AGREEING = re.compile(r"backbone (float32|bfloat16) in (torch|onnxruntime|openvino), regions (float32|bfloat16|int8)")


def agree(one: str, other: str) -> bool:
    """Whether photographs described in two ways may stand in one collection as if in one; each is str(Precision)."""
    return one == other or all(_AGREEING.fullmatch(each) for each in (one, other))


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether "cpu" or "cuda" multiplies matrices of bfloat16 in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Emulated with plain AVX-512, bfloat16 is slower than float32. Not public, hence the care; False is always right.
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(hasattr(torch.cpu, test) and getattr(torch.cpu, test)() for test in tests)


def autocast(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """bfloat16 for convolutions and matrix products where the device has it; box arithmetic stays in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and has_bfloat16(device.type))
