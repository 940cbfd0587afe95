"""How two boxes of a photograph lie to each other, and where one lies in it: soft scores, pure functions.

Every score is in (0, 1): how readily somebody would say "left of" of these two boxes, never a hard cut. What a flat
box cannot tell (behind, in front of) has no score (`search.wording.relations` says so).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from search.calibration import sigmoid

# Scores stay away from 0 and 1 by this: one badly placed box lowers a photograph, and does not throw it out.
_LEAST = 0.05

# Of the boxes' mean extent along an axis: from that far left of another thing on, a thing is surely left of it.
_SHARPNESS = 6.0
# Of the size of the smaller of two things: things that far apart are next to each other with 1/e of certainty.
_NEAR = 0.75


def relation_scores(kind: str, subjects: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """How well each of N boxes stands in a relation to each of M others: (N, M) float64 in (0, 1).

    kind: one of RELATIONS. subjects: (N, 4), objects: (M, 4), x1 y1 x2 y2 in pixels of the upright photograph. Of
    several photographs: (P, N, 4) and (P, M, 4) -> (P, N, M).
    """
    a = np.asarray(subjects, np.float64)[..., :, None, :]
    b = np.asarray(objects, np.float64)[..., None, :, :]
    return _softened(RELATIONS[kind](a, b))


def place_scores(kind: str, boxes: np.ndarray, width: ArrayLike, height: ArrayLike) -> np.ndarray:
    """How well each of N boxes lies at a place of the photograph: (N,) float64 in (0, 1).

    kind: one of PLACES. boxes: (N, 4) x1 y1 x2 y2 in pixels of the upright photograph, of width x height pixels. Of
    several photographs: (P, N, 4), and (P, 1) widths and heights -> (P, N).
    """
    size = np.stack(np.broadcast_arrays(width, height, width, height), axis=-1)
    return _softened(PLACES[kind](np.asarray(boxes, np.float64) / size))


def _softened(scores: np.ndarray) -> np.ndarray:
    return _LEAST + (1 - 2 * _LEAST) * scores


def _extent(boxes: np.ndarray, axis: int) -> np.ndarray:
    """Widths (axis 0) or heights (1), at least a hundredth of a pixel."""
    return np.maximum(boxes[..., axis + 2] - boxes[..., axis], 1e-2)


def _area(boxes: np.ndarray) -> np.ndarray:
    return _extent(boxes, 0) * _extent(boxes, 1)


def _offset(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """How far the centre of b lies right of (axis 0) or below (1) the centre of a, in mean extents of the two."""
    centres = (b[..., axis] + b[..., axis + 2] - a[..., axis] - a[..., axis + 2]) / 2
    return 2 * centres / (_extent(a, axis) + _extent(b, axis))


def _shared(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """How much of an axis two boxes share, pixels; negative: the gap between them."""
    return np.minimum(a[..., axis + 2], b[..., axis + 2]) - np.maximum(a[..., axis], b[..., axis])


def _inside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The share of a's area that lies in b."""
    return np.maximum(_shared(a, b, 0), 0) * np.maximum(_shared(a, b, 1), 0) / _area(a)


def _left_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return sigmoid(_SHARPNESS * _offset(a, b, 0))


def _above(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return sigmoid(_SHARPNESS * _offset(a, b, 1))


def _on(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a stands over b, and its lower edge lies between b's edges (which both may be a little off)."""
    over = np.clip(_shared(a, b, 0) / np.minimum(_extent(a, 0), _extent(b, 0)), 0, 1)
    room = 0.15 * np.minimum(_extent(a, 1), _extent(b, 1))
    reaches = sigmoid(2 * (a[..., 3] - b[..., 1] + room) / room)
    not_below = sigmoid(2 * (b[..., 3] - a[..., 3] + room) / room)
    return over * reaches * not_below * sigmoid(_SHARPNESS * (_offset(a, b, 1) + 0.25))


def _under(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a's centre is below b's, and b covers it from above: a table's box holds its legs, and so what is under it."""
    over = np.clip(_shared(a, b, 0) / np.minimum(_extent(a, 0), _extent(b, 0)), 0, 1)
    return over * _above(b, a)


def _in(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smaller one lies in the larger one: a dog in a basket, but a jacket in the box of the man in the jacket."""
    return np.clip(np.maximum(_inside(a, b), _inside(b, a)), 0, 1)


def _inside_of(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.clip(_inside(a, b), 0, 1) * _smaller(a, b)


def _next_to(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Side by side: little between them, at about one height, neither in the other."""
    size = np.sqrt(np.minimum(_area(a), _area(b)))
    gap = np.hypot(np.maximum(-_shared(a, b, 0), 0), np.maximum(-_shared(a, b, 1), 0))
    level = np.clip(_shared(a, b, 1) / np.minimum(_extent(a, 1), _extent(b, 1)), 0.2, 1)
    return np.exp(-gap / (_NEAR * size)) * level * (1 - 0.9 * np.clip(2 * _in(a, b) - 1, 0, 1))


def _bigger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return sigmoid(2 * np.log(_area(a) / _area(b)))


def _smaller(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _bigger(b, a)


RELATIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "left of": _left_of,
    "right of": lambda a, b: _left_of(b, a),
    "above": _above,
    "below": lambda a, b: _above(b, a),
    "on": _on,
    "under": _under,
    "in": _in,
    "inside": _inside_of,
    "next to": _next_to,
    "bigger than": _bigger,
    "smaller than": _smaller,
}


# Places: boxes as shares of the photograph's sides.


def _left(boxes: np.ndarray) -> np.ndarray:
    return sigmoid(12 * (0.5 - (boxes[..., 0] + boxes[..., 2]) / 2))


def _top(boxes: np.ndarray) -> np.ndarray:
    return sigmoid(12 * (0.5 - (boxes[..., 1] + boxes[..., 3]) / 2))


def _right(boxes: np.ndarray) -> np.ndarray:
    return 1 - _left(boxes)


def _bottom(boxes: np.ndarray) -> np.ndarray:
    return 1 - _top(boxes)


def _middle(boxes: np.ndarray) -> np.ndarray:
    x, y = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    return np.exp(-12 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))


def _foreground(boxes: np.ndarray) -> np.ndarray:
    """Low and large: what is near stands low in a photograph and takes much of it."""
    return sigmoid(8 * (boxes[..., 3] - 0.75) + 1.5 * np.log(np.maximum(_area(boxes), 1e-4) / 0.1))


PLACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "left": _left,
    "right": _right,
    "top": _top,
    "bottom": _bottom,
    "top left": lambda boxes: _top(boxes) * _left(boxes),
    "top right": lambda boxes: _top(boxes) * _right(boxes),
    "bottom left": lambda boxes: _bottom(boxes) * _left(boxes),
    "bottom right": lambda boxes: _bottom(boxes) * _right(boxes),
    "corner": lambda boxes: np.maximum(_left(boxes), _right(boxes)) * np.maximum(_top(boxes), _bottom(boxes)),
    "middle": _middle,
    "foreground": _foreground,
    "background": lambda boxes: 1 - _foreground(boxes),
}
