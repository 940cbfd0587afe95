"""Regions and boxes of the collection's photographs, and photographs from outside, as examples for `Searcher.like`.

Unlike `search.example.find_example`, nothing here decodes a file: that is for the helper process.
"""

from typing import TYPE_CHECKING

from db.records import PhotoRow
from search.example import SAME_IOU, Box, Example, from_collection, is_file_of, main_regions, with_copies
from search.page.errors import RequestError
from search.page.outside import UPLOAD_BYTES, Outside, OutsidePhoto

if TYPE_CHECKING:
    from db.collection import Collection


def region_example(collection: "Collection", region_id: int) -> Example:
    """A region of the collection. Raises UnknownId."""
    (row,) = collection.regions([region_id])
    (photo,) = collection.photos([row.photo_id])
    features = collection.features([row.photo_id])
    embedding = features.embeddings[features.region_ids == region_id]
    return Example(photo.path, [row.box], [row.phrase], embedding, with_copies(collection, row.photo_id))


def photo_example(collection: "Collection", photo: PhotoRow, box: Box | None, outside: Outside, digest: str) -> Example:
    """A photograph of the collection, or what is in a box of it: a region that is known, else as the network sees it.

    digest: of the weights. Raises ExampleError for a box outside of the photograph.
    """
    example = from_collection(collection, photo.photo_id, box)
    if example.overlap is None or example.overlap >= SAME_IOU or not photo.path.is_file():
        return example
    if photo.path.stat().st_size > UPLOAD_BYTES or not is_file_of(collection, photo.photo_id):
        return example
    found = outside_example(outside.describe(photo.path.read_bytes(), digest=digest, box=box))
    return Example(photo.path, found.boxes, found.phrases, found.embeddings, example.photo_ids)


def outside_example(outside: OutsidePhoto) -> Example:
    """A photograph that is in no collection, or the region of it that was described."""
    photo = outside.photo
    if not len(photo.regions.boxes):
        raise RequestError(422, "There is nothing in that photograph that could be compared.")
    rows = main_regions(photo.regions.boxes, photo.regions.objectness)
    boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in photo.regions.boxes[rows]]
    return Example(photo.path, boxes, [photo.phrases[row] for row in rows], outside.embeddings[rows])
