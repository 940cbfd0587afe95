"""The localization layer: 5k outputs a cell, proposals, and bilinear sampling whose gradient reaches the boxes."""

import math

import pytest
import torch
import torchvision
from torch import Tensor
from torch.testing import assert_close

from fcln.modeling import localization
from fcln.modeling.localization import (
    LocalizationLayer,
    batched_nms,
    bilinear_mean,
    bilinear_sample,
    inside,
    move_anchors,
    nms,
    nms_of_each,
)

STRIDE = 16


def naive_sample(features: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Paper 3.2: V[c,i,j] = sum over i',j' of U[c,i',j'] k(i' - x_ij) k(j' - y_ij), k(d) = max(0, 1 - |d|), by loops.

    Cell (i', j') stands at pixel 16 i' + 8; points beyond the outermost cells are moved onto them.
    """
    batch, channels, rows, columns = features.shape
    result = torch.zeros(batch, boxes.shape[1], channels, size, size, dtype=features.dtype)
    for b in range(batch):
        for r, (x1, y1, x2, y2) in enumerate(boxes[b].tolist()):
            for i in range(size):
                for j in range(size):
                    y = (y1 + (y2 - y1) * i / (size - 1)) / STRIDE - 0.5
                    x = (x1 + (x2 - x1) * j / (size - 1)) / STRIDE - 0.5
                    y, x = min(max(y, 0), rows - 1), min(max(x, 0), columns - 1)
                    for row in range(rows):
                        for column in range(columns):
                            weight = max(0, 1 - abs(row - y)) * max(0, 1 - abs(column - x))
                            result[b, r, :, i, j] += weight * features[b, :, row, column]
    return result


def test_layer_predicts_5k_numbers_a_cell():
    k = 12
    layer = LocalizationLayer(6, 7, tuple((10.0 + i, 20.0) for i in range(k)), STRIDE)
    assert layer.score.out_channels + layer.offset.out_channels == 5 * k
    scores, offsets, anchors = layer(torch.randn(2, 6, 3, 4))
    count = 3 * 4 * k
    assert scores.shape == (2, count) and offsets.shape == (2, count, 4) and anchors.shape == (count, 4)
    assert scores.dtype == offsets.dtype == anchors.dtype == torch.float32


def test_outputs_stand_in_the_order_of_the_anchors():
    # One hidden channel passes the feature through; the bias of output n is n, so each output names its place.
    layer = LocalizationLayer(1, 1, ((10.0, 10.0), (20.0, 10.0)), STRIDE)
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[0, 0, 1, 1] = 1
        layer.score.weight.fill_(100)
        layer.score.bias.copy_(torch.arange(2))
        layer.offset.weight.fill_(100)
        layer.offset.bias.copy_(torch.arange(8))
        scores, offsets, anchors = layer(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]]))
    # (cell 0: shape 0, shape 1), (cell 1: ...), cells in reading order
    assert scores.tolist() == [[0, 1, 100, 101, 200, 201, 300, 301]]
    assert offsets[0, 2].tolist() == [100, 101, 102, 103]  # cell 1, shape 0
    assert offsets[0, 7].tolist() == [304, 305, 306, 307]  # cell 3, shape 1
    assert anchors[7].tolist() == [24 - 10, 24 - 5, 24 + 10, 24 + 5]  # cell 3 at (24, 24), shape 20x10


def test_proposals_start_as_the_anchors_themselves():
    layer = LocalizationLayer(4, 5, ((10.0, 20.0),), STRIDE)
    _, offsets, _ = layer(torch.randn(1, 4, 3, 3))
    assert not offsets.any()


def test_move_anchors_cuts_at_the_border():
    anchors = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    moved = move_anchors(anchors, torch.tensor([[1.0, 0.0, 0.0, math.log(2)]]), 40, 100)  # to x 30..50, y 0..40
    assert_close(moved, torch.tensor([[30.0, 0.0, 40.0, 40.0]]))


def test_inside_goes_by_the_centre():
    anchors = torch.tensor([[0.0, 0.0, 100.0, 20.0], [60.0, 0.0, 80.0, 20.0], [0.0, 40.0, 20.0, 60.0]])
    assert inside(anchors, 60, 50).tolist() == [True, False, False]  # centres (50, 10), (70, 10), (10, 50)


def test_several_photographs_at_once_are_moved_and_judged_each_by_its_own_size():
    anchors = torch.tensor([[10.0, 10.0, 30.0, 30.0], [40.0, 0.0, 60.0, 20.0]])
    offsets = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    widths, heights = torch.tensor([[40.0], [64.0]]), torch.tensor([[20.0], [48.0]])
    moved, within = move_anchors(anchors, offsets, widths, heights), inside(anchors, widths, heights)
    for n, (width, height) in enumerate([(40, 20), (64, 48)]):
        assert torch.equal(moved[n], move_anchors(anchors, offsets[n], width, height))
        assert torch.equal(within[n], inside(anchors, width, height))
    assert within.tolist() == [[False, False], [True, True]]  # centres (20, 20), which is on the border, and (50, 10)


def test_nms_by_hand():
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 10.0],
            [0.0, 0.0, 10.0, 8.0],  # IoU 0.8 with the first
            [0.0, 0.0, 10.0, 5.0],  # 0.5 with the first, 0.625 with the second
            [50.0, 50.0, 60.0, 60.0],
        ]
    )
    scores = torch.tensor([0.9, 0.95, 0.1, 0.5])
    assert nms(boxes, scores, iou=0.7, pre_nms_top_n=10, post_nms_top_n=10).tolist() == [1, 3, 2]
    assert nms(boxes, scores, iou=0.6, pre_nms_top_n=10, post_nms_top_n=10).tolist() == [1, 3]
    assert nms(boxes, scores, iou=0.85, pre_nms_top_n=10, post_nms_top_n=10).tolist() == [1, 0, 3, 2]
    assert nms(boxes, scores, iou=0.85, pre_nms_top_n=10, post_nms_top_n=2).tolist() == [1, 0]
    assert nms(boxes, scores, iou=0.7, pre_nms_top_n=2, post_nms_top_n=10).tolist() == [
        1
    ]  # only the best two take part


def test_bilinear_sample_by_hand():
    # Cells at pixels 8 and 24: values 1 2 / 3 4.
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    boxes = torch.tensor([[[8.0, 8.0, 24.0, 24.0]]])
    expected = [[1.0, 1.5, 2.0], [2.0, 2.5, 3.0], [3.0, 3.5, 4.0]]
    assert_close(bilinear_sample(features, boxes, stride=STRIDE, size=3)[0, 0, 0], torch.tensor(expected))


def test_points_beyond_the_border_take_the_nearest_cell():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    boxes = torch.tensor([[[-100.0, -100.0, 100.0, 100.0], [0.0, 0.0, 8.0, 16.0]]])
    found = bilinear_sample(features, boxes, stride=STRIDE, size=2)[0, :, 0]
    assert_close(found[0], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert_close(found[1], torch.tensor([[1.0, 1.0], [2.0, 2.0]]))  # y = 16 lies between both rows


@pytest.mark.parametrize("size", [2, 7])
def test_bilinear_sample_equals_the_papers_formula(size):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 3, 5, 7, generator=generator, dtype=torch.float64)
    low = torch.rand(2, 6, 2, generator=generator, dtype=torch.float64) * 80 - 20
    boxes = torch.cat([low, low + torch.rand(2, 6, 2, generator=generator, dtype=torch.float64) * 90], -1)
    boxes[0, 0] = boxes[0, 0, [0, 1, 0, 1]]  # one without area
    found = bilinear_sample(features, boxes, stride=STRIDE, size=size)
    assert found.shape == (2, 6, 3, size, size)
    assert_close(found, naive_sample(features, boxes, size))


def test_all_boxes_of_an_image_go_through_in_one_call(monkeypatch):
    calls = []
    real = torch.nn.functional.grid_sample
    monkeypatch.setattr("torch.nn.functional.grid_sample", lambda *a, **k: calls.append(1) or real(*a, **k))
    features, boxes = torch.randn(2, 3, 4, 4), torch.rand(2, 50, 4) * 60
    together = bilinear_sample(features, boxes, stride=STRIDE, size=3)
    assert len(calls) == 1
    single = bilinear_sample(features[1:], boxes[1:, 17:18], stride=STRIDE, size=3)
    assert_close(together[1, 17], single[0, 0])


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("cells", [(5, 7), (1, 7), (5, 1)])
def test_without_gradients_the_same_is_found_another_way(size, cells):
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 3, *cells, generator=generator)
    low = torch.rand(2, 6, 2, generator=generator) * 80 - 20
    boxes = torch.cat([low, low + torch.rand(2, 6, 2, generator=generator) * 90], -1)
    boxes[0, 0] = torch.tensor([0.0, 0.0, cells[1] * STRIDE, cells[0] * STRIDE])  # from border to border
    expected = bilinear_sample(features, boxes, stride=STRIDE, size=size)
    with torch.no_grad():
        assert_close(bilinear_sample(features, boxes, stride=STRIDE, size=size), expected)
        nothing = bilinear_sample(features, boxes[:, :0], stride=STRIDE, size=size)
    assert nothing.shape == (2, 0, 3, size, size)
    assert_close(bilinear_mean(features, boxes, stride=STRIDE, size=size), expected.mean((3, 4)))


@torch.no_grad()
def test_a_box_that_is_not_a_number_shows_nothing_and_spoils_no_other():
    features = torch.randn(1, 3, 5, 7, generator=torch.Generator().manual_seed(5))
    boxes = torch.tensor([[[0.0, 0.0, 50.0, 50.0], [torch.nan, 0.0, 50.0, torch.inf]]])
    found = bilinear_sample(features, boxes, stride=STRIDE, size=2)
    assert found[0, 1].isnan().any()
    assert_close(found[:, :1], bilinear_sample(features, boxes[:, :1], stride=STRIDE, size=2))


def test_the_mean_of_the_points_has_gradients_and_is_not_rounded():
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[[9.1, 10.3, 50.7, 40.9]]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f, b: bilinear_mean(f, b, stride=STRIDE, size=3), (features, boxes))
    rounded = features.detach().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = bilinear_mean(rounded, boxes.float(), stride=STRIDE, size=3)
    assert_close(found, bilinear_mean(rounded.float(), boxes.float(), stride=STRIDE, size=3))


def test_nms_looks_at_weaker_boxes_only_where_too_few_are_left():
    """300 boxes, of which the best 150 are one: whatever is looked at first, the same are kept."""
    low = torch.cat([torch.zeros(150, 2), torch.rand(150, 2, generator=torch.Generator().manual_seed(0)) * 500])
    boxes, scores = torch.cat([low, low + 40], 1), torch.linspace(1, 0, 300)
    everything = nms(boxes, scores, iou=0.5, pre_nms_top_n=300, post_nms_top_n=300)
    for count in (1, 2, 20, 60):
        assert (
            nms(boxes, scores, iou=0.5, pre_nms_top_n=300, post_nms_top_n=count).tolist() == everything[:count].tolist()
        )


@pytest.mark.parametrize("seed", range(5))
def test_nms_of_a_batch_is_torchvisions_of_each_photograph(seed):
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(3, 200, 2, generator=generator) * 60
    boxes = torch.cat([low, low + 5 + torch.rand(3, 200, 2, generator=generator) * 50], -1)
    for threshold in (0.1, 0.5, 0.7):
        kept = batched_nms(boxes, iou_threshold=threshold)
        for photo in range(3):
            expected = torchvision.ops.nms(boxes[photo], torch.arange(200.0, 0, -1), threshold)
            assert kept[photo].nonzero()[:, 0].tolist() == sorted(expected.tolist())
        assert 0 < kept.sum() < 600


def test_nms_of_a_batch_follows_long_chains():
    """Each overlaps the next alone: every other one falls, however long the chain."""
    left = torch.arange(50.0) * 4
    boxes = torch.stack([left, torch.zeros(50), left + 10, torch.full((50,), 10.0)], 1)  # IoU 6/14 with the next
    assert batched_nms(boxes[None], iou_threshold=0.4)[0].tolist() == [True, False] * 25


def crowd(*, seed: int, photographs: int = 4, boxes: int = 300) -> tuple[Tensor, Tensor]:
    """Boxes that overlap much and scores, of which each photograph has fewer than the one before."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(photographs, boxes, 2, generator=generator) * 60
    found = torch.cat([low, low + 5 + torch.rand(photographs, boxes, 2, generator=generator) * 50], -1)
    scores = torch.randn(photographs, boxes, generator=generator)
    taking_part = torch.arange(boxes) < torch.linspace(boxes, 0, photographs).long()[:, None]
    return found, scores.masked_fill(~taking_part[:, torch.randperm(boxes, generator=generator)], -torch.inf)


DEVICES = [
    "loop",
    "passes",
    pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]),
]


