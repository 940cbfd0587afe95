"""Which ways of describing photographs agree so well that one collection may hold both. No torch."""

import re
from dataclasses import dataclass


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
