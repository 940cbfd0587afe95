"""The recognition network (paper 3.3): region features -> region code, final score, final box offsets."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcln.modeling.int8_linear import Int8Linear


class RecognitionNetwork(nn.Module):
    """Two fully connected layers make the region code; one linear layer each scores it and refines its box.

    With `context`, the code also sees the whole photograph (its mean features) and where the box lies in it, each added
    before the last ReLU. The paper has neither; what a region is and which photograph it comes from both need them
    (Yang et al., CVPR 2017, gain most of their 73 % from context).
    """

    def __init__(
        self, channels: int, size: int, hidden: int, code: int, *, context: int, dropout: float, rank: int = 0
    ):
        """
        Args:
            context: channels of the context vector, 0 for the paper's network.
            rank: fc6 is a product of two matrices over so many numbers (truncated SVD, Girshick, "Fast R-CNN", ICCV
                2015, 3.1; see `scripts.train.truncate_fc6`); 0: one matrix.
        """
        super().__init__()
        self.size = size
        inputs = channels * size * size
        self.fc6: nn.Module
        if rank:
            self.fc6 = nn.Sequential(nn.Linear(inputs, rank, bias=False), nn.Linear(rank, hidden))
        else:
            self.fc6 = nn.Linear(inputs, hidden)
        self.fc7 = nn.Linear(hidden, code)
        self.context = nn.Linear(context, code, bias=False) if context else None
        self.geometry = nn.Linear(5, code, bias=False) if context else None
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Linear(code, 1)
        self.offset = nn.Linear(code, 4)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)
        nn.init.zeros_(self.offset.weight)  # refinement starts as "leave the box where it is"
        nn.init.zeros_(self.offset.bias)
        self._fc6_by_point: Tensor | None = None  # see prepare_inference
        self._in_int8: tuple[Int8Linear, Int8Linear] | None = None  # fc6 by point, fc7

    @torch.no_grad()
    def prepare_inference(self, dtype: torch.dtype) -> None:
        """Keep a copy of fc6's weights as regions without gradients lie in memory on a CPU, channels last.

        dtype: in which fc6 will run, and fc7 if it is torch.int8. For a network whose weights change no more: spares a
        copy of all regions, and of the weights where bfloat16 is asked for.
        """
        first, _ = self._fc6()
        by_point = first.weight.view(len(first.weight), -1, self.size, self.size).permute(0, 2, 3, 1).flatten(1)
        if dtype == torch.int8:
            self._in_int8 = Int8Linear(by_point, first.bias), Int8Linear(self.fc7.weight, self.fc7.bias)
        else:
            self._fc6_by_point = by_point.to(dtype)

    def forward(self, regions: Tensor, context: Tensor, geometry: Tensor, deep: Tensor | None = None) -> Tensor:
        """regions (N, C, size, size), context (B, context), geometry (N, 5) -> codes (N, code), ReLU: >= 0.

        The N regions are of B photographs, as many of each, one photograph's after the other's.
        deep: (N, code), what the deepest map shows of each region, added likewise; None: there is none.
        """
        if self._in_int8 is not None:
            code = self._int8_code(regions, len(context))
        else:
            if self._fc6_by_point is None:
                hidden = self.fc6(regions.flatten(1))
            else:
                first, second = self._fc6()
                hidden = second(F.linear(regions.permute(0, 2, 3, 1).flatten(1), self._fc6_by_point, first.bias))
            code = self.fc7(self.dropout(F.relu(hidden)))
        if self.context is not None and self.geometry is not None:
            by_photograph = code.view(len(context), -1, code.shape[1]) + self.context(context)[:, None]
            code = by_photograph.flatten(0, 1) + self.geometry(geometry)
        if deep is not None:
            code = code + deep
        return self.dropout(F.relu(code))

    def _fc6(self) -> tuple[nn.Linear, nn.Module]:
        """Its layer that reads regions, and what comes after it before the ReLU."""
        if isinstance(self.fc6, nn.Sequential):
            return self.fc6[0], self.fc6[1]  # type: ignore[return-value]
        return self.fc6, nn.Identity()  # type: ignore[return-value]

    def _int8_code(self, regions: Tensor, photographs: int) -> Tensor:
        """What fc7 says, (N, code) float32; one photograph at a time, so that none depends on the others."""
        assert self._in_int8 is not None
        fc6, fc7 = self._in_int8
        by_point = regions.permute(0, 2, 3, 1).flatten(1).float()
        second = self._fc6()[1]
        codes = []
        for each in by_point.chunk(photographs):
            hidden = fc6.of_positive(each, relu=isinstance(second, nn.Identity))
            codes.append(fc7.of_positive(F.relu(second(hidden)).float()))
        return torch.cat(codes)

    def score_and_offset(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """codes (N, code) -> final objectness logits (N,), offsets (N, 4) of the final box from the proposal."""
        return self.score(codes).squeeze(-1).float(), self.offset(codes).float()


def mean_features(features: Tensor, sizes: Tensor, stride: int) -> Tensor:
    """Mean features of each photograph, padding left out: (B, C, H, W), sizes (B, 2) width height pixels -> (B, C)."""
    rows, columns = features.shape[-2:]
    y = (torch.arange(rows, device=features.device) * stride)[None, :, None] < sizes[:, 1, None, None]
    x = (torch.arange(columns, device=features.device) * stride)[None, None, :] < sizes[:, 0, None, None]
    mask = (x & y)[:, None].to(features.dtype)
    return (features * mask).sum((2, 3)) / mask.sum((2, 3))
