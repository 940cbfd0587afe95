"""Text in pictures, of any script: a font that comes along, the system's for what that lacks, else spelt out."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

from PIL import ImageDraw, ImageFont

# Latin, Greek, Cyrillic, Armenian, Georgian, Hebrew, Arabic, Lao and signs; its licence stands beside it.
_OURS = str(Path(__file__).parent / "fonts" / "DejaVuSans-subset.ttf")
# Looked for in the system's folders of fonts, in this order: Chinese, Japanese, Korean, then India's and Thailand's.
_SYSTEM_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "Nirmala.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansBengali-Regular.ttf",
    "NotoSansTamil-Regular.ttf",
    "NotoSansThai-Regular.ttf",
    "FreeSans.ttf",
)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: int,
    color: str,
    *,
    anchor: str = "la",
) -> None:
    """Write a line of text, `size` pixels high. anchor: what `place` is, "la", "ra" (above the letters) or "mm"."""
    pieces = _pieces(text)
    x = place[0] - {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * length(text, size)
    ascent, descent = _font(_OURS, size).getmetrics()
    baseline = place[1] + (ascent if anchor[1] == "a" else (ascent - descent) / 2)
    for name, letters in pieces:
        draw.text((x, baseline), letters, color, _font(name, size), anchor="ls")
        x += _font(name, size).getlength(letters)


def length(text: str, size: int) -> int:
    """How long a line of text is, pixels."""
    return round(sum(_font(name, size).getlength(letters) for name, letters in _pieces(text)))


def shortened(text: str, size: int, width: float, *, keep_end: bool = False) -> str:
    """Text that is at most `width` pixels long, cut with an ellipsis."""
    if length(text, size) <= width:
        return text
    fits, too_long = 0, len(text)  # letters that are left
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        fits, too_long = (middle, too_long) if length(_cut(text, middle, keep_end), size) <= width else (fits, middle)
    return _cut(text, fits, keep_end)


def _cut(text: str, letters: int, keep_end: bool) -> str:
    if keep_end:
        return f"…{text[len(text) - letters :]}"
    return f"{text[:letters]}…"


@lru_cache(4096)
def _pieces(text: str) -> tuple[tuple[str, str], ...]:
    """The text as stretches of one font: (name of the font, letters)."""
    # macOS writes umlauts in names of files as two letters; put together, every font has them.
    plain = re.sub("[\ufe00-\ufe0f]", "", unicodedata.normalize("NFC", text))  # which choose a variant of a letter
    letters = [piece for letter in plain for piece in _drawable(letter)]
    return tuple(
        (name, "".join(drawn for _, drawn in some)) for name, some in groupby(letters, key=lambda piece: piece[0])
    )


@lru_cache(4096)
def _drawable(letter: str) -> tuple[tuple[str, str], ...]:
    """A letter in the first font that has it, or spelt out: (name of the font, letters)."""
    for name in _fonts():
        if _has(name, letter):
            return ((name, letter),)
    return tuple((_OURS, other) for other in _spelt(letter))


def _spelt(letter: str) -> str:
    """A letter that no font here has, in letters that ours has."""
    plain = unicodedata.normalize("NFKC", letter)
    if plain != letter and all(_has(_OURS, other) for other in plain):
        return plain
    kind, name = unicodedata.category(letter), unicodedata.name(letter, "")
    if kind in ("Cf", "Mn"):  # joins or colours the letter before it
        return ""
    if kind == "So":
        return f":{name.lower()}:"
    if name.startswith(("HIRAGANA LETTER", "KATAKANA LETTER", "HANGUL SYLLABLE")):
        return name.split()[-1].lower()
    return letter.encode("unicode_escape").decode("ascii")


@cache
def _fonts() -> tuple[str, ...]:
    """Ours, and those of the list that are installed."""
    return (_OURS, *_installed())


def _installed() -> Iterator[str]:
    for name in _SYSTEM_FONTS:
        try:
            _font(name, 17)
        except OSError:
            continue
        yield name


def _has(name: str, letter: str) -> bool:
    """Whether a font has a letter: what it draws is not what it draws for none."""
    return letter.isspace() or _shape(name, letter) != _shape(name, "\U0010fffe")


@lru_cache(4096)
def _shape(name: str, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = _font(name, 17).getmask(letter)
    return mask.size, bytes(mask)


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(name, size)
