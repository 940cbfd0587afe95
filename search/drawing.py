"""Draw an answer: a sheet of the best photographs with the boxes and phrases that answer."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from commands.text import printable
from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto, Photograph
from search.errors import DrawError

if TYPE_CHECKING:
    from search.detector import Detections
    from search.hits import Hit
    from search.searcher import Answer

# Photographs on a sheet: more would be too small to see, or too many to look at.
MAX_DRAWN = 24

# Pixels of the sheet.
_WIDTH = 1600  # at most
_LEAST_WIDTH = 800  # room for the query above a single narrow photograph
_MARGIN = 24
_ROW_HEIGHT = 380  # aimed at; each row is then stretched to the sheet's width
_LARGEST_ROW = 760  # a single photograph
_CAPTION_HEIGHT = 72
_HEADER_HEIGHT = 84

_PAPER, _INK, _FAINT, _EMPTY = "#ffffff", "#1c1c1e", "#6e6e73", "#e5e5ea"
# One colour a phrase of the query, told apart by the colour-blind too (Okabe and Ito), darkened where white text is
# set on them.
_COLORS = ("#d55e00", "#0072b2", "#00795a", "#a8487f", "#8a6d00", "#2f7fa8", "#5b5b5f")

# Says in a PNG who drew it: only such a file is ever overwritten.
_MARK = ("Software", "densecap-search")

_Box = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels


@dataclass(frozen=True)
class _Tile:
    hit: "Hit"
    x: int
    y: int
    width: int
    height: int


def check_target(target: Path) -> None:
    """Raise DrawError if a picture cannot be written to target, before the work of finding what to draw."""
    if target.suffix.lower() != ".png":
        raise DrawError(f"The picture is a PNG: give it a name that ends in .png, not {printable(target)}.")
    if target.is_dir():
        raise DrawError(f"The picture cannot be written: {printable(target)} is a folder.")
    if not target.parent.is_dir():
        raise DrawError(f"The picture cannot be written: there is no folder {printable(target.parent)}.")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise DrawError(f"The picture cannot be written: {printable(target)} is write-protected.")
    if _is_foreign(target):
        raise DrawError(f"{printable(target)} is there, and was not drawn here: give the new picture another name.")


def check_folder(target: Path) -> None:
    """Raise DrawError if pictures cannot be written into the folder target; it is made if it is missing."""
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise DrawError(f"The folder {printable(target)} cannot be made: {error.strerror}.") from error
    if not os.access(target, os.W_OK | os.X_OK):
        raise DrawError(f"The pictures cannot be written: {printable(target)} is write-protected.")


def write_png(picture: Image.Image, target: Path) -> None:
    """Write a picture as PNG. Raises DrawError if that fails."""
    mark = PngInfo()
    mark.add_text(*_MARK)
    try:
        picture.save(target, format="PNG", pnginfo=mark)
    except OSError as error:
        raise DrawError(f"The picture cannot be written to {printable(target)}: {error.strerror or error}.") from error


def _is_foreign(target: Path) -> bool:
    """Whether there is a file that this program did not draw."""
    if not target.is_file():
        return False
    try:
        with Image.open(target) as picture:
            return picture.info.get(_MARK[0]) != _MARK[1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True


def draw_each(answer: "Answer | Detections", folder: Path, keep: Iterable[Path]) -> None:
    """Write a sheet for each hit into a folder, as `<name of the photograph>.png`.

    Names that two photographs share, or that would overwrite one of the files `keep` or any that this program did not
    draw, get a number at their end. Raises DrawError.
    """
    taken = {os.path.realpath(path) for path in keep}
    for hit in answer.hits:
        number, target = 1, folder / f"{hit.path.stem}.png"
        while os.path.realpath(target) in taken or _is_foreign(target):
            number += 1
            target = folder / f"{hit.path.stem}-{number}.png"
        taken.add(os.path.realpath(target))
        write_png(draw_hits(replace(answer, hits=[hit])), target)


def draw_hits(answer: "Answer | Detections") -> Image.Image:
    """The first MAX_DRAWN hits of an answer on one sheet, RGB, 800 to 1600 pixels wide.

    Each photograph bears the boxes that answer, in the colour of the phrase that they answer, with what the model wrote
    about them, and below it rank, score and path. A photograph that is not there any more is a grey tile.
    """
    tiles = _layout(answer.hits[:MAX_DRAWN])
    width = max([_LEAST_WIDTH, *(tile.x + tile.width + _MARGIN for tile in tiles)])
    height = max([_HEADER_HEIGHT, *(tile.y + tile.height + _CAPTION_HEIGHT for tile in tiles)])
    sheet = Image.new("RGB", (width, height), _PAPER)
    phrases = dict.fromkeys(region.for_phrase for hit in answer.hits for region in hit.regions)
    colors = {phrase: _COLORS[i % len(_COLORS)] for i, phrase in enumerate(phrases)}
    _draw_header(sheet, answer, colors)
    for tile in tiles:
        sheet.paste(_draw_tile(tile, answer, colors), (tile.x, tile.y))
        _draw_caption(sheet, tile)
    return sheet


def _layout(hits: "list[Hit]") -> list[_Tile]:
    """Rows of equal height that fill the width, in the order of the hits."""
    inner = _WIDTH - 2 * _MARGIN
    rows: list[list[Hit]] = [[]]
    for hit in hits:
        # A photograph that would make the row lower than wanted begins the next one.
        if rows[-1] and _fitting_height([*rows[-1], hit], inner) < 0.8 * _ROW_HEIGHT:
            rows.append([])
        rows[-1].append(hit)
    tiles: list[_Tile] = []
    y = _HEADER_HEIGHT
    for row in rows:
        most = _LARGEST_ROW if len(hits) == 1 else _ROW_HEIGHT * 1.3
        if tiles and row is rows[-1]:  # often a few photographs, which are not to be larger than better ones
            most = tiles[-1].height
        height = round(min(_fitting_height(row, inner), most))
        x = _MARGIN
        for hit in row:
            width = min(round(height * _aspect(hit)), inner)
            tiles.append(_Tile(hit, x, y, width, height))
            x += width + _MARGIN
        y += height + _CAPTION_HEIGHT
    return tiles


def _fitting_height(row: "list[Hit]", inner: int) -> float:
    """The height at which photographs side by side are `inner` pixels wide, gaps included."""
    return (inner - _MARGIN * (len(row) - 1)) / sum(_aspect(hit) for hit in row)


def _aspect(hit: "Hit") -> float:
    """Width / height of a tile: the photograph's, but for panoramas and ribbons, which leave a part of theirs empty."""
    return min(max(hit.width / hit.height, 0.5), 3.0)


