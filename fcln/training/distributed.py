"""One training on several GPUs, started by torchrun: every process takes its batches, and all share their gradients.

    torchrun --nproc-per-node 4 -m scripts.train ...

Processes hold the same weights because they begin with the same and take the same steps. Losses that compare
photographs compare those of one process's batch.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class World:
    """Which process this is, of how many."""

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device_type: str) -> "World":
        """The processes that torchrun started, by its environment variables; one alone without it."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        if size == 1:
            return cls()
        if device_type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
        return cls(dist.get_rank(), size)

    def leave(self) -> None:
        """Wait for the others and part: a process that just ends may take its threads' abort for its exit status."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()

    def share(self, parameters: Iterable[nn.Parameter], value: float) -> float:
        """Replace gradients by their mean over all processes; returns the mean of a number that each brings.

        A parameter that this process's batch did not reach counts as 0.
        """
        if self.size == 1:
            return value
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([*(gradient.reshape(-1).float() for gradient in gradients), gradients[0].new_tensor([value])])
        dist.all_reduce(flat)
        flat /= self.size
        start = 0
        for gradient in gradients:
            gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
            start += gradient.numel()
        return float(flat[-1])
