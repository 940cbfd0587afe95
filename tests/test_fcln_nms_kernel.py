"""The GPU's suppression, in Triton's interpreter: what the kernel says, without a GPU to say it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[1]
COMPARED = """
import torch
from fcln.modeling.localization import nms
from fcln.modeling.nms_kernel import suppress

generator = torch.Generator().manual_seed(0)
for count, most, iou in ((1, 5, 0.5), (90, 40, 0.3), (90, 90, 0.7), (33, 1, 0.1)):
    low = torch.rand(3, count, 2, generator=generator) * 100
    boxes = torch.cat([low, low + 1 + 60 * torch.rand(3, count, 2, generator=generator)], -1)
    taking_part = torch.rand(3, count, generator=generator) < 0.8
    taking_part[2] = False
    kept, counts = suppress(boxes, taking_part, iou=iou, most=most)
    assert kept.shape == counts.shape == (3, most) and kept.dtype == torch.int64 and counts.dtype == torch.bool
    best_first = -torch.arange(count, dtype=torch.float32)
    for own, part, row, counting in zip(boxes, taking_part, kept, counts):
        places = part.nonzero()[:, 0]
        expected = places[
            nms(own[part], best_first[part], iou=iou, pre_nms_top_n=len(places), post_nms_top_n=most)
        ] if len(places) else places
        assert row[counting].tolist() == expected.tolist()
        assert not row[~counting].any()
nothing, counts = suppress(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool), iou=0.5, most=3)
assert nothing.shape == (2, 3) and not counts.any()
"""


def test_it_keeps_what_the_loop_keeps() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", COMPARED], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