@pytest.mark.parametrize("way", DEVICES)
@pytest.mark.parametrize(
    ("iou", "pre", "post"), [(0.7, 300, 300), (0.3, 300, 20), (0.05, 300, 20), (0.5, 50, 30), (0.5, 299, 0)]
)
def test_nms_of_each_is_nms_of_one_by_one(way, iou, pre, post, monkeypatch):
    monkeypatch.setattr(localization, "_PAIRS", 25_000)  # one or two photographs at a time
    suppress = localization._nms_by_passes if way == "passes" else nms_of_each
    device = "cuda" if way == "cuda" else "cpu"
    for seed in range(3):
        boxes, scores = crowd(seed=seed)
        expected = [
            nms(b, s, iou=iou, pre_nms_top_n=min(pre, int((s > -torch.inf).sum())), post_nms_top_n=post).tolist()
            for b, s in zip(boxes, scores)
        ]
        kept, counts = suppress(boxes.to(device), scores.to(device), iou=iou, pre_nms_top_n=pre, post_nms_top_n=post)
        # On a GPU a row may be longer than any photograph needs: the program would have to wait to know.
        most = post if way == "cuda" else max(map(len, expected))
        assert kept.shape == counts.shape == (4, most)
        assert [row[count].tolist() for row, count in zip(kept, counts)] == expected
        assert expected[3] == []


