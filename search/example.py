"""`Example`: a photograph, or a part of it, that others are to be like. In the collection or not."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from db.contents import photo_of_content
from db.errors import UnknownId
from db.records import PhotoFilter
from decoding.errors import PhotoError
from decoding.files import decode_file, open_file
from decoding.photos import Photograph
from fcln.boxes import iou
from search.errors import ExampleError
from search.file_description import MAX_REGIONS
from search.filters import places_of

if TYPE_CHECKING:
    from PIL import Image

    from db.collection import Collection
    from fcln.predictor import Regions

Box = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photograph

# A photograph is compared by so many of its regions: large ones that are surely things, none of which covers half of
# another. Mean AP of the photographs that answer the same everyday question as the example (`wide/val`,
# scripts.evaluate.likeness): 0.370 by one region, 0.384 by three, 0.388 by five, 0.392 by eight, 0.389 by twelve; each
# is a scan of all vectors.
MAIN_REGIONS = 5
_MAIN_IOU = 0.5
# A box is taken for a region that is known if they overlap at least so much; else it is looked at in the file.
SAME_IOU = 0.5


class BoxDescriber(Protocol):
    """What an example needs of `fcln.predictor.Predictor`."""

    def describe(self, images: "list[Image.Image]", *, max_regions: int) -> "list[Regions]":
        """The regions of upright RGB images, at most max_regions each."""

    def describe_boxes(self, image: "Image.Image", boxes: np.ndarray) -> "Regions":
        """The regions that boxes (N, 4) of an image make."""


@dataclass(frozen=True)
class Example:
    """M >= 1 regions to look for, and the photographs of a collection that are not to be found."""

    path: Path  # absolute, of the photograph
    boxes: list[Box]  # M
    phrases: list[str]  # M, what the model wrote about them; may be ""
    embeddings: np.ndarray  # (M, embedding_size) float32, unit length
    photo_ids: frozenset[int] = frozenset()  # the photograph itself and its copies
    overlap: float | None = None  # of the box asked for and the region taken for it (IoU); None: whole, or exactly it

    @property
    def names(self) -> list[str]:
        """What each region is called in an answer; each another name."""
        names = []
        for row, phrase in enumerate(self.phrases):
            before = self.phrases[:row].count(phrase)
            names.append(f"like {phrase or 'this'}" + (f" ({before + 1})" if before else ""))
        return names


def find_example(
    collection: "Collection",
    load: Callable[[], BoxDescriber],
    *,
    path: Path | None = None,
    photo_id: int | None = None,
    box: Box | None = None,
) -> Example:
    """A photograph as an example: as the collection knows it, else as the network sees it.

    Args:
        load: the network, asked for only where the collection does not know the photograph, or not that part of it.
        path: of the photograph, which need not be in the collection; may be missing on the disk if it is.
        photo_id: of one in the collection, instead.
        box: the part that is meant; None: all of it, by its main regions.

    Raises:
        ExampleError: there is no such photograph, it cannot be read, or the box is not in it.
    """
    known, same_path = _known(collection, path, photo_id)
    if known is not None:
        example = from_collection(collection, known, box)
        if example.overlap is None or example.overlap >= SAME_IOU or not is_file_of(collection, known):
            return example
        path, same_path = example.path, known
    assert path is not None
    photo = _decode(path)
    found = _from_file(path, photo, load(), box)
    copies = frozenset() if same_path is None else with_copies(collection, same_path)
    return Example(found.path, found.boxes, found.phrases, found.embeddings, copies, found.overlap)


def main_regions(boxes: np.ndarray, objectness: np.ndarray, count: int = MAIN_REGIONS) -> np.ndarray:
    """The regions that stand for a photograph, (M,) indices, 1 <= M <= count.

    boxes: (N, 4) x1 y1 x2 y2, N >= 1. objectness: (N,).
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    overlaps = iou(boxes, boxes)
    kept: list[int] = []
    for row in np.argsort(-objectness * np.sqrt(areas), kind="stable").tolist():
        if (overlaps[row, kept] < _MAIN_IOU).all():
            kept.append(row)
        if len(kept) == count:
            break
    return np.array(kept)


