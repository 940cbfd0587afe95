"""Geometry of boxes, worked out by hand."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from fcln.boxes import iou
from fcln.modeling import boxes


def test_iou_of_two_squares_drawn_on_graph_paper():
    # Two 10x10 squares, the second moved by 5 both ways: they share 5x5 = 25 of 100 + 100 - 25 = 175.
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor([[5.0, 5.0, 15.0, 15.0], [0.0, 0.0, 10.0, 10.0], [10.0, 0.0, 20.0, 10.0], [2.0, 2.0, 4.0, 7.0]])
    assert_close(boxes.iou(a, b), torch.tensor([[25 / 175, 1.0, 0.0, 10 / 100]]))
    assert_close(boxes.iou(b, a), boxes.iou(a, b).T)


def test_iou_of_a_box_without_area_is_zero_and_finite():
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert_close(boxes.iou(point, point), torch.zeros(1, 1))


def test_boxes_move_to_the_mean_of_those_that_vote_for_them():
    found = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
    voters = torch.tensor(
        [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 5.0], [20.0, 20.0, 30.0, 30.0]]
    )
    scores = torch.tensor([1.0, 0.5, 0.9, 0.9])
    # The second overlaps by 0.8 and weighs (0.8 * 0.5)^2 = 0.16; the third overlaps by 0.5 only.
    lower = (1 * 10 + 0.16 * 8) / 1.16
    expected = torch.tensor([[0.0, 0.0, 10.0, lower], [50.0, 50.0, 60.0, 60.0]])
    assert_close(boxes.vote(found, voters, scores, least=0.6), expected)
    # Of several photographs each its own; a score of 0 is no vote.
    both = boxes.vote(
        found[None].repeat(2, 1, 1), voters[None].repeat(2, 1, 1), torch.stack([scores, scores * 0]), least=0.6
    )
    assert_close(both, torch.stack([expected, found]))


def test_area_and_centers():
    box = torch.tensor([[2.0, 4.0, 12.0, 10.0]])
    assert_close(boxes.area(box), torch.tensor([60.0]))
    assert_close(boxes.to_centers(box), torch.tensor([[7.0, 7.0, 10.0, 6.0]]))


def test_apply_offsets_is_the_papers_formula():
    # Centre (10, 20), 8 wide and 4 high. x = 10 + 0.5*8 = 14, y = 20 - 1*4 = 16, w = 8*2 = 16, h = 4/2 = 2.
    anchor = torch.tensor([[6.0, 18.0, 14.0, 22.0]])
    offsets = torch.tensor([[0.5, -1.0, math.log(2), -math.log(2)]])
    assert_close(boxes.apply_offsets(anchor, offsets), torch.tensor([[6.0, 15.0, 22.0, 17.0]]))


def test_zero_offsets_leave_a_box_where_it_is():
    anchor = torch.tensor([[6.0, 18.0, 14.0, 22.0]])
    assert_close(boxes.apply_offsets(anchor, torch.zeros(1, 4)), anchor)


def test_find_offsets_is_the_inverse_of_apply_offsets():
    torch.manual_seed(0)
    low = torch.rand(50, 2) * 200
    anchors = torch.cat([low, low + 1 + torch.rand(50, 2) * 100], 1)
    low = torch.rand(50, 2) * 200
    truth = torch.cat([low, low + 1 + torch.rand(50, 2) * 100], 1)
    assert_close(boxes.apply_offsets(anchors, boxes.find_offsets(anchors, truth)), truth, atol=1e-3, rtol=1e-4)
    offsets = torch.randn(50, 4)
    assert_close(boxes.find_offsets(anchors, boxes.apply_offsets(anchors, offsets)), offsets, atol=1e-3, rtol=1e-3)


def test_find_offsets_written_out():
    # From centre (5, 5) 10x10 to centre (10, 5) 20x5: tx = 5/10, ty = 0, tw = log 2, th = log 1/2.
    offsets = boxes.find_offsets(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 2.5, 20.0, 7.5]]))
    assert_close(offsets, torch.tensor([[0.5, 0.0, math.log(2), -math.log(2)]]))


def test_find_offsets_of_boxes_without_area_are_finite():
    flat = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert torch.isfinite(boxes.find_offsets(flat, flat)).all()


def test_apply_offsets_does_not_overflow():
    moved = boxes.apply_offsets(torch.tensor([[0.0, 0.0, 500.0, 500.0]]), torch.full((1, 4), 1000.0))
    assert torch.isfinite(moved).all()


def test_apply_offsets_gradients_agree_with_finite_differences():
    torch.manual_seed(1)
    anchors = torch.tensor([[3.0, 4.0, 20.0, 30.0], [0.0, 0.0, 5.0, 50.0]], dtype=torch.float64, requires_grad=True)
    offsets = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(boxes.apply_offsets, (anchors, offsets))


def test_clip_cuts_at_the_border():
    given = torch.tensor([[-5.0, -6.0, 30.0, 40.0], [2.0, 3.0, 8.0, 9.0]])
    assert_close(boxes.clip(given, 20, 25), torch.tensor([[0.0, 0.0, 20.0, 25.0], [2.0, 3.0, 8.0, 9.0]]))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([30.0, 5.0, 40.0, 9.0], [19.0, 5.0, 20.0, 9.0]),  # wholly to the right
        ([-9.0, -9.0, -2.0, -2.0], [0.0, 0.0, 1.0, 1.0]),  # wholly above and to the left
        ([7.0, 7.0, 7.0, 7.0], [7.0, 7.0, 8.0, 8.0]),  # a point
    ],
)
def test_clip_keeps_a_pixel_inside(given, expected):
    assert_close(boxes.clip(torch.tensor([given]), 20, 25), torch.tensor([expected]))


def test_box_position_features_written_out():
    # In 200x100: a box of 100x25 pixels is an eighth of the photograph.
    found = boxes.box_position_features(torch.tensor([[50.0, 25.0, 150.0, 50.0]]), torch.tensor([[200.0, 100.0]]))
    assert_close(found, torch.tensor([[0.25, 0.25, 0.75, 0.5, math.sqrt(1 / 8)]]))


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (500, 375, (320, 240)),  # 4:3, exact
        (375, 500, (240, 320)),
        (500, 333, (320, 208)),  # 333 * 0.64 = 213.1 -> 13.3 cells -> 13
        (100, 66, (320, 208)),  # small ones are enlarged: 211.2 -> 13.2 cells
        (640, 427, (320, 208)),  # 213.5 -> 13.3
        (1000, 775, (320, 256)),  # 248 is 15.5 cells: halves go up
        (1, 1, (320, 320)),
        (2000, 20, (320, 32)),  # 3.2 pixels: kept at two cells
    ],
)
def test_resize_shape(width, height, expected):
    assert boxes.resize_shape(width, height, 320, 16) == expected


def test_iou_of_arrays():
    # Two 2 x 2 boxes that share a 1 x 1 corner: 1 / (4 + 4 - 1); a box inside another: 4 / 16.
    a = [[0, 0, 2, 2], [0, 0, 4, 4]]
    b = [[1, 1, 3, 3], [0, 0, 2, 2], [2, 0, 4, 2]]
    assert iou(a, b) == pytest.approx(np.array([[1 / 7, 1, 0], [4 / 16, 4 / 16, 4 / 16]]))


def test_arrays_and_tensors_overlap_alike():
    corners = np.random.default_rng(0).uniform(0, 100, (30, 2, 2)).astype(np.float32)
    some = np.concatenate([corners.min(axis=1), corners.max(axis=1) + 1], axis=1)
    expected = boxes.iou(torch.from_numpy(some), torch.from_numpy(some[:10]))
    assert iou(some, some[:10]) == pytest.approx(expected.numpy(), abs=1e-5)


def test_iou_of_arrays_that_do_not_touch():
    some = np.array([[0, 0, 10, 10], [20, 20, 30, 40]], float)
    others = np.array([[0, 0, 10, 5], [5, 5, 15, 15], [20, 20, 30, 40]], float)
    # 50 of 100; 25 of 175; nothing / nothing; nothing; all
    np.testing.assert_allclose(iou(some, others), [[0.5, 1 / 7, 0], [0, 0, 1]])
