"""Draw an answer: a sheet of the best photographs with the boxes and phrases that answer."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from commands.text import printable
from search.drawing.files import free_targets, write_png
from search.drawing.labels import Box, draw_label
from search.drawing.lettering import length, shortened, write
from search.drawing.photo import NotShown, open_photo, resized
from search.told import numbers, sureness

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


@dataclass(frozen=True)
class _Tile:
    hit: "Hit"
    x: int
    y: int
    width: int
    height: int


def draw_each(answer: "Answer | Detections", folder: Path, keep: Iterable[Path]) -> None:
    """Write a sheet for each hit into a folder, as `<name of the photograph>.png`; keep: see `free_targets`.

    Raises DrawError.
    """
    targets = free_targets((hit.path for hit in answer.hits), folder, ".png", keep=keep)
    for hit, target in zip(answer.hits, targets, strict=True):
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
    write(draw, (_MARGIN, 16), shortened(asked, 30, sheet.width - 2 * _MARGIN), 30, _INK)
    scored = numbers(answer)
    write(draw, (sheet.width - _MARGIN, 56), scored, 18, _FAINT, anchor="ra")
    x, end = _MARGIN, sheet.width - 2 * _MARGIN - length(scored, 18)
    for phrase, color in colors.items():
        text = shortened(printable(phrase), 18, 400)
        if x + 22 + length(text, 18) > end:
            break
        draw.rectangle((x, 60, x + 14, 74), fill=color)
        write(draw, (x + 22, 56), text, 18, _FAINT)
        x += 22 + length(text, 18) + 28


def _draw_caption(sheet: Image.Image, tile: _Tile) -> None:
    """Rank and score, and the end of the path, below a photograph."""
    draw = ImageDraw.Draw(sheet)
    y = tile.y + tile.height + 6
    write(draw, (tile.x, y), f"{tile.hit.rank}", 20, _INK)
    write(draw, (tile.x + length(f"{tile.hit.rank}", 20) + 10, y + 3), sureness(tile.hit), 16, _FAINT)
    path = shortened(printable(tile.hit.path), 15, tile.width, keep_end=True)
    write(draw, (tile.x, y + 26), path, 15, _FAINT)


def _draw_tile(tile: _Tile, answer: "Answer | Detections", colors: dict[str, str]) -> Image.Image:
    """A photograph with its boxes, (tile.width, tile.height) RGB; grey with the reason if it cannot be shown."""
    hit = tile.hit
    try:
        photo = open_photo(hit.path, (hit.width, hit.height), side=_WIDTH)
    except NotShown as reason:
        return _draw_missing(tile, str(reason))
    scale = min(tile.width / hit.width, tile.height / hit.height)
    size = (max(1, round(hit.width * scale)), max(1, round(hit.height * scale)))
    left, top = (tile.width - size[0]) // 2, (tile.height - size[1]) // 2
    picture = Image.new("RGB", (tile.width, tile.height), _EMPTY)
    picture.paste(resized(photo, size), (left, top))

    draw = ImageDraw.Draw(picture)
    boxes: list[Box] = []
    for index, region in enumerate(hit.regions):
        # The frames of a region that answers several phrases lie one inside the other.
        inset = 4 * sum(region.box == other.box for other in hit.regions[:index])
        x1, y1, x2, y2 = (side * scale for side in region.box)
        x1, y1 = left + x1 + inset, top + y1 + inset
        boxes.append((x1, y1, max(left + x2 - 1 - inset, x1 + 1), max(top + y2 - 1 - inset, y1 + 1)))
    for region, (x1, y1, x2, y2) in reversed(list(zip(hit.regions, boxes))):  # the best one on top
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_PAPER, width=5)  # so that it shows on any background
        draw.rectangle((x1, y1, x2, y2), outline=colors[region.for_phrase], width=3)
    taken: list[Box] = []
    for region, box in zip(hit.regions, boxes):
        label = printable(answer.label(region))
        taken.append(draw_label(draw, picture.size, box, label, colors[region.for_phrase], taken))
    return picture


def _draw_missing(tile: _Tile, reason: str) -> Image.Image:
    picture = Image.new("RGB", (tile.width, tile.height), _EMPTY)
    draw = ImageDraw.Draw(picture)
    write(draw, (tile.width / 2, tile.height / 2 - 14), reason, 18, _FAINT, anchor="mm")
    path = shortened(printable(tile.hit.path), 15, tile.width - 24, keep_end=True)
    write(draw, (tile.width / 2, tile.height / 2 + 14), path, 15, _FAINT, anchor="mm")
    return picture
