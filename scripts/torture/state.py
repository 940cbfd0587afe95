"""What a collection says, ready to be compared with what another one says, for `scripts.torture`."""

import sys
from typing import NamedTuple

import numpy as np

from db.collection import open_collection
from db.errors import CollectionMissing
from db.local.collection import LocalCollection
from db.location import Location

SHOWN = 5  # differences


class File(NamedTuple):
    """What a collection says of a file: all of it but ids. The last eight are None of one that failed."""

    size: int
    mtime_ns: int
    digest: str | None
    reason: str | None
    width: int | None = None
    height: int | None = None
    boxes: tuple[tuple[float, ...], ...] | None = None
    scores: tuple[float, ...] | None = None
    phrases: tuple[str, ...] | None = None
    codes: bytes | None = None
    embeddings: bytes | None = None
    in_index: bytes | None = None  # the embeddings as FAISS has them


State = dict[str, File]  # by path


def state(location: Location, *, index: bool = True) -> State:
    """What a collection says of each file; nothing if there is no collection. index: also what FAISS has of it."""
    found: State = {}
    try:
        collection = open_collection(location)
    except CollectionMissing:
        return found
    with collection:
        features = collection.features()
        regions = collection.regions(features.region_ids)
        photos = {photo.photo_id: photo for photo in collection.photos(collection.photo_ids())}
        in_index = indexed_vectors(collection) if index and isinstance(collection, LocalCollection) else None
        for root_id in collection.roots():
            for stat in collection.known(root_id).values():
                file = File(stat.size, stat.mtime_ns, stat.digest, stat.reason)
                if not stat.failed:
                    rows = np.flatnonzero(features.photo_ids == stat.photo_id)
                    said = [regions[row] for row in rows]
                    file = file._replace(
                        width=photos[stat.photo_id].width,
                        height=photos[stat.photo_id].height,
                        boxes=tuple(region.box for region in said),
                        scores=tuple(region.score for region in said),
                        phrases=tuple(region.phrase for region in said),
                        codes=features.codes[rows].tobytes(),
                        embeddings=features.embeddings[rows].tobytes(),
                        in_index=None
                        if in_index is None
                        else b"".join(in_index.get(region.region_id, b"missing") for region in said),
                    )
                found[stat.path] = file
    return found


def indexed_vectors(collection: LocalCollection) -> dict[int, bytes]:
    """Every vector in FAISS by region id: nearest to an axis is a question for a coordinate."""
    size = collection.model.embedding_size
    axes = collection.nearest(np.eye(size, dtype=np.float32), sys.maxsize)
    ids = np.unique(np.concatenate([found for found, _ in axes]))
    vectors = np.full((len(ids), size), np.nan, np.float32)
    for axis, (found, coordinates) in enumerate(axes):
        vectors[np.searchsorted(ids, found), axis] = coordinates
    return {region_id: vector.tobytes() for region_id, vector in zip(ids.tolist(), vectors, strict=True)}


def fault_between(before: State, found: State, after: State) -> str | None:
    """What is wrong with a state on the way from one to another."""
    for path, file in found.items():
        if file not in (before.get(path), after.get(path)):
            return f"{path!a} is neither as it was nor as it is to become"
    for path, file in before.items():
        if file == after.get(path) and path not in found:
            return f"{path!a} is missing"
    contents = [{file.digest for file in some.values() if file.reason is None} for some in (before, found, after)]
    if lost := (contents[0] & contents[2]) - contents[1]:
        return f"the photograph of digest {min(str(digest) for digest in lost)} is missing"
    return None


def difference(found: State, expected: State) -> str | None:
    """How two states differ: the first few files."""
    lines = []
    for path in sorted(found.keys() | expected.keys()):
        if path not in found or path not in expected:
            lines.append(f"{path!a} is {'missing' if path in expected else 'too much'}")
        elif found[path] != expected[path]:
            fields = zip(File._fields, found[path], expected[path], strict=True)
            lines.append(f"{path!a} differs in {', '.join(name for name, ours, theirs in fields if ours != theirs)}")
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"{len(lines) - SHOWN} more"]
    return "; ".join(lines) or None
