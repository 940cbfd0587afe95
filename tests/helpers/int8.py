"""What tests of layers in 8-bit integers share."""

import pytest
import torch

from fcln.modeling.int8_linear import can_multiply_int8

needs_int8 = pytest.mark.skipif(not can_multiply_int8(), reason="this processor has neither AVX-512 VNNI nor AVX2")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(params=["as it is", "without VNNI"], autouse=True)
def processor(request, monkeypatch):
    if request.param == "without VNNI":
        monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False, raising=False)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