def _draw_header(sheet: Image.Image, answer: "Answer | Detections", colors: dict[str, str]) -> None:
    """The query, and which colour stands for which phrase."""
    draw = ImageDraw.Draw(sheet)
    asked = ", ".join(printable(phrase) for phrase in answer.query)
    draw.text((_MARGIN, 16), _shortened(asked, 30, sheet.width - 2 * _MARGIN), _INK, _font(30))
    scored = answer.scored
    draw.text((sheet.width - _MARGIN, 56), scored, _FAINT, _font(18), anchor="ra")
    x, end = _MARGIN, sheet.width - 2 * _MARGIN - _length(scored, 18)
    for phrase, color in colors.items():
        text = _shortened(printable(phrase), 18, 400)
        if x + 22 + _length(text, 18) > end:
            break
        draw.rectangle((x, 60, x + 14, 74), fill=color)
        draw.text((x + 22, 56), text, _FAINT, _font(18))
        x += 22 + _length(text, 18) + 28


def _draw_caption(sheet: Image.Image, tile: _Tile) -> None:
    """Rank and score, and the end of the path, below a photograph."""
    draw = ImageDraw.Draw(sheet)
    y = tile.y + tile.height + 6
    draw.text((tile.x, y), f"{tile.hit.rank}", _INK, _font(20))
    draw.text((tile.x + _length(f"{tile.hit.rank}", 20) + 10, y + 3), f"{tile.hit.score:.3f}", _FAINT, _font(16))
    path = _shortened(printable(tile.hit.path), 15, tile.width, keep_end=True)
    draw.text((tile.x, y + 26), path, _FAINT, _font(15))


