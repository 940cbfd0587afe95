"""EfficientNet-Lite2 in OpenVINO with bfloat16: where the processor has it, in little more than half of the time.

For those who install the extra `fast`. The graph is that of `onnx_backbone`, made from the network's own weights.
"""

from __future__ import annotations

import io

import torch
from torch import Tensor

from fcln.modeling.efficientnet_lite import EfficientNetLite2
from fcln.onnx_backbone import onnx_graph

_COMPILED_LAYERS = 64  # fewer than one shape needs: a call of the shape before asks for none


class OpenVinoBackbone:
    """Maps of `EfficientNetLite2.forward`, without gradients. Safe to share between threads."""

    def __init__(self, backbone: EfficientNetLite2, *, threads: int, precision: str = "bf16"):
        """threads: calls that go on at one moment, in one thread each; more wait. precision: "bf16" or "f32".

        ImportError where OpenVINO is not installed.
        """
        import openvino

        core = openvino.Core()
        graph = core.read_model(io.BytesIO(onnx_graph(backbone).SerializeToString()))
        self._compiled = core.compile_model(
            graph,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                "ENABLE_CPU_PINNING": False,  # other programs would be pinned to no core
                # Compiled layers of shapes that it has seen: 5,000 otherwise, 70 MB. Costs 2 ms at a change of shape.
                "CPU_RUNTIME_CACHE_CAPACITY": _COMPILED_LAYERS,
            },
        )
        self._requests: list[openvino.InferRequest] = []  # that nobody uses
        # Before threads do: two that ask for the first type of all wait for each other without end (2026.4: one holds
        # Python's lock, the other the binding's table of types).
        openvino.Type.f32.to_dtype()

    def __call__(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) float32 on the CPU, normalised RGB, any sides -> maps by stride, float32."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        found = request.infer({0: images.contiguous().numpy()}, share_inputs=True, share_outputs=True)
        # Copied: what the request holds changes with its next call.
        maps = [torch.from_numpy(found[n]).to(memory_format=torch.channels_last, copy=True) for n in range(len(found))]
        self._requests.append(request)
        return maps
