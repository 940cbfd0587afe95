"""bfloat16 only where the hardware has it: elsewhere it is slower, and some layers do not run."""

import pytest
import torch

from fcln.agreement import Precision, agree
from fcln.precision import autocast, has_bfloat16


@pytest.fixture(autouse=True)
def not_remembered():
    has_bfloat16.cache_clear()
    yield
    has_bfloat16.cache_clear()


@pytest.mark.parametrize(("avx512_bf16", "amx", "expected"), [(0, 0, False), (1, 0, True), (0, 1, True)])
def test_a_processor_must_have_it(monkeypatch, avx512_bf16, amx, expected) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx512_bf16), raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx), raising=False)
    assert has_bfloat16("cpu") is expected
    with autocast(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") is expected
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (torch.bfloat16 if expected else torch.float32)
    with autocast(torch.device("cpu"), enabled=False):
        assert not torch.is_autocast_enabled("cpu")


def test_a_torch_that_cannot_tell_means_no(monkeypatch) -> None:
    for test in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, test, raising=False)
    assert has_bfloat16("cpu") is False


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_must_have_it_too(monkeypatch, native) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    assert has_bfloat16("cuda") is native


def test_networks_run_whatever_the_processor_has() -> None:
    """On this one: torch says RuntimeError for an LSTM in a bfloat16 that the processor lacks."""
    lstm = torch.nn.LSTM(4, 8)
    with autocast(torch.device("cpu")):
        found, _ = lstm(torch.ones(2, 1, 4))
    assert torch.isfinite(found).all()


def test_ways_that_were_measured_to_agree_and_ways_that_nobody_knows() -> None:
    exact, rounded = (
        [
            str(Precision(backbone, runtime, regions))
            for runtime in runtimes
            for regions in ("float32", "bfloat16", "int8")
        ]
        for backbone, runtimes in (("float32", ("torch", "onnxruntime")), ("bfloat16", ("torch", "openvino")))
    )
    assert exact[0] == "backbone float32 in torch, regions float32"
    for ways in (exact, rounded):
        assert all(agree(one, other) for one in ways for other in ways)
    assert not any(agree(one, other) or agree(other, one) for one in exact for other in rounded)
    ways = exact + rounded
    unknown = str(Precision("int8", "openvino", "int8"))
    assert agree(unknown, unknown)
    assert not any(agree(one, unknown) or agree(unknown, one) for one in ways)
