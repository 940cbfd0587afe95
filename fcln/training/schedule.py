"""How fast a step of training learns."""

import math


def rate(step: int, *, warmup: int, done: float) -> float:
    """Share of the learning rate at a step: linear warm-up, then half a cosine down to nothing.

    warmup: steps. done: share of the run after its warm-up that is over.
    """
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
