"""A region a row: CSV."""

from collections.abc import Iterable, Iterator
from typing import Any

from commands.boxes import xywh
from commands.csv_lines import csv_line
from indexer.export.documents import Write
from indexer.export.photographs import ExportedPhoto, identity, known_headers

PHOTO_COLUMNS = ("photo_id", "path", "file_name", "width", "height", "sha256")
HEADER_COLUMNS = (
    "taken", "utc_offset", "make", "model", "lens", "latitude", "longitude", "rating", "keywords",
)  # fmt: skip
REGION_COLUMNS = ("region_id", "x", "y", "region_width", "region_height", "score", "phrase")


def rows(photo: ExportedPhoto) -> Iterator[dict[str, Any]]:
    """A row a region, by the names above; None: headers do not say. keywords is a list."""
    headers = known_headers(photo.photo)
    about = {**identity(photo), **{name: headers.get(name) for name in HEADER_COLUMNS}}
    for region in photo.regions:
        x, y, width, height = xywh(region.box)
        yield {
            **about,
            "region_id": region.region_id,
            "x": x,
            "y": y,
            "region_width": width,
            "region_height": height,
            "score": round(region.score, 6),
            "phrase": region.phrase,
        }


def write_csv(photographs: Iterable[ExportedPhoto], write: Write) -> None:
    """A line a region, below a line of column names; keywords with ; between."""
    columns = [*PHOTO_COLUMNS, *HEADER_COLUMNS, *REGION_COLUMNS]
    write(csv_line(columns))
    for photo in photographs:
        for row in rows(photo):
            told = {**row, "keywords": ";".join(row["keywords"] or [])}
            write(csv_line(told[column] for column in columns))
