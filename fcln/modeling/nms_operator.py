"""torchvision's non-maximum suppression without the rest of torchvision, whose import takes 160 MB and 1.3 s."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


@cache
def nms_operator() -> Callable[[Tensor, Tensor, float], Tensor]:
    """`torchvision.ops.nms`: boxes (N, 4), scores (N,), IoU above which the weaker goes -> indices, best first."""
    package = find_spec("torchvision")  # imports nothing
    if package is not None and package.origin is not None:
        for library in Path(package.origin).parent.glob("_C*"):  # `_C.so`, `_C_stable.so`, `_C.pyd`
            with suppress(OSError):
                torch.ops.load_library(library)
    try:
        return torch.ops.torchvision.nms
    except AttributeError:  # another version keeps it elsewhere
        from torchvision.ops import nms

        return nms
