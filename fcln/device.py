"""Where a network runs."""

import torch


def resolved(device: str) -> str:
    """ "cpu" or "cuda" as asked for; of "auto" the GPU if there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
