"""Boxes as people and other programs read them."""

from commands.boxes import xywh


def test_corners_become_sides_to_a_hundredth():
    assert xywh((10.004, 20.006, 30.0, 50.0)) == [10.0, 20.01, 20.0, 29.99]
    exact = (0.004, 0.0, 1.008, 1.0)
    rounded = tuple(round(side, 2) for side in exact)  # as hits have them
    assert xywh(exact) == xywh(rounded) == [0.0, 0.0, 1.01, 1.0]
