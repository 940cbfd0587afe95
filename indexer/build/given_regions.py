"""Boxes that somebody has already, in COCO's format, to be described in the place of those that the network finds."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from commands.text import printable
from db.collection import Collection
from db.contents import photo_of_content
from fcln.errors import in_words
from indexer.errors import RegionsError

# The frame of the annotations may be another size of the photograph, but not another shape.
_SAME_SHAPE = 0.02
# What is thinner, pixels of the photograph, is no region.
_LEAST_SIDE = 1.0
# How an export names the category of regions of which nothing was written.
_NO_PHRASE = frozenset({"", "(no words)"})


@dataclass(frozen=True)
class GivenBoxes:
    """The N >= 1 boxes of one photograph, in the order of the file."""

    boxes: np.ndarray  # (N, 4) float64, x1 y1 x2 y2, pixels of the file's frame
    phrases: list[str]  # N; "": the file has none
    size: tuple[float, float] | None  # width, height of the frame; None: the photograph's own

    def joined(self, others: "GivenBoxes", name: str) -> "GivenBoxes":
        """These and more of the same photograph. Raises ValueError if they were drawn in another frame."""
        if self.size != others.size:
            raise ValueError(f"two images {name} of different sizes")
        return GivenBoxes(np.concatenate([self.boxes, others.boxes]), self.phrases + others.phrases, self.size)

    def fitted(self, width: int, height: int) -> tuple[np.ndarray, list[str]]:
        """The boxes in pixels of the upright photograph, cut at its border, and their phrases.

        Returns (M, 4) float32, 0 <= x1 < x2 <= width, and M phrases, 1 <= M <= N: what lies outside is left out.
        Raises RegionsError, the end of a sentence, if the frame has another shape, or every box lies outside.
        """
        frame = self.size or (width, height)
        if abs(frame[0] * height / (frame[1] * width) - 1) > _SAME_SHAPE:
            raise RegionsError(
                f"the photograph is {width}x{height} upright, its regions were drawn in {frame[0]:g}x{frame[1]:g}"
            )
        scale = np.array([width / frame[0], height / frame[1]] * 2)
        border = np.array([width, height, width, height], np.float64)
        boxes = np.clip(self.boxes * scale, 0, border).astype(np.float32)
        kept = (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(axis=1)
        if not kept.any():
            raise RegionsError("none of its regions lies in the photograph")
        return boxes[kept], [phrase for phrase, keep in zip(self.phrases, kept, strict=True) if keep]


@dataclass
class GivenRegions:
    """The boxes of a file, by the names of its photographs."""

    file: Path
    by_name: Mapping[str, GivenBoxes]  # relative to the root, with "/"; or an absolute path
    without_box: int = 0  # annotations that have none, or of no image
    _photographs: dict[str, set[tuple[Path, str]]] = field(default_factory=dict)  # that were asked for by each name

    def of(self, root: Path, path: str) -> GivenBoxes | None:
        """The boxes of a photograph of a root, path relative to it with "/"; None: the file has none."""
        asked = (path, f"{root}/{path}")
        exact = [name for name in asked if name in self.by_name]
        alike = [names[0] for name in asked if len(names := self._alike.get(_plain(name), [])) == 1]
        if not exact and not alike:
            return None
        name = (exact or alike)[0]
        self._photographs.setdefault(name, set()).add((root, path))
        return self.by_name[name]

    @cached_property
    def _alike(self) -> dict[str, list[str]]:
        """The names that are written alike but for how systems write them."""
        alike: dict[str, list[str]] = {}
        for name in self.by_name:
            alike.setdefault(_plain(name), []).append(name)
        return alike

    @property
    def unused(self) -> list[str]:
        """The names that no photograph was asked for by."""
        return sorted(set(self.by_name) - set(self._photographs))

    @property
    def ambiguous(self) -> list[str]:
        """The names that several photographs were asked for by: of several folders, or written nearly alike."""
        return sorted(name for name, photographs in self._photographs.items() if len(photographs) > 1)


class GivenBefore:
    """The boxes that were given to photographs of a collection, for who describes these photographs anew."""

    def __init__(self, collection: Collection):
        self._collection = collection
        self._photo_ids = frozenset(collection.photos_with_given_regions())

    def of(self, path: Path, digest: str) -> GivenBoxes | None:
        """Those of the photograph with this content, of several the one at this path; None: none were given."""
        photo = photo_of_content(self._collection, digest, (path,)) if self._photo_ids else None
        if photo is None or photo.photo_id not in self._photo_ids:
            return None
        (rows,) = self._collection.regions_of([photo.photo_id])
        return GivenBoxes(
            np.array([row.box for row in rows]), [row.phrase for row in rows], (photo.width, photo.height)
        )


def no_photograph_of(given: GivenRegions, folders: Sequence[Path]) -> RegionsError:
    """The error of regions that are of no photograph in these folders."""
    where = ", ".join(map(printable, folders))
    example = printable(next(iter(given.by_name)))
    return RegionsError(
        f"{printable(given.file)} has regions of no photograph in {where}: its names, such as {example}, are to be "
        "relative to the folder, or absolute."
    )


def read_regions(file: Path) -> GivenRegions:
    """Read a file in COCO's format: images (id, file_name, width, height), annotations (image_id, bbox), categories.

    A box's phrase is the annotation's caption, else the name of its category. Raises RegionsError.
    """
    name = printable(file)
    try:
        document = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise RegionsError(f"There is no file {name}.") from error
    except OSError as error:
        raise RegionsError(f"{name} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise RegionsError(f"{name} is not JSON: {error}.") from error
    except RecursionError as error:
        raise RegionsError(f"{name} is nested too deeply to be read.") from error
    try:
        given = _parse(file, document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RegionsError(
            f"{name} is not in COCO's format ({in_words(error)}): it has images (id, file_name), "
            "annotations (image_id, bbox: x, y, width, height) and categories (id, name)."
        ) from error
    if not given.by_name:
        raise RegionsError(f"{name} has no box of any photograph.")
    return given


def _parse(file: Path, document: dict[str, Any]) -> GivenRegions:
    names = {category["id"]: str(category["name"]) for category in document.get("categories", ())}
    images = {image["id"]: image for image in document["images"]}
    found: dict[Any, list[tuple[list[float], str]]] = {}
    without_box = 0
    for annotation in document["annotations"]:
        box = annotation.get("bbox")
        if not box or annotation["image_id"] not in images:
            without_box += 1
            continue
        if len(box) != 4 or not np.isfinite(numbers := [float(number) for number in box]).all():
            raise ValueError(f"a bbox of {box}")
        x, y, width, height = numbers
        phrase = annotation.get("caption") or names.get(annotation.get("category_id"), "")
        phrase = "" if phrase in _NO_PHRASE else str(phrase)
        found.setdefault(annotation["image_id"], []).append(([x, y, x + width, y + height], phrase))
    by_name: dict[str, GivenBoxes] = {}
    for image_id, regions in found.items():
        image = images[image_id]
        name = str(image["file_name"]).removeprefix("./")
        boxes = GivenBoxes(np.array([box for box, _ in regions]), [phrase for _, phrase in regions], _size(image))
        # Files that were made of several list a photograph again.
        by_name[name] = boxes if name not in by_name else by_name[name].joined(boxes, name)
    return GivenRegions(file, by_name, without_box)


def _size(image: Mapping[str, Any]) -> tuple[float, float] | None:
    """Width and height of an image; None: it does not say."""
    width, height = (float(image.get(side) or 0) for side in ("width", "height"))
    if not (np.isfinite([width, height]).all() and min(width, height) >= 0):
        raise ValueError(f"an image of {width:g}x{height:g}")
    return (width, height) if width and height else None


def _plain(name: str) -> str:
    """A name as all systems would write it: umlauts as one letter, and "/" between folders."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")
