"""What is taken away from the page: photographs as a ZIP archive, regions as COCO or CSV, paths as text."""

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from commands.boxes import xywh
from commands.csv_lines import csv_line
from commands.text import printable
from db.records import PhotoRow, RegionRow
from search.output import path_line

_CHUNK = 1 << 20  # bytes of a photograph read at a time
_CSV_COLUMNS = "path width height region_id x y region_width region_height score phrase for"


@dataclass(frozen=True)
class TakenRegion:
    """A region to take along."""

    row: RegionRow
    score: float  # as an answer, or its objectness
    for_phrase: str = ""  # the phrase of a question that it answers; "": none was asked


@dataclass(frozen=True)
class TakenPhoto:
    """A photograph to take along."""

    photo: PhotoRow
    regions: Sequence[TakenRegion]


def zip_archive(photos: Sequence[PhotoRow]) -> Iterator[bytes]:
    """The files of photographs as a ZIP archive, made while it is sent: nothing is kept.

    Not compressed, which photographs are already. Files of one name get numbers. What is not there any more is named in
    a text file.
    """
    out = _Outgoing()
    names: set[str] = set()
    missing: list[str] = []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True, strict_timestamps=False) as archive:
        for photo in photos:
            try:
                with open(photo.path, "rb") as file:
                    entry = zipfile.ZipInfo.from_file(
                        photo.path, _free_name(photo.path, names), strict_timestamps=False
                    )
                    entry.compress_type = zipfile.ZIP_STORED
                    with archive.open(entry, "w", force_zip64=entry.file_size > 1 << 31) as target:
                        while chunk := file.read(_CHUNK):
                            target.write(chunk)
                            yield out.take()
            except OSError as error:
                missing.append(f"{printable(photo.path)}: {error.strerror or error}")
            yield out.take()
        if missing:
            archive.writestr(_free_name(PurePath("missing.txt"), names), "\n".join(missing) + "\n")
    yield out.take()


class _Outgoing(io.RawIOBase):
    """Takes what is written until somebody fetches it; cannot seek, so `zipfile` writes sizes behind the contents."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        waiting, self._waiting = self._waiting, []
        return b"".join(waiting)


def _free_name(path: PurePath, taken: set[str]) -> str:
    """The name of a file, with a number if an earlier one has it (on some systems, also in other letter case)."""
    name = printable(path.name)
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    number = 1
    while name.lower() in taken:
        number += 1
        name = f"{stem} ({number}){suffix}"
    taken.add(name.lower())
    return name


def as_coco(photos: Sequence[TakenPhoto]) -> bytes:
    """COCO's format for detection: images, annotations (bbox: x, y, width, height), categories.

    A category is a phrase that was asked for; where none was, what the network wrote. Annotations also carry `score`
    and `caption`, what the network wrote. `file_name` is the absolute path.
    """
    categories: dict[str, int] = {}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for photo in photos:
        row = photo.photo
        images.append({"id": row.photo_id, "file_name": str(row.path), "width": row.width, "height": row.height})
        for region in photo.regions:
            name = region.for_phrase or region.row.phrase
            box = xywh(region.row.box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": row.photo_id,
                    "category_id": categories.setdefault(name, len(categories) + 1),
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": region.score,
                    "caption": region.row.phrase,
                }
            )
    named = [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()]
    document = {"images": images, "annotations": annotations, "categories": named}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def as_csv(photos: Sequence[TakenPhoto]) -> bytes:
    """One region a line, below a line of column names."""
    lines = [csv_line(_CSV_COLUMNS.split())]
    for photo in photos:
        row = photo.photo
        for region in photo.regions:
            about = [region.row.region_id, *xywh(region.row.box), region.score, region.row.phrase, region.for_phrase]
            lines.append(csv_line([row.path, row.width, row.height, *about]))
    return b"".join(lines)


def as_paths(photos: Sequence[TakenPhoto]) -> bytes:
    """One path a line, as `search.output.as_paths` has them."""
    return b"".join(path_line(photo.photo.path) for photo in photos)
