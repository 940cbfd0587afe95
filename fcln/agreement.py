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


# Ways whose backbones compute in the same numbers agree: the mean cosine of the same regions' embeddings is 0.99999
# (110 photographs, scripts.evaluate.precision). A backbone in bfloat16 and one in float32: 0.99895, just short of the
# 0.999 that is asked for.
_KNOWN = re.compile(r"backbone (float32|bfloat16) in (?:torch|onnxruntime|openvino), regions (?:float32|bfloat16|int8)")


def agree(one: str, other: str) -> bool:
    """Whether photographs described in two ways may stand in one collection as if in one; each is str(Precision)."""
    if one == other:
        return True
    known = [_KNOWN.fullmatch(each) for each in (one, other)]
    return len({match and match[1] for match in known} - {None}) == 1 and all(known)
