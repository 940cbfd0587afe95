"""Photographs with region phrases, captions and names, in Visual Genome's published format.

`image_data.json`: `[{"image_id" (or "id"), "width", "height", ...}]`; `region_descriptions.json`: `[{"id" (or
"image_id"), "regions": [{"x", "y", "width", "height", "phrase", ...}]}]`. Beside them, where they exist,
`captions.json` (`[{"image_id", "captions": [...]}]`), `objects.json` (weak labels: boxes that a detector named) and
`names.json` (`[{"image_id", "names": [...]}]`: things that are somewhere in the photograph). Photographs are
`<image_id>.jpg` in one folder, or in `VG_100K` and `VG_100K_2` below it.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fcln.boxes import iou
from fcln.errors import DatasetError, in_words
from fcln.modeling.backbone import STRIDE
from fcln.modeling.boxes import resize_shape

# The whole of a photograph, as shares of its sides: left, top, right, bottom.
WHOLE = (0.0, 0.0, 1.0, 1.0)
# A box stays in a window if that much of its area is inside; captions stay true of windows that are large enough.
_VISIBLE, _STILL_DESCRIBED = 0.6, 0.8
# A weak label whose box overlaps a labelled one by more says nothing new.
_SAME_THING = 0.5


@dataclass(frozen=True)
class AnnotatedImage:
    """One photograph and its labels."""

    image_id: int
    path: Path
    width: int  # pixels of the annotations' frame; the file may be larger or smaller
    height: int
    boxes: np.ndarray  # (G, 4) float32 x1 y1 x2 y2 in that frame, distinct; G may be 0 where names are read
    phrases: tuple[tuple[str, ...], ...]  # G tuples: the phrases of each box, repeats kept
    captions: tuple[str, ...]  # of the whole photograph, may be empty
    weak: tuple[bool, ...]  # G: the box comes from a detector, not from a person
    window: tuple[float, float, float, float] = WHOLE  # the part of the file that it is, as shares of the file's sides
    names: tuple[str, ...] = ()  # of things somewhere in it
    numbers: tuple[int, ...] = ()  # G: the place of each box among all boxes of the file, which a window may lack

    @property
    def complete(self) -> bool:
        """Whether people boxed it: what lies outside all boxes is then background."""
        return not all(self.weak)


def load_annotations(
    photos: Path, annotations: Path, *, weak_labels: bool = False, names: bool = False, unlabelled: bool = False
) -> list[AnnotatedImage]:
    """Every photograph that has a file and at least one usable region, in the order of image_data.json.

    weak_labels: also read objects.json, boxes that overlap a labelled one (or a weak one before them) left out. names:
    also read names.json, and photographs that have only a name or a caption. unlabelled: also photographs of which
    nothing is said, and region_descriptions.json may be missing.
    Raises DatasetError if a file is missing or malformed, or no photograph is found.
    """
    regions = _by_image(annotations / "region_descriptions.json", "regions", optional=unlabelled)
    captions = _by_image(annotations / "captions.json", "captions", optional=True)
    objects = _by_image(annotations / "objects.json", "objects") if weak_labels else {}
    named = _by_image(annotations / "names.json", "names", optional=True) if names else {}
    found = []
    for image_id, entry in _by_image(annotations / "image_data.json").items():
        path = _photo_path(photos, image_id)
        if path is None:
            continue
        try:
            boxes, phrases = _distinct_boxes(regions.get(image_id, ()), entry["width"], entry["height"])
            weak = [False] * len(boxes)
            for box, name in _weak_boxes(objects.get(image_id, ()), boxes, entry["width"], entry["height"]):
                boxes.append(box)
                phrases.append([name])
                weak.append(True)
        except (KeyError, TypeError) as error:
            raise DatasetError(
                f"{annotations}: image {image_id} is not in Visual Genome's format ({in_words(error)})."
            ) from error
        if boxes or unlabelled or named.get(image_id) or (names and captions.get(image_id)):
            found.append(
                AnnotatedImage(
                    image_id,
                    path,
                    entry["width"],
                    entry["height"],
                    np.array(boxes, np.float32).reshape(-1, 4),
                    tuple(map(tuple, phrases)),
                    tuple(captions.get(image_id, ())),
                    tuple(weak),
                    names=tuple(named.get(image_id, ())),
                    numbers=tuple(range(len(boxes))),
                )
            )
    if not found:
        raise DatasetError(f"{photos} holds none of the photographs that {annotations} describes.")
    return found


def _read(path: Path, *, optional: bool = False) -> list[dict]:
    if optional and not path.exists():
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} is missing.") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} is not readable JSON ({error}).") from error


def _by_image(path: Path, field: str | None = None, *, optional: bool = False) -> dict[int, Any]:
    """Each entry of a file, or a field of each, by image_id (or id: Visual Genome has called it both)."""
    try:
        entries = _read(path, optional=optional)
        return {e["image_id"] if "image_id" in e else e["id"]: e[field] if field else e for e in entries}
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path} is not in Visual Genome's format ({in_words(error)}).") from error


def _photo_path(photos: Path, image_id: int) -> Path | None:
    for folder in ("", "VG_100K", "VG_100K_2"):
        path = photos / folder / f"{image_id}.jpg"
        if path.exists():
            return path
    return None


def _distinct_boxes(regions: Sequence[dict], width: int, height: int) -> tuple[list[list[float]], list[list[str]]]:
    """Boxes cut at the photograph's border, equal ones merged with the phrases of all; empty ones dropped."""
    phrases: dict[tuple[float, ...], list[str]] = {}
    for region in regions:
        box = _corners(region, width, height)
        if box is not None:
            phrases.setdefault(box, []).append(region["phrase"])
    return [list(box) for box in phrases], list(phrases.values())


