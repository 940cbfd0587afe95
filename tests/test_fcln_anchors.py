"""Anchors, coordinates written out."""

import torch
from torch.testing import assert_close

from fcln.modeling.anchors import PAPER_ANCHORS, anchor_grid, scaled_anchors


def test_anchor_grid_written_out():
    # Two cells side by side at stride 16: centres (8, 8) and (24, 8); shapes 10x20 and 32x6.
    grid = anchor_grid(1, 2, 16, torch.tensor([[10.0, 20.0], [32.0, 6.0]]))
    expected = [[3, -2, 13, 18], [-8, 5, 24, 11], [19, -2, 29, 18], [8, 5, 40, 11]]
    assert_close(grid, torch.tensor(expected, dtype=torch.float32))


def test_anchor_grid_goes_through_the_cells_in_reading_order():
    grid = anchor_grid(3, 2, 16, torch.tensor([[2.0, 2.0]]))
    centers = (grid[:, :2] + grid[:, 2:]) / 2
    assert centers.tolist() == [[8, 8], [24, 8], [8, 24], [24, 24], [8, 40], [24, 40]]


def test_the_papers_anchors_are_twelve_in_four_scales_of_three_shapes():
    assert len(PAPER_ANCHORS) == 12
    ratios = [round(w / h, 1) for w, h in PAPER_ANCHORS]
    assert ratios == [0.5, 2.0, 1.0] * 4
    sides = [round((w * h) ** 0.5 / 64) for w, h in PAPER_ANCHORS]
    assert sides == [1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8, 8]


def test_anchors_scale_with_the_photograph():
    assert scaled_anchors(720) == PAPER_ANCHORS
    assert scaled_anchors(320)[:3] == ((20.0, 40.0), (40.0, 20.0), (28.44, 28.44))
