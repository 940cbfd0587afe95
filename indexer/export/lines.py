"""JSON lines: a photograph with its regions on each."""

from collections.abc import Iterable
from typing import Any

from commands.boxes import xywh
from indexer.export.documents import Write, dump
from indexer.export.photographs import ExportedPhoto, feature_lists, identity, known_headers


def write_lines(photographs: Iterable[ExportedPhoto], write: Write) -> None:
    """{"photo_id", "path", "file_name", "width", "height", "sha256", what headers tell, "regions": [...]} a line."""
    for photo in photographs:
        row = photo.photo
        document = {
            **identity(photo),
            **({"incomplete": row.incomplete} if row.incomplete else {}),
            **known_headers(row),
            "regions": [_region(photo, index) for index in range(len(photo.regions))],
        }
        write(dump(document) + b"\n")


def _region(photo: ExportedPhoto, index: int) -> dict[str, Any]:
    region = photo.regions[index]
    return {
        "region_id": region.region_id,
        "box": xywh(region.box),
        "score": round(region.score, 6),
        "phrase": region.phrase,
        **feature_lists(photo, index),
    }
