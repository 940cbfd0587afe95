"""What a photograph's headers tell besides its pixels: when, where and with what it was taken, what people noted."""

import io
import re
import xml.etree.ElementTree as xml
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

from PIL import Image

from decoding.ifd import Directory, read_header

_MAKE, _MODEL, _CHANGED, _RATING, _XP_KEYWORDS = 271, 272, 306, 0x4746, 0x9C9E
_EXIF, _GPS, _XMP, _IPTC = 34665, 34853, 700, 33723
# When the photograph was taken, digitised, last changed: the tag of the date and of its offset from UTC.
_TAKEN = ((36867, 36881), (36868, 36882))
_CHANGED_OFFSET = 36880
_LENS = 0xA434
_IPTC_RECORD = 0x0404  # in Photoshop's block of a JPEG

_MOST_XMP = 4 << 20
_MOST_KEYWORDS = 200
_MOST_TEXT = 200  # characters

_DATE = re.compile(
    r"(\d{4})[:\-/.](\d{2})[:\-/.](\d{2})[T ](\d{2}):(\d{2})(?::(\d{2}))?(?:\.\d+)?\s*(Z|[+-]\d{2}:?\d{2})?"
)
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC_SUBJECT = "{http://purl.org/dc/elements/1.1/}subject"
_XMP_RATING = "{http://ns.adobe.com/xap/1.0/}Rating"
_XMP_DATES = (
    "{http://ns.adobe.com/exif/1.0/}DateTimeOriginal",
    "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "{http://ns.adobe.com/xap/1.0/}CreateDate",
)


@dataclass(frozen=True)
class Headers:
    """None or empty: the headers do not say."""

    taken: str | None = None  # local time of the camera, ISO 8601 to the second: "2019-06-23T14:05:06"
    utc_offset: int | None = None  # minutes that this is ahead of UTC
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    latitude: float | None = None  # degrees north
    longitude: float | None = None  # degrees east
    rating: int | None = None  # 0 to 5 stars, -1 rejected
    keywords: tuple[str, ...] = ()


def read_headers(image: Image.Image) -> Headers:
    """What the headers of a file that Pillow opened tell; whatever is broken in them is left out."""
    exif = image.info.get("exif")
    directory = _exif_directory(exif) if isinstance(exif, bytes) else None
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    photoshop = image.info.get("photoshop")
    iptc = photoshop.get(_IPTC_RECORD, b"") if isinstance(photoshop, Mapping) else b""
    return _read(directory, xmp, iptc if isinstance(iptc, bytes) else b"")


def read_tiff_headers(directory: Directory) -> Headers:
    """The same of a TIFF's first directory."""
    return _read(directory, directory.data(_XMP), directory.data(_IPTC))


def _exif_directory(block: bytes) -> Directory | None:
    file = io.BytesIO(block.removeprefix(b"Exif\0\0"))
    header = read_header(file)
    return header and Directory(file, header, header.first)


def _read(directory: Directory | None, xmp: bytes | str, iptc: bytes) -> Headers:
    tags: dict[str, Any] = {}
    if directory is not None:
        tags = _from_exif(directory)
    packet = _from_xmp(xmp)
    keywords = [*packet.pop("keywords", ()), *_from_iptc(iptc), *tags.pop("keywords", ())]
    if "taken" in packet and "taken" in tags:
        packet.pop("taken")
        packet.pop("utc_offset", None)
    return Headers(**{**tags, **packet}, keywords=tuple(dict.fromkeys(keywords))[:_MOST_KEYWORDS])


def _from_exif(directory: Directory) -> dict[str, Any]:
    found: dict[str, Any] = {"make": _clean(directory.text(_MAKE)), "model": _clean(directory.text(_MODEL))}
    exif, gps = directory.child(_EXIF), directory.child(_GPS)
    dates = [(_when(directory.text(_CHANGED)), exif.text(_CHANGED_OFFSET) if exif else "")]
    if exif:
        found["lens"] = _clean(exif.text(_LENS))
        dates = [*((_when(exif.text(date)), exif.text(offset)) for date, offset in _TAKEN), *dates]
    for when, offset in dates:
        if when:
            found |= {"taken": when[0], "utc_offset": when[1] if when[1] is not None else _offset(offset)}
            break
    if gps:
        found["latitude"], found["longitude"] = _place(gps)
    rating = directory.integer(_RATING, -2)
    found["rating"] = rating if -1 <= rating <= 5 else None
    words = directory.data(_XP_KEYWORDS).decode("utf-16-le", "ignore").rstrip("\0")
    found["keywords"] = [word for part in words.split(";") if (word := _clean(part))]
    return {name: value for name, value in found.items() if value is not None}


def _from_xmp(packet: bytes | str) -> dict[str, Any]:
    if isinstance(packet, str):
        packet = packet.encode("utf-8", "replace")
    packet = packet.strip(b"\0 \r\n\t")
    # No document type, so no entities that unfold without end.
    if not packet or len(packet) > _MOST_XMP or b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        return {}
    try:
        root = xml.fromstring(packet)
    except (xml.ParseError, ValueError, LookupError):
        return {}
    # A simple property is an attribute or an element.
    properties: dict[str, str] = {}
    keywords: list[str] = []
    for element in root.iter():
        for name, value in (*element.attrib.items(), (element.tag, element.text or "")):
            if name == _XMP_RATING or name in _XMP_DATES:
                properties.setdefault(name, value.strip())
        if element.tag == _DC_SUBJECT:
            keywords += [word for item in element.iter(_RDF + "li") if (word := _clean(item.text or ""))]
    found: dict[str, Any] = {"keywords": keywords}
    try:
        rating = round(float(properties.get(_XMP_RATING, "")))
    except (ValueError, OverflowError):
        pass
    else:
        found |= {"rating": rating} if -1 <= rating <= 5 else {}
    for name in _XMP_DATES:
        if when := _when(properties.get(name, "")):
            found |= {"taken": when[0], "utc_offset": when[1]}
            break
    return found


def _from_iptc(record: bytes) -> list[str]:
    """The keywords (2:25) of an IPTC record."""
    words, at = [], 0
    while at + 5 <= len(record) and record[at] == 0x1C:
        length = int.from_bytes(record[at + 3 : at + 5], "big")
        if length >= 1 << 15:  # of more than 32767 bytes: no keyword, and nothing behind it is looked for
            break
        if record[at + 1 : at + 3] == b"\x02\x19":
            data = record[at + 5 : at + 5 + length]
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError:
                text = data.decode("latin-1")
            if word := _clean(text):
                words.append(word)
        at += 5 + length
    return words


def _when(text: str) -> tuple[str, int | None] | None:
    """A date as ISO 8601 and its offset from UTC in minutes, if it has one; None: it is no date."""
    match = _DATE.match(text.strip())
    if not match:
        return None
    *numbers, zone = match.groups()
    try:
        when = datetime(*(int(number or 0) for number in numbers))  # type: ignore[arg-type]  # six numbers
    except ValueError:  # 0000:00:00, the 31st of February
        return None
    return when.isoformat(), _offset(zone or "")


def _offset(text: str) -> int | None:
    if text.strip() == "Z":
        return 0
    match = re.fullmatch(r"([+-])(\d{2}):?(\d{2})", text.strip())
    if not match:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    return (-minutes if match[1] == "-" else minutes) if minutes <= 14 * 60 else None


def _place(gps: Directory) -> tuple[float | None, float | None]:
    degrees = []
    for tag, negative, most in ((2, "S", 90), (4, "W", 180)):
        numbers = gps.values(tag)
        if not 1 <= len(numbers) <= 3 or any(not isinstance(number, int | float | Fraction) for number in numbers):
            return None, None
        angle = sum(float(number or 0) / 60**place for place, number in enumerate(numbers))
        if angle > most:
            return None, None
        degrees.append(-angle if gps.text(tag - 1).upper().startswith(negative) else angle)
    if degrees == [0, 0]:  # what cameras write that know no place
        return None, None
    return round(degrees[0], 7), round(degrees[1], 7)


def _clean(text: str) -> str | None:
    """A text in one line; None: nothing is left of it."""
    words = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return words[:_MOST_TEXT] or None
