"""An answer as one web page that needs no other file: photographs in it, boxes over them, light or dark."""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from commands.files import written_whole
from commands.text import printable
from search.drawing.photo import NotShown, open_photo, resized
from search.errors import DeliveryError
from search.told import numbers, sureness

if TYPE_CHECKING:
    from search.detector import Detections
    from search.hits import Hit, HitRegion
    from search.searcher import Answer

# Pixels of a photograph's longer side within the page: about 60 KB each; of many photographs, 20 KB each.
_SIDE, _SMALL_SIDE = 640, 320
_MANY = 100
_QUALITY = 82

# One colour a phrase, told apart by the colour-blind too (Okabe and Ito), as in pictures.
_COLORS = ("#d55e00", "#0072b2", "#00795a", "#a8487f", "#8a6d00", "#2f7fa8", "#5b5b5f")

# The page's first line: only a file that begins with it is ever overwritten.
_MARK = "<!doctype html><!-- densecap-search -->"

# Frames that are found by the place of their line in the list: pointing at the one lifts the other.
_POINTED_AT = 12

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1c1e; --faint: #6e6e73; --empty: #e5e5ea; --line: #d8d8dc; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #151517; --ink: #f2f2f4; --faint: #a0a0a6; --empty: #2c2c30; --line: #3a3a3f; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 24px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 26px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 36px 0 4px; overflow-wrap: anywhere; }
p { margin: 0 0 16px; color: var(--faint); overflow-wrap: anywhere; }
main, section > div { display: grid; gap: 28px 24px; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(320px, 100%), 1fr)); }
main.sections { display: block; }
figure { margin: 0; }
.photo { position: relative; background: var(--empty); max-width: 100%; margin: 0 auto; }
.photo img { display: block; width: 100%; height: 100%; }
.photo svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: visible; }
.photo svg rect { fill: none; vector-effect: non-scaling-stroke; }
.photo svg .under { stroke: #fff; stroke-width: 6px; }
.photo svg .over { stroke-width: 3px; }
.photo b { position: absolute; min-width: 20px; padding: 0 5px; color: #fff; font: 600 13px/20px system-ui, sans-serif;
  text-align: center; }
.photo .gone { position: absolute; inset: 0; display: grid; place-items: center; color: var(--faint); }
figcaption { margin-top: 8px; }
.name { overflow-wrap: anywhere; }
.name a { color: inherit; text-decoration-color: var(--line); }
.score, small { color: var(--faint); font-variant-numeric: tabular-nums; }
ul { list-style: none; margin: 4px 0 0; padding: 0; font-size: 14px; }
li { display: flex; gap: 8px; align-items: baseline; padding: 1px 0; }
li i { flex: none; min-width: 20px; padding: 0 5px; color: #fff; font: 600 12px/18px system-ui, sans-serif;
  text-align: center; }
li span { flex: 1; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, a line of text, and photographs with their regions, best first."""

    heading: str
    text: str
    hits: "Sequence[Hit]"
    colors: dict[str, str] = field(default_factory=dict)  # phrase of a region -> colour; others get one


def answer_page(answer: "Answer | Detections") -> str:
    """The page of an answer."""
    asked = ", ".join(answer.query)
    count = f"{len(answer.hits)} photograph{'s' if len(answer.hits) != 1 else ''}"
    return page([Section(asked, f"{count}, {numbers(answer)}", answer.hits)])


def page(sections: Sequence[Section], *, title: str = "", text: str = "") -> str:
    """A page of sections, each under its heading; of a single section, the page has its heading."""
    count = sum(len(section.hits) for section in sections)
    side = _SIDE if count <= _MANY else _SMALL_SIDE
    alone = len(sections) == 1 and not title
    parts = []
    for section in sections:
        figures = "\n".join(_figures(section, side))
        head = _head("h1" if alone else "h2", section.heading, section.text)
        parts.append(f"{head}\n<main>\n{figures}\n</main>" if alone else f"{_part(head, figures)}")
    body = "\n".join(parts)
    if not alone:
        body = f'{_head("h1", title, text)}\n<main class="sections">\n{body}\n</main>'
    lifted = "\n".join(
        f"figure:has(li:nth-child({n}):hover) g:not(:nth-child({n})) {{ opacity: 0.15; }}"
        for n in range(1, _POINTED_AT + 1)
    )
    return (
        f'{_MARK}\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Whatever a file is called: nothing of it runs, and nothing is fetched.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(title or sections[0].heading)}</title>\n<style>{_STYLE}{lifted}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def check_page(target: Path) -> None:
    """Raise DeliveryError if a page cannot be written to target, before the work of finding what to show."""
    name = printable(target)
    if target.suffix.lower() not in (".html", ".htm"):
        raise DeliveryError(f"The page is HTML: give it a name that ends in .html, not {name}.")
    if target.is_dir():
        raise DeliveryError(f"The page cannot be written: {name} is a folder.")
    if not target.parent.is_dir():
        raise DeliveryError(f"The page cannot be written: there is no folder {printable(target.parent)}.")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise DeliveryError(f"The page cannot be written: {name} is write-protected.")
    if target.exists() and not _is_ours(target):
        raise DeliveryError(f"{name} is there, and is no page of this program: give the new page another name.")


def write_page(text: str, target: Path) -> None:
    """Write a page as a whole, or not at all. Raises DeliveryError."""
    try:
        with written_whole(target) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DeliveryError(f"The page cannot be written to {printable(target)}: {error.strerror or error}.") from error


def _is_ours(target: Path) -> bool:
    with open(target, "rb") as file:
        return file.read(len(_MARK)) == _MARK.encode()


def _head(tag: str, heading: str, text: str) -> str:
    return f"<{tag}>{_text(heading)}</{tag}>\n<p>{_text(text)}</p>"


def _part(head: str, figures: str) -> str:
    return f"<section>\n{head}\n<div>\n{figures}\n</div>\n</section>"


def _figures(section: Section, side: int) -> list[str]:
    colors = dict(section.colors)
    for hit in section.hits:
        for region in hit.regions:
            colors.setdefault(region.for_phrase, _COLORS[len(colors) % len(_COLORS)])
    return [_figure(hit, colors, side) for hit in section.hits]


def _figure(hit: "Hit", colors: dict[str, str], side: int) -> str:
    """A photograph with its boxes, and below it rank, score, path and a line for each box."""
    frames, badges, lines = [], [], []
    for number, region in enumerate(hit.regions, 1):
        color = colors[region.for_phrase]
        x1, y1, x2, y2 = region.box
        rect = f'x="{x1:g}" y="{y1:g}" width="{x2 - x1:g}" height="{y2 - y1:g}"'
        frames.append(f'<g><rect class="under" {rect}/><rect class="over" stroke="{color}" {rect}/></g>')
        # Regions that begin in one corner have their numbers side by side.
        before = sum(other.box[:2] == region.box[:2] for other in hit.regions[: number - 1])
        left, top = 100 * x1 / hit.width, 100 * y1 / hit.height
        badges.append(
            f'<b style="left:calc({left:.2f}% + {22 * before}px);top:{top:.2f}%;background:{color}">{number}</b>'
        )
        lines.append(_line(number, region, color))
    svg = f'<svg viewBox="0 0 {hit.width} {hit.height}" preserveAspectRatio="none">{"".join(frames)}</svg>'
    try:
        image = f'<img src="{_data(hit, side)}" alt="" loading="lazy">{svg}{"".join(badges)}'
    except NotShown as reason:
        image = f'<span class="gone">{_text(str(reason))}</span>'
    shape = f"aspect-ratio:{hit.width}/{hit.height};width:min(100%,{380 * hit.width / hit.height:.0f}px)"
    name = _text(printable(hit.path))
    uri = f'<a href="{escape(hit.path.as_uri())}">{name}</a>' if hit.path.is_absolute() else name
    beside = f" <small>and {len(hit.copies) + len(hit.similar)} like it</small>" if hit.copies or hit.similar else ""
    return (
        f'<figure>\n<div class="photo" style="{shape}">{image}</div>\n<figcaption><div class="name"><b>{hit.rank}</b> '
        f'<span class="score">{sureness(hit)}</span> {uri}{beside}</div>\n<ul>{"".join(lines)}</ul></figcaption>\n'
        "</figure>"
    )


def _line(number: int, region: "HitRegion", color: str) -> str:
    told = f" <small>{_text(region.phrase)}</small>" if region.phrase and region.phrase != region.for_phrase else ""
    return (
        f'<li><i style="background:{color}">{number}</i><span>{_text(region.for_phrase or region.phrase)}{told}</span>'
        f'<span class="score" style="flex:none">{sureness(region)}</span></li>'
    )


def _data(hit: "Hit", side: int) -> str:
    """A photograph as a data URI. Raises NotShown."""
    photo = open_photo(hit.path, (hit.width, hit.height), side=side)
    scale = min(1.0, side / max(hit.width, hit.height))
    image = resized(photo, (max(1, round(hit.width * scale)), max(1, round(hit.height * scale))))
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _text(text: str) -> str:
    """Text for a page: markup means nothing in it, and bytes of a name that are no text are escaped."""
    return escape(printable(text).encode("utf-8", "backslashreplace").decode("utf-8"))
