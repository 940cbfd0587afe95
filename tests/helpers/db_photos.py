"""Photographs with made-up regions for tests of `db`: tiny, and the same for the same path and version."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from db.local.collection import LocalCollection
from db.records import FailedFile, ModelIdentity, NewPath, NewPhoto

MODEL = ModelIdentity(digest="a" * 64, embedding_size=8, code_size=5)
OTHER_MODEL = ModelIdentity(digest="b" * 64, embedding_size=8, code_size=5)


def photo(root_id: int, path: str, *, version: int = 0, count: int = 3, **changes: Any) -> NewPhoto:
    """A photograph of `count` regions, all its numbers drawn from a generator seeded by its path and version."""
    rng = np.random.default_rng(zlib.crc32(f"{path!a} {version}".encode()))
    embeddings = rng.normal(size=(count, MODEL.embedding_size)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    corners = rng.integers(0, 50, size=(count, 2))
    values: dict[str, Any] = {
        "size": 1000 + version,
        "mtime_ns": 1_700_000_000_000_000_000 + version,
        "digest": f"{zlib.crc32(f'{path!a} {version}'.encode()):064x}",
        "width": 100,
        "height": 80,
        "boxes": np.concatenate([corners, corners + rng.integers(1, 30, size=(count, 2))], axis=1).astype(np.float32),
        "scores": np.sort(rng.random(count, dtype=np.float32))[::-1],
        "phrases": [f"region {number} of {path!a}" for number in range(count)],
        "codes": rng.normal(size=(count, MODEL.code_size)).astype(np.float16),
        "embeddings": embeddings,
    }
    return NewPhoto(root_id, path, **(values | changes))


def create(path: Path) -> LocalCollection:
    """A writer's Collection, made if missing."""
    return LocalCollection.open(path, write=True, create=True, model=MODEL)


def contents(collection: Any, model: ModelIdentity = MODEL) -> dict[str, Any]:
    """Everything that can be asked of a collection, to compare two of them; of a folder, what FAISS finds too."""
    features = collection.features()
    nearest = getattr(collection, "nearest", lambda queries, k: [])
    queries = np.eye(model.embedding_size, dtype=np.float32)
    return {
        "revision": collection.revision,
        "known": {root_id: collection.known(root_id) for root_id in collection.roots()},
        "photos": collection.photos(collection.photo_ids()),
        "regions": collection.regions(features.region_ids),
        "features": (features.region_ids.tolist(), features.photo_ids.tolist()),
        "codes": features.codes.tolist(),
        "embeddings": features.embeddings.tolist(),
        "cosines": collection.cosines(queries).scores.tolist(),
        "nearest": [(ids.tolist(), scores.tolist()) for ids, scores in nearest(queries, 1000)],
    }


def _failed(path: str) -> FailedFile:
    return FailedFile(1, path, 5, 6, None, "not an image")


# A collection's life in commits, each of a different kind. Commit n makes revision n + 1 of revision n.
LIFE: tuple[dict[str, Any], ...] = (
    {"new": [photo(1, "a.jpg"), photo(1, "b.jpg", count=1), photo(1, "c\udcff.jpg", count=5)]},
    {"new": [photo(1, "d/e.jpg", count=2)], "failed": [_failed("broken.jpg")]},
    {"moved": {1: NewPath(1, "b.jpg", 7, 8)}, "touched": {5: (9, 10)}, "gone": [3]},
    {"new": [photo(1, "b.jpg", version=1, count=4), photo(1, "broken.jpg", count=2)], "failed": [_failed("d/e.jpg")]},
    {"new": [photo(1, "f.jpg", count=6)], "gone": [7]},
)


def live(collection: LocalCollection, until: int = len(LIFE)) -> None:
    """Take a collection from wherever it is to revision `until`."""
    if not collection.roots():
        collection.add_root(Path("/photos"))
    for step in LIFE[collection.revision : until]:
        collection.commit(**step)
