"""JSON lines: a photograph with its regions on each."""

from collections.abc import Iterable
from typing import Any

from commands.boxes import xywh
from indexer.export.documents import Write, dump
from indexer.export.photographs import ExportedPhoto, known_headers


def write_lines(photographs: Iterable[ExportedPhoto], write: Write, *, features: bool) -> None:
    """{"photo_id", "path", "file_name", "width", "height", "sha256", what headers tell, "regions": [...]} a line."""
    for photo in photographs:
        row = photo.photo
        document = {
            "photo_id": row.photo_id,
            "path": str(row.path),
            "file_name": photo.file_name,
            "width": row.width,
            "height": row.height,
            "sha256": row.digest,
            **({"incomplete": row.incomplete} if row.incomplete else {}),
            **known_headers(row),
            "regions": [_region(photo, index, features) for index in range(len(photo.regions))],
        }
        write(dump(document) + b"\n")


def _region(photo: ExportedPhoto, index: int, features: bool) -> dict[str, Any]:
    region = photo.regions[index]
    told: dict[str, Any] = {
        "region_id": region.region_id,
        "box": xywh(region.box),
        "score": round(region.score, 6),
        "phrase": region.phrase,
    }
    if features and photo.embeddings is not None and photo.codes is not None:
        told["embedding"] = [round(float(value), 6) for value in photo.embeddings[index]]
        told["code"] = [float(value) for value in photo.codes[index]]
    return told
