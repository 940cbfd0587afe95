"""Boxes as people and other programs read them."""

from collections.abc import Sequence


def xywh(box: Sequence[float]) -> list[float]:
    """x1 y1 x2 y2 as x, y, width, height, corners to a hundredth. Everywhere else boxes are corners."""
    x1, y1, x2, y2 = (round(side, 2) for side in box)
    return [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)]