def _known(collection: "Collection", path: Path | None, photo_id: int | None) -> tuple[int | None, int | None]:
    """The photograph with this content in the collection, and the one known under this path: None if there is none."""
    if photo_id is not None:
        try:
            collection.photos([photo_id])
        except (UnknownId, OverflowError):  # no database has an id that large
            raise ExampleError(f"The collection {collection.location} holds no photograph {photo_id}.") from None
        return photo_id, photo_id
    if path is None:
        raise ValueError("an example needs a path or a photo id")
    if path.is_dir():
        raise ExampleError(f"{path} is a folder: name a photograph in it.")
    places = places_of(path)
    under = collection.matching(PhotoFilter(under=tuple(sorted(places)))).photo_ids.tolist()
    same_path = under[0] if under else None
    try:
        with open_file(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        if same_path is None:
            raise ExampleError(
                f"There is no photograph {path}, and the collection {collection.location} knows none of that name."
            ) from None
        return same_path, same_path
    except OSError as error:
        raise ExampleError(f"{path} cannot be read ({error.strerror or error}).") from error
    content = photo_of_content(collection, digest, places)
    return None if content is None else content.photo_id, same_path


def from_collection(collection: "Collection", photo_id: int, box: Box | None) -> Example:
    """A photograph as the collection knows it; with a box the region that overlaps it most, whatever that is.

    Raises ExampleError for a box outside of the photograph, UnknownId.
    """
    (photo,) = collection.photos([photo_id])
    features = collection.features([photo_id])
    regions = collection.regions(features.region_ids)
    boxes = np.array([row.box for row in regions])
    overlap = None
    if box is None:
        rows = main_regions(boxes, np.array([row.score for row in regions]))
    else:
        inside = _inside(box, photo.width, photo.height)
        overlaps = iou(np.array([inside]), boxes)[0]
        rows = np.array([int(overlaps.argmax())])
        overlap = round(float(overlaps.max()), 2)
    return Example(
        photo.path,
        [regions[row].box for row in rows],
        [regions[row].phrase for row in rows],
        features.embeddings[rows],
        with_copies(collection, photo_id),
        overlap,
    )


def _from_file(path: Path, photo: Photograph, describer: BoxDescriber, box: Box | None) -> Example:
    if box is None:
        (regions,) = describer.describe([photo.image], max_regions=MAX_REGIONS)
        rows = main_regions(regions.boxes, regions.scores)
    else:
        inside = np.array([_inside(box, photo.width, photo.height)])
        regions = describer.describe_boxes(photo.image, photo.image_boxes(inside))
        rows = np.array([0])
    boxes = photo.full_boxes(regions.boxes[rows]) if box is None else inside
    return Example(
        Path(os.path.abspath(path)),
        [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in boxes],
        [regions.phrases[row] for row in rows],
        regions.embeddings[rows],
    )


def _inside(box: Box, width: int, height: int) -> Box:
    """The part of a box that is in a photograph."""
    x1, y1, x2, y2 = box
    inside = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if not (inside[2] - inside[0] >= 1 and inside[3] - inside[1] >= 1):  # nan is not either
        x, y, w, h = x1, y1, x2 - x1, y2 - y1
        raise ExampleError(f"The box {x:g},{y:g},{w:g},{h:g} holds nothing of a photograph of {width}x{height} pixels.")
    return inside


def with_copies(collection: "Collection", photo_id: int) -> frozenset[int]:
    """A photograph of the collection and those of the same content."""
    return frozenset({photo_id, *collection.copies([photo_id])[photo_id]})


def is_file_of(collection: "Collection", photo_id: int) -> bool:
    """Whether a photograph of the collection is still there as it was."""
    (photo,) = collection.photos([photo_id])
    try:
        with open_file(photo.path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == photo.digest
    except OSError:
        return False


def _decode(path: Path) -> Photograph:
    try:
        return decode_file(path)
    except PhotoError as error:
        raise ExampleError(f"{path} cannot be looked at: {error}.") from error
    except OSError as error:
        raise ExampleError(f"{path} cannot be read ({error.strerror or error}).") from error