def _corners(region: dict, width: int, height: int) -> tuple[float, ...] | None:
    x1, y1 = max(0.0, region["x"]), max(0.0, region["y"])
    x2, y2 = min(float(width), region["x"] + region["width"]), min(float(height), region["y"] + region["height"])
    return (x1, y1, x2, y2) if x2 - x1 >= 1 and y2 - y1 >= 1 else None


def _weak_boxes(
    objects: Sequence[dict], boxes: Sequence[Sequence[float]], width: int, height: int
) -> Iterator[tuple[list[float], str]]:
    for thing in objects:
        box = _corners(thing, width, height)
        if box is not None and (not boxes or iou([box], boxes).max() < _SAME_THING):
            yield list(box), thing["name"]


def read_photo(
    path: Path,
    size: tuple[int, int],
    *,
    window: tuple[float, float, float, float] = WHOLE,
) -> np.ndarray:
    """One photograph as the network sees it: (height, width, 3) uint8 RGB.

    size: width, height (see boxes.resize_shape). window: the part to see, left, top, right, bottom as shares of its
    sides. Raises DatasetError if it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size[0], 2 * size[1]))  # a JPEG far too large is decoded at a half, a quarter, ...
            (left, top, right, bottom), (width, height) = window, image.size
            box = (left * width, top * height, right * width, bottom * height)
            seen = image.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return np.array(seen)
    except (OSError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be decoded ({error}).") from error


def read_pixels(
    photo: AnnotatedImage, image_size: int, *, window: tuple[float, float, float, float] = WHOLE
) -> tuple[Tensor, tuple[int, int]]:
    """A photograph, (3, height, width) uint8 RGB, at the width and height that the network sees it, and those.

    image_size: the longer side (FCLNConfig). window: as of `read_photo`. Raises DatasetError.
    """
    size = resize_shape(photo.width, photo.height, image_size, STRIDE)
    return torch.from_numpy(read_photo(photo.path, size, window=window)).permute(2, 0, 1), size


def cut(photo: AnnotatedImage, window: tuple[float, float, float, float]) -> AnnotatedImage:
    """A whole photograph's part: its labels in a window (see read_photo), from the window's corner; maybe no box."""
    frame = np.array([photo.width, photo.height] * 2, np.float32)
    left, top, right, bottom = np.array(window, np.float32) * frame
    inside = np.clip(photo.boxes, [left, top, left, top], [right, bottom, right, bottom])
    kept = _areas(inside) >= _VISIBLE * _areas(photo.boxes)
    return replace(
        photo,
        width=round(float(right - left)),
        height=round(float(bottom - top)),
        boxes=(inside - [left, top, left, top])[kept].astype(np.float32),
        phrases=tuple(phrases for phrases, keep in zip(photo.phrases, kept, strict=True) if keep),
        weak=tuple(weak for weak, keep in zip(photo.weak, kept, strict=True) if keep),
        captions=photo.captions if window[2] - window[0] >= _STILL_DESCRIBED else (),
        numbers=tuple(number for number, keep in zip(photo.numbers, kept, strict=True) if keep),
        window=window,
    )


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
