"""EfficientNet-Lite2 in OpenVINO with bfloat16 (the extra `fast`): torch's answers, as near as bfloat16 can be."""

import builtins
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fcln.backbone_runner import RUNTIMES, BackboneRunner
from fcln.errors import DeviceError
from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.modeling.fcln import FCLN, FCLNConfig
from fcln.openvino_backbone import OpenVinoBackbone
from fcln.precision import has_bfloat16

pytest.importorskip("openvino", reason="the extra `fast` is not installed")


@pytest.fixture(scope="module")
def backbone() -> EfficientNetLite2:
    """Random weights whose values neither vanish nor are all cut off at 6 on the way."""
    torch.manual_seed(3)
    backbone = EfficientNetLite2().eval()
    for layer in backbone.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.3)
    return backbone.requires_grad_(False)


@pytest.fixture(scope="module")
def fast(backbone) -> OpenVinoBackbone:
    return OpenVinoBackbone(backbone, threads=2)


def images(seed: int, height: int = 96, width: int = 128) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(96, 128), (224, 160), (33, 130), (32, 32), (1, 7)])
def test_every_map_is_torchs(backbone, fast, size):
    given = images(0, *size)
    exact, found, expected = OpenVinoBackbone(backbone, threads=1, precision="f32")(given), fast(given), backbone(given)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for stride, x, f, e in zip((8, 16, 32), exact, found, expected, strict=True):
        assert x.dtype == f.dtype == torch.float32
        torch.testing.assert_close(x, e, atol=1e-3, rtol=1e-3)
        # Random weights add up what bfloat16 rounds away: 0.06 to 0.08 of the shipped weights' maps on photographs.
        assert (f - e).norm() < 0.35 * e.norm(), stride


def test_what_it_gave_stays_when_it_is_called_again(fast):
    """Its answers lie in memory that its next call writes to."""
    first = fast(images(1, 32, 32))
    before = [each.clone() for each in first]
    fast(images(2, 32, 32))
    for now, then in zip(first, before, strict=True):
        assert torch.equal(now, then)


def test_threads_do_not_mix_their_photographs(fast):
    alone = [fast(images(seed)) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: fast(images(seed)), range(6)))
    for one, other in zip(alone, together, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)


FIRST_CALLS = """
import sys, threading
import openvino
from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.openvino_backbone import OpenVinoBackbone

backbone = OpenVinoBackbone(EfficientNetLite2().eval(), threads=2)
sys.setswitchinterval(1e-6)
together = threading.Barrier(2)
done = []

def first_call():
    together.wait()
    openvino.Type.f32.to_dtype()  # what every call asks for first
    done.append(True)

threads = [threading.Thread(target=first_call) for _ in range(2)]
for each in threads:
    each.start()
for each in threads:
    each.join()
print(len(done))
"""


def test_threads_that_call_it_first_do_not_wait_for_each_other():
    """Without what its constructor does beforehand, half of such processes never ended."""
    done = subprocess.run([sys.executable, "-c", FIRST_CALLS], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr


@pytest.fixture(scope="module")
def model(backbone) -> FCLN:
    model = FCLN(FCLNConfig.default(), vocabulary=10, pieces=10).eval()
    model.backbone.load_state_dict(backbone.state_dict())
    return model


def test_it_is_chosen_where_the_processor_has_bfloat16_and_only_there(model, monkeypatch):
    for has in (True, False):
        monkeypatch.setattr("fcln.backbone_runner.has_bfloat16", lambda device, has=has: has)
        runner = BackboneRunner(model, torch.device("cpu"))
        expected = ("openvino", "bfloat16") if has else ("onnxruntime", "float32")
        assert (runner.runtime, runner.precision) == expected


def test_without_it_onnx_runtime_is_chosen(model, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.split(".")[0] == "openvino":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert BackboneRunner(model, torch.device("cpu")).runtime == "onnxruntime"
    with pytest.raises(DeviceError, match=r"does not run in openvino here: .*pip install openvino"):
        BackboneRunner(model, torch.device("cpu"), runtime="openvino")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_one_can_be_asked_for(model, runtime):
    if runtime == "openvino" and not has_bfloat16("cpu"):
        pytest.skip("this processor has no bfloat16")
    runner = BackboneRunner(model, torch.device("cpu"), runtime=runtime)
    assert runner.runtime == runtime
    with torch.inference_mode():
        found = runner(images(3, 64, 64))
        for f, e in zip(found, model.features(images(3, 64, 64)), strict=True):
            assert (f - e).norm() < 0.35 * e.norm()


def test_compiled_layers_of_few_shapes_are_kept(backbone, monkeypatch):
    """Without a bound OpenVINO keeps those of every shape that it has seen."""
    import openvino

    compile_model, given = openvino.Core.compile_model, []

    def noting(self, model, device, config):
        given.append(config)
        return compile_model(self, model, device, config)

    monkeypatch.setattr(openvino.Core, "compile_model", noting)
    OpenVinoBackbone(backbone, threads=1)
    assert [config["CPU_RUNTIME_CACHE_CAPACITY"] for config in given] == [64]
