"""The picture of dense captioning: one photograph with all of its regions and what the network wrote about each."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from commands.text import printable
from search.drawing.labels import Box, first_free, label_places, label_width, write_label
from search.drawing.lettering import length, shortened, write
from search.drawing.photo import NotShown, open_photo, resized

if TYPE_CHECKING:
    from search.hits import DescribedPhoto

# Pixels of the picture.
_LONGEST, _LEAST = 1400, 900  # of the photograph's longer side; a smaller photograph is enlarged
_MARGIN = 24
_HEADER = 64
_ROW = 27  # of the list of all regions
_COLUMN = 420

# Labels with phrases; further boxes bear their number in the list, or there would be no photograph to see.
_PHRASES = 20

_PAPER, _INK, _FAINT, _EMPTY = "#ffffff", "#1c1c1e", "#6e6e73", "#e5e5ea"
# From unsure to sure: apart in hue and lightness, and white text is readable on each.
_SCALE = ((94, 96, 110), (64, 84, 160), (126, 58, 160), (178, 42, 104), (196, 60, 10))
_WIDTHS = (2, 4)  # of a frame, unsure and sure


@dataclass(frozen=True)
class _Region:
    number: int  # from 1, the surest first
    box: Box  # pixels of the drawn photograph
    phrase: str
    confidence: float

    @property
    def color(self) -> str:
        return confidence_color(self.confidence)


def draw_described(photo: "DescribedPhoto", count: int | None = None) -> Image.Image:
    """A photograph with the boxes of its `count` (None: all) surest regions, and a list of them beside or below it.

    RGB. Boxes are coloured by confidence. The label of one of the surest boxes is its phrase where that covers no other
    label, else its number in the list, as of all others, else there is none; surer boxes choose first.
    """
    scale = min(max(_LEAST / max(photo.width, photo.height), 1.0), _LONGEST / max(photo.width, photo.height))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    regions = [
        _Region(
            number,
            tuple(float(side) * scale for side in photo.regions.boxes[row]),  # type: ignore[arg-type]
            printable(photo.phrases[row]) or "(no words)",
            confidence,
        )
        for number, (row, confidence) in enumerate(photo.surest(count), 1)
    ]
    beside = size[0] <= 1.2 * size[1]
    sheet, corner = _paper(size, len(regions), beside)
    name = shortened(printable(photo.path.name), 24, sheet.width - 2 * _MARGIN - 220, keep_end=True)
    draw = ImageDraw.Draw(sheet)
    write(draw, (_MARGIN, 16), name, 24, _INK)
    _draw_scale(sheet)
    sheet.paste(_draw_photo(photo, size, regions), (_MARGIN, _HEADER))
    _draw_list(sheet, corner, regions)
    return sheet


def confidence_color(confidence: float) -> str:
    """The colour of a confidence in [0, 1], as #rrggbb."""
    # By the square root: most regions of a photograph have confidences below 0.1, and are to differ too.
    place = min(max(confidence, 0.0), 1.0) ** 0.5 * (len(_SCALE) - 1)
    low = min(int(place), len(_SCALE) - 2)
    share = place - low
    mixed = (round(a + (b - a) * share) for a, b in zip(_SCALE[low], _SCALE[low + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def _paper(size: tuple[int, int], regions: int, beside: bool) -> tuple[Image.Image, tuple[int, int]]:
    """An empty sheet for a photograph and its list, and where the list begins."""
    if beside:
        columns = -(-regions * _ROW // size[1])
        width = size[0] + columns * (_COLUMN + _MARGIN) + 2 * _MARGIN
        return Image.new("RGB", (width, size[1] + _HEADER + _MARGIN), _PAPER), (size[0] + 2 * _MARGIN, _HEADER)
    width = max(size[0] + 2 * _MARGIN, _COLUMN + 2 * _MARGIN)
    columns = max(1, (width - _MARGIN) // (_COLUMN + _MARGIN))
    rows = -(-regions // columns)
    height = _HEADER + size[1] + _MARGIN + rows * _ROW + _MARGIN
    return Image.new("RGB", (width, height), _PAPER), (_MARGIN, _HEADER + size[1] + _MARGIN)


def _draw_scale(sheet: Image.Image) -> None:
    """Which colour stands for which confidence."""
    draw = ImageDraw.Draw(sheet)
    right, y = sheet.width - _MARGIN, 38
    for step in range(120):
        draw.line((right - 120 + step, y, right - 120 + step, y + 10), fill=confidence_color(step / 119))
    write(draw, (right - 120, y - 20), "0", 14, _FAINT)
    write(draw, (right, y - 20), "1", 14, _FAINT, anchor="ra")
    write(draw, (right - 132, y - 5), "confidence", 14, _FAINT, anchor="ra")


def _draw_photo(photo: "DescribedPhoto", size: tuple[int, int], regions: list[_Region]) -> Image.Image:
    """The photograph with boxes and labels, (width, height) RGB; grey with the reason if it cannot be shown."""
    try:
        picture = resized(open_photo(photo.path, (photo.width, photo.height), side=max(size)), size)
    except NotShown as reason:
        picture = Image.new("RGB", size, _EMPTY)
        write(ImageDraw.Draw(picture), (size[0] / 2, size[1] / 2), str(reason), 18, _FAINT, anchor="mm")
        return picture
    draw = ImageDraw.Draw(picture)
    for region in reversed(regions):  # the surest on top
        x1, y1, x2, y2 = region.box
        x2, y2 = max(x2 - 1, x1 + 1), max(y2 - 1, y1 + 1)
        width = _WIDTHS[region.confidence >= 0.5]
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_PAPER, width=width + 2)  # seen on any background
        draw.rectangle((x1, y1, x2, y2), outline=region.color, width=width)
    taken: list[Box] = []
    for region in regions:
        number = f"{region.number}"
        phrase = shortened(f"{number} {region.phrase}", 17, size[0] - 16)
        for label in [phrase, number] if region.number <= _PHRASES else [number]:
            place = first_free(label_places(size, region.box, label_width(label)), taken)
            if place is not None:
                write_label(draw, place, label, region.color)
                taken.append(place)
                break
    return picture


def _draw_list(sheet: Image.Image, corner: tuple[int, int], regions: list[_Region]) -> None:
    """Number, phrase and confidence of every region, in columns."""
    draw = ImageDraw.Draw(sheet)
    rows = max(1, (sheet.height - _MARGIN - corner[1]) // _ROW)
    for index, region in enumerate(regions):
        x = corner[0] + index // rows * (_COLUMN + _MARGIN)
        y = corner[1] + index % rows * _ROW
        draw.rectangle((x, y + 1, x + 34, y + _ROW - 4), fill=region.color)
        write(draw, (x + 17, y + (_ROW - 3) / 2 + 0.5), f"{region.number}", 15, _PAPER, anchor="mm")
        confidence = f"{region.confidence:.2f}"
        write(draw, (x + _COLUMN, y + 2), confidence, 16, _FAINT, anchor="ra")
        phrase = shortened(region.phrase, 16, _COLUMN - 44 - length(confidence, 16) - 10)
        write(draw, (x + 44, y + 2), phrase, 16, _INK)
