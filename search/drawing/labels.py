"""Labels of boxes that do not cover each other."""

from collections.abc import Iterable, Iterator, Sequence

from PIL import ImageDraw

from search.drawing.lettering import length, shortened, write

Box = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels

LABEL_HEIGHT = 25
_TEXT_SIZE = 17


def label_places(size: tuple[int, int], box: Box, width: float) -> Iterator[Box]:
    """Where a box's label, `width` pixels wide, may stand in a picture of (width, height), best first."""
    x1, y1, _, y2 = box
    x = min(max(x1 - 1, 0), size[0] - width)
    inside = y1 + 3
    small = y2 - y1 < 3 * LABEL_HEIGHT  # do not cover what the box shows
    places = [y1 - LABEL_HEIGHT, *([y2 + 2, inside] if small else [inside, y2 - LABEL_HEIGHT - 2, y2 + 2])]
    places += [inside + step * LABEL_HEIGHT for step in range(1, 6)]
    return ((x, y, x + width, y + LABEL_HEIGHT) for y in places if 0 <= y <= size[1] - LABEL_HEIGHT)


def first_free(places: Iterable[Box], taken: Sequence[Box]) -> Box | None:
    """The first place that covers none of those taken."""
    return next((place for place in places if not any(_overlap(place, other) for other in taken)), None)


def draw_label(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], box: Box, text: str, color: str, taken: Sequence[Box]
) -> Box:
    """Write a box's phrase where it covers no other label, as near the box's top left corner as may be."""
    text = shortened(text, _TEXT_SIZE, size[0] - 16)
    width = label_width(text)
    places = list(label_places(size, box, width))
    x = min(max(box[0] - 1, 0), size[0] - width)
    label = first_free(places, taken) or (places[0] if places else (x, 0.0, x + width, float(LABEL_HEIGHT)))
    write_label(draw, label, text, color)
    return label


def label_width(text: str) -> int:
    """How wide a label of that text is."""
    return length(text, _TEXT_SIZE) + 12


def write_label(draw: ImageDraw.ImageDraw, label: Box, text: str, color: str) -> None:
    """Write white text on a coloured label."""
    draw.rectangle(label, fill=color)
    write(draw, (label[0] + 6, label[1] + 2), text, _TEXT_SIZE, "#ffffff")


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
