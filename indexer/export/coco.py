"""COCO's format: images, annotations with boxes, categories. pycocotools and FiftyOne read it.

https://cocodataset.org/#format-data. A category is a phrase that the network wrote; `score` is how sure it is that the
region is a thing, `caption` the phrase again, where programs look for captions. What headers tell is in the images.
"""

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from commands.boxes import xywh
from indexer.export.documents import Write, dump, write_list
from indexer.export.photographs import ExportedPhoto, feature_lists, known_headers

# Regions of which nothing was written have a category too: the format wants one of each.
NO_WORDS = "(no words)"

# Annotations wait in memory up to so many bytes, then on the disk, for the images have to come first.
_IN_MEMORY = 64 << 20


def write_coco(photographs: Iterable[ExportedPhoto], write: Write, *, version: str) -> None:
    """One document. Ids of images and annotations are the collection's ids of photographs and regions."""
    info = {
        "description": "Photographs and their regions, described by densecap-search",
        "version": version,
        "date_created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write(b'{"info": ' + dump(info) + b',\n"licenses": [],\n"images": ')
    categories: dict[str, int] = {}
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as annotations:

        def images() -> Iterable[dict[str, Any]]:
            for photo in photographs:
                for annotation in _annotations(photo, categories):
                    annotations.write((b",\n" if annotations.tell() else b"\n") + dump(annotation))
                yield _image(photo)

        write_list(write, images())
        write(b',\n"annotations": [')
        annotations.seek(0)
        while piece := annotations.read(1 << 20):
            write(piece)
    write(b'\n],\n"categories": ')
    write_list(write, ({"id": i, "name": name, "supercategory": ""} for name, i in categories.items()))
    write(b"}\n")


def _image(photo: ExportedPhoto) -> dict[str, Any]:
    headers = known_headers(photo.photo)
    taken = headers.get("taken")
    return {
        "id": photo.photo.photo_id,
        "file_name": photo.file_name,
        "width": photo.photo.width,
        "height": photo.photo.height,
        **({"date_captured": taken.replace("T", " ")} if taken else {}),
        **headers,
        "path": str(photo.photo.path),
        "sha256": photo.photo.digest,
    }


def _annotations(photo: ExportedPhoto, categories: dict[str, int]) -> Iterable[dict[str, Any]]:
    for index, region in enumerate(photo.regions):
        box = xywh(region.box)
        yield {
            "id": region.region_id,
            "image_id": photo.photo.photo_id,
            "category_id": categories.setdefault(region.phrase or NO_WORDS, len(categories) + 1),
            "bbox": box,
            "area": round(box[2] * box[3], 2),
            "iscrowd": 0,
            "score": round(region.score, 6),
            "caption": region.phrase,
            **feature_lists(photo, index),
        }
