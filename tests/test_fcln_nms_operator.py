"""Suppression without importing torchvision: the same function, and torchvision can be imported before or after."""

import subprocess
import sys

import torch

from fcln.modeling import nms_operator as module
from fcln.modeling.nms_operator import nms_operator


def run(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


BOXES = "torch.tensor([[0., 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]), torch.tensor([.5, .9, .7]), .5"
OURS = f"from fcln.modeling.nms_operator import nms_operator; print(nms_operator()({BOXES}).tolist())"
THEIRS = f"from torchvision.ops import nms; print(nms({BOXES}).tolist())"


def test_torchvision_is_not_imported():
    found = run(f"import sys, torch; {OURS}; print('torchvision' in sys.modules)")
    assert found.split("\n")[:2] == ["[1, 2]", "False"]


def test_torchvision_can_be_imported_before_and_after():
    assert run(f"import torch; {OURS}; {THEIRS}").split() == run(f"import torch; {THEIRS}; {OURS}").split()


def test_it_is_torchvisions_own_where_the_library_is_elsewhere(monkeypatch):
    class Nothing:
        pass

    nms_operator.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.ops, "torchvision", Nothing())
    found = nms_operator()
    nms_operator.cache_clear()
    assert found.__module__ == "torchvision.ops.boxes"
