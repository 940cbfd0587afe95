"""What the API answers, as JSON: documents of photographs, answers and the collection."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from commands.boxes import xywh
from db.records import PhotoRow, RegionRow
from search import output
from search.hits import DescribedPhoto

if TYPE_CHECKING:
    from db.collection import Collection
    from search.detector import Detections
    from search.searcher import Answer
    from search.wording.parse import Query

API_VERSION = 1


class JsonResponse(Response):
    """A document; a byte of a path that is no text leaves as \\udcXX, as it does from the command."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def answer_document(answer: "Answer | Detections", written: bytes, collection: "Collection | None") -> dict[str, Any]:
    """The document of the command, and for each hit what a page shows beside it.

    written: the answer as the command writes it (`search.output`). collection: the one that it is of, at the same
    commit; None: of photographs from outside.
    """
    document = json.loads(written)
    if collection is not None:
        photo_ids = [hit.photo_id for hit in answer.hits if hit.photo_id is not None]
        rows = {row.photo_id: row for row in collection.photos(photo_ids)}
        for hit, entry in zip(answer.hits, document["hits"], strict=True):
            assert hit.photo_id is not None
            entry.update(summary(rows[hit.photo_id]))
    return document


def upload_document(answer: "Detections", written: bytes, photo: "DescribedPhoto") -> dict[str, Any]:
    """The document of the command for one photograph that was sent: it has a size, and no path."""
    document = json.loads(written)
    for hit in document["hits"]:
        del hit["path"]
    return {**document, "width": photo.width, "height": photo.height}


def summary(row: PhotoRow) -> dict[str, Any]:
    """What a grid shows of a photograph. version: of its content, for addresses of thumbnails that never change."""
    headers = row.headers
    return {
        "photo_id": row.photo_id,
        "path": str(row.path),
        "width": row.width,
        "height": row.height,
        "version": row.digest[:12],
        "taken": headers.taken if headers else None,
        "camera": camera(row),
    }


def photo_document(row: PhotoRow, regions: Sequence[RegionRow], copies: Sequence[PhotoRow]) -> dict[str, Any]:
    """All that there is to say of a photograph; regions the surest first, as `search describe` has them."""
    headers = row.headers
    try:
        state = os.stat(row.path)
    except OSError:
        state = None
    return {
        **summary(row),
        "present": state is not None,
        "bytes": state.st_size if state else None,
        "incomplete": row.incomplete,
        "utc_offset": headers.utc_offset if headers else None,
        "lens": headers.lens if headers else None,
        "latitude": headers.latitude if headers else None,
        "longitude": headers.longitude if headers else None,
        "rating": headers.rating if headers else None,
        "keywords": list(headers.keywords) if headers else [],
        "copies": [{"photo_id": copy.photo_id, "path": str(copy.path)} for copy in copies],
        "regions": [
            {
                **region_document(regions[index]),
                "confidence": round(confidence, 6),
                "sure": confidence >= output.LEAST_SURE,
            }
            for index, confidence in DescribedPhoto.from_rows(row, regions).surest()
        ],
    }


def region_document(row: RegionRow) -> dict[str, Any]:
    """A region: its box is x, y, width, height in upright pixels, its score how sure it is that there is a thing."""
    score = round(row.score, 6)
    return {"region_id": row.region_id, "box": xywh(row.box), "score": score, "phrase": row.phrase}


def reading_document(query: "Query") -> dict[str, Any]:
    """How a question was read: its things, how many of each, how they lie, what is not wanted, words read as others."""
    relations = [
        {"subject": said.subject, "relation": said.kind, "object": said.object, "text": str(said)}
        for said in query.relations
    ]
    return {
        "query": query.given,
        "things": [query.phrases[index] for index in query.things],
        "counts": {thing: str(count) for thing, count in query.counts.items()},
        "relations": relations,
        "untold": query.untold,
        "without": query.excluded,
        "readings": query.substitutions,
        "unknown_words": query.unknown_words,
    }


def collection_document(collection: "Collection") -> dict[str, Any]:
    """What a collection holds."""
    last = collection.last_build()
    roots, left_out = collection.roots(), collection.left_out()
    return {
        "api": API_VERSION,
        "version": version("densecap-search"),
        "collection": str(collection.location),
        "exists": True,
        "revision": collection.revision,
        "photographs": collection.photo_count(),
        "regions": collection.region_count(),
        "checkpoint": collection.model.digest,
        "roots": [
            {"path": str(path), "present": path.is_dir(), "left_out": left_out.get(root_id, {})}
            for root_id, path in roots.items()
        ],
        "last_build": last
        and {"finished_at": last.finished_at.isoformat(), "seconds": round(last.seconds, 1), **last.counts},
    }


def missing_document(location: "Path | str", sentence: str) -> dict[str, Any]:
    """Of a collection that is not there yet."""
    return {
        "api": API_VERSION,
        "version": version("densecap-search"),
        "collection": str(location),
        "exists": False,
        "revision": -1,
        "photographs": 0,
        "regions": 0,
        "checkpoint": None,
        "roots": [],
        "last_build": None,
        "advice": sentence,
    }


def failures(collection: "Collection") -> list[dict[str, Any]]:
    """The files that could not be described, and those that were though a part is missing: path, reason, described."""
    found: list[dict[str, Any]] = []
    for root_id, root in collection.roots().items():
        stats: Mapping[str, Any] = collection.known(root_id)
        for path, stat in sorted(stats.items()):
            reason = stat.reason or stat.incomplete
            if reason:
                found.append({"path": str(root / path), "reason": reason, "described": not stat.failed})
    return found


def camera(row: PhotoRow) -> str | None:
    """Make and model as people name it, the make once: "Canon EOS 5D", not "Canon Canon EOS 5D"."""
    headers = row.headers
    if headers is None or not (headers.make or headers.model):
        return None
    make, model = (headers.make or "").strip(), (headers.model or "").strip()
    return model if make and model.lower().startswith(make.split()[0].lower()) else f"{make} {model}".strip()
