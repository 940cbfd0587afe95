"""Where bfloat16 is worth it: it halves the time of convolutions where the hardware has it and not elsewhere.

Most computers' processors (AVX2) do not have it: convolutions there take seven times as long in bfloat16 as in float32,
and torch's LSTM may not run at all.
"""

from functools import cache

import torch

from fcln.modeling.processor import processor_has


@cache
def has_bfloat16(device_type: str) -> bool:
    """Whether "cpu" or "cuda" multiplies matrices of bfloat16 in hardware."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Emulated with plain AVX-512, bfloat16 is slower than float32.
    return any(map(processor_has, ("_is_avx512_bf16_supported", "_is_amx_tile_supported")))


def autocast(device: torch.device, *, enabled: bool = True) -> torch.autocast:
    """bfloat16 for convolutions and matrix products where the device has it; box arithmetic stays in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled and has_bfloat16(device.type))
