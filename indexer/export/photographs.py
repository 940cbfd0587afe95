"""Photographs with their regions, read from a collection a few at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from db.collection import Collection
from db.records import PhotoRow, RegionRow

# So many photographs are in memory at a time: with features about 30 MB.
_CHUNK = 256


@dataclass(frozen=True)
class ExportedPhoto:
    """A photograph and its N regions, the highest score first."""

    photo: PhotoRow
    file_name: str  # relative to the root if the collection has one root, with "/"; else the absolute path
    regions: list[RegionRow]
    codes: np.ndarray | None  # (N, code_size) float16; None: not asked for
    embeddings: np.ndarray | None  # (N, embedding_size) float32, unit length


def read_photographs(collection: Collection, *, features: bool = False) -> Iterator[ExportedPhoto]:
    """Every described photograph, ascending by id, as of the commit that the collection sees.

    features: with region codes and embeddings.
    """
    root_paths = list(collection.roots().values())
    root = root_paths[0] if len(root_paths) == 1 else None
    photo_ids = collection.photo_ids()
    for start in range(0, len(photo_ids), _CHUNK):
        some = photo_ids[start : start + _CHUNK]
        found = collection.features(some) if features else None
        for photo, regions in zip(collection.photos(some), collection.regions_of(some), strict=True):
            regions.sort(key=lambda row: -row.score)
            rows = None if found is None else np.searchsorted(found.region_ids, [row.region_id for row in regions])
            yield ExportedPhoto(
                photo,
                _file_name(photo.path, root),
                regions,
                None if found is None else found.codes[rows],
                None if found is None else found.embeddings[rows],
            )


def _file_name(path: Path, root: Path | None) -> str:
    return path.relative_to(root).as_posix() if root is not None and path.is_relative_to(root) else str(path)


def identity(photo: ExportedPhoto) -> dict[str, Any]:
    """Which photograph it is: {"photo_id", "path", "file_name", "width", "height", "sha256"}."""
    row = photo.photo
    return {
        "photo_id": row.photo_id,
        "path": str(row.path),
        "file_name": photo.file_name,
        "width": row.width,
        "height": row.height,
        "sha256": row.digest,
    }


def feature_lists(photo: ExportedPhoto, index: int) -> dict[str, list[float]]:
    """{"embedding", "code"} of a photograph's region as lists; empty: they were not asked for."""
    if photo.embeddings is None or photo.codes is None:
        return {}
    return {
        "embedding": [round(float(value), 6) for value in photo.embeddings[index]],
        "code": [float(value) for value in photo.codes[index]],
    }


def known_headers(photo: PhotoRow) -> dict[str, Any]:
    """What the headers of a photograph tell, by the names of `db.records.PhotoHeaders`; what they do not is missing."""
    if photo.headers is None:
        return {}
    values = {
        "taken": photo.headers.taken,
        "utc_offset": photo.headers.utc_offset,
        "make": photo.headers.make,
        "model": photo.headers.model,
        "lens": photo.headers.lens,
        "latitude": photo.headers.latitude,
        "longitude": photo.headers.longitude,
        "rating": photo.headers.rating,
        "keywords": list(photo.headers.keywords) or None,
    }
    return {name: value for name, value in values.items() if value is not None}