def _draw_tile(tile: _Tile, answer: "Answer | Detections", colors: dict[str, str]) -> Image.Image:
    """A photograph with its boxes, (tile.width, tile.height) RGB; grey with the reason if it cannot be shown."""
    hit = tile.hit
    try:
        photo = _open_photo(hit)
    except _NotShown as reason:
        return _draw_missing(tile, str(reason))
    scale = min(tile.width / hit.width, tile.height / hit.height)
    size = (max(1, round(hit.width * scale)), max(1, round(hit.height * scale)))
    left, top = (tile.width - size[0]) // 2, (tile.height - size[1]) // 2
    picture = Image.new("RGB", (tile.width, tile.height), _EMPTY)
    # The photograph in its image: a reduced one may begin and end up to a pixel outside.
    x0, y0 = photo.origin
    inside = (-x0 / photo.scale, -y0 / photo.scale, (photo.width - x0) / photo.scale, (photo.height - y0) / photo.scale)
    picture.paste(photo.image.resize(size, Image.Resampling.LANCZOS, box=inside), (left, top))

    draw = ImageDraw.Draw(picture)
    boxes: list[_Box] = []
    for index, region in enumerate(hit.regions):
        # The frames of a region that answers several phrases lie one inside the other.
        inset = 4 * sum(region.box == other.box for other in hit.regions[:index])
        x1, y1, x2, y2 = (side * scale for side in region.box)
        x1, y1 = left + x1 + inset, top + y1 + inset
        boxes.append((x1, y1, max(left + x2 - 1 - inset, x1 + 1), max(top + y2 - 1 - inset, y1 + 1)))
    for region, (x1, y1, x2, y2) in reversed(list(zip(hit.regions, boxes))):  # the best one on top
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_PAPER, width=5)  # so that it shows on any background
        draw.rectangle((x1, y1, x2, y2), outline=colors[region.for_phrase], width=3)
    taken: list[_Box] = []
    for region, box in zip(hit.regions, boxes):
        label = printable(answer.label(region))
        taken.append(_draw_label(draw, picture.size, box, label, colors[region.for_phrase], taken))
    return picture


def _draw_label(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], box: _Box, text: str, color: str, taken: list[_Box]
) -> _Box:
    """Write a box's phrase where it covers no other label, as near the box's top left corner as may be."""
    x1, y1, _, y2 = box
    text = _shortened(text, 17, size[0] - 16)
    width, height = _length(text, 17) + 12, 25.0
    x = min(max(x1 - 1, 0), size[0] - width)
    inside = y1 + 3
    small = y2 - y1 < 3 * height  # do not cover what the box shows
    places = [y1 - height, *([y2 + 2, inside] if small else [inside, y2 - height - 2, y2 + 2])]
    places += [inside + step * height for step in range(1, 6)]
    labels = [(x, y, x + width, y + height) for y in places if 0 <= y <= size[1] - height]
    label = next((place for place in labels if not any(_overlap(place, other) for other in taken)), None)
    label = label or (labels[0] if labels else (x, 0.0, x + width, height))
    draw.rectangle(label, fill=color)
    draw.text((label[0] + 6, label[1] + 2), text, _PAPER, _font(17))
    return label


def _draw_missing(tile: _Tile, reason: str) -> Image.Image:
    picture = Image.new("RGB", (tile.width, tile.height), _EMPTY)
    draw = ImageDraw.Draw(picture)
    draw.text((tile.width / 2, tile.height / 2 - 14), reason, _FAINT, _font(18), anchor="mm")
    path = _shortened(printable(tile.hit.path), 15, tile.width - 24, keep_end=True)
    draw.text((tile.width / 2, tile.height / 2 + 14), path, _FAINT, _font(15), anchor="mm")
    return picture


class _NotShown(Exception):
    """Why a photograph cannot be drawn."""


def _open_photo(hit: "Hit") -> Photograph:
    """The photograph, decoded not much larger than the sheet needs. Raises _NotShown."""
    try:
        with open(hit.path, "rb") as file:
            photo = OpenedPhoto(file).decode(_WIDTH)
    except FileNotFoundError as error:
        raise _NotShown("not there any more") from error
    except (OSError, PhotoError) as error:
        raise _NotShown("cannot be read any more") from error
    if (photo.width, photo.height) != (hit.width, hit.height):
        raise _NotShown("changed since it was indexed")
    return photo


def _overlap(a: _Box, b: _Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font: there is one on every machine, and it is the same."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return font


def _length(text: str, size: int) -> int:
    return round(_font(size).getlength(text))


def _shortened(text: str, size: int, width: float, *, keep_end: bool = False) -> str:
    """Text that is at most `width` pixels wide, cut with an ellipsis."""
    if _length(text, size) <= width:
        return text
    while text and _length(f"{text}…", size) > width:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"