def test_nms_of_each_looks_at_weaker_boxes_only_of_those_who_need_them(monkeypatch):
    """The best 150 of the second photograph are one: among the first five times as many as are wanted there is one."""
    boxes, scores = crowd(seed=0, photographs=2)
    boxes[1, :150] = torch.tensor([0.0, 0.0, 40.0, 40.0])
    scores = torch.linspace(1, 0, 300).expand(2, -1)
    asked = []
    monkeypatch.setattr(localization, "nms", lambda *args, **kwargs: asked.append(args) or nms(*args, **kwargs))
    kept, counts = localization._nms_by_passes(boxes, scores, iou=0.3, pre_nms_top_n=300, post_nms_top_n=10)
    assert [len(b) for b, _ in asked] == [300]
    for row, count, b, s in zip(kept, counts, boxes, scores):
        assert row[count].tolist() == nms(b, s, iou=0.3, pre_nms_top_n=300, post_nms_top_n=10).tolist()


def test_gradients_reach_features_and_box_coordinates():
    """Against finite differences: torchvision's RoIAlign, for one, gives the boxes none."""
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor(
        [[[9.1, 10.3, 50.7, 40.9], [20.2, 12.6, 33.3, 57.1]], [[11.9, 9.7, 70.3, 55.5], [-9.3, 15.1, 30.2, 90.4]]],
        dtype=torch.float64,
        requires_grad=True,
    )

    def sample(features: Tensor, boxes: Tensor) -> Tensor:
        return bilinear_sample(features, boxes, stride=STRIDE, size=3)

    assert torch.autograd.gradcheck(sample, (features, boxes))
    sample(features, boxes).sum().backward()
    assert (boxes.grad != 0).all()
    assert features.grad.abs().sum() > 0


def test_the_gradient_moves_a_box_towards_what_is_wanted():
    # A ramp of 1 a cell from left to right: moving the right edge by a pixel changes its points by 1/16.
    features = torch.arange(6.0, dtype=torch.float64).expand(1, 1, 6, 6)
    boxes = torch.tensor([[[16.0, 16.0, 64.0, 64.0]]], dtype=torch.float64, requires_grad=True)
    bilinear_sample(features, boxes, stride=STRIDE, size=2).sum().backward()
    assert_close(boxes.grad[0, 0], torch.tensor([2 / 16, 0.0, 2 / 16, 0.0], dtype=torch.float64))


def test_bfloat16_does_not_round_the_points():
    features = torch.randn(1, 4, 20, 20, generator=torch.Generator().manual_seed(0)).bfloat16()
    boxes = torch.tensor([[[13.3, 27.7, 301.2, 288.8]]])
    with torch.autocast("cpu", torch.bfloat16):
        found = bilinear_sample(features, boxes, stride=STRIDE, size=7)
    assert_close(found.float(), bilinear_sample(features.float(), boxes, stride=STRIDE, size=7))
