"""Photographs with region phrases, in Visual Genome's published format, and batches of them.

`image_data.json`: `[{"image_id" (or "id"), "width", "height", ...}]`; `region_descriptions.json`: `[{"id" (or
"image_id"), "regions": [{"x", "y", "width", "height", "phrase", ...}]}]`. Beside them, where they exist,
`captions.json` (`[{"image_id", "captions": [...]}]`) and `objects.json` (weak labels). Photographs are
`<image_id>.jpg` in one folder, or in `VG_100K` and `VG_100K_2` below it.
"""

import json
import random
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from fcln.errors import DatasetError
from fcln.modeling.backbone import STRIDE, mirror_features
from fcln.modeling.boxes import fit
from fcln.modeling.fcln import FCLNConfig
from fcln.training.distillation import TeacherVectors
from fcln.training.feature_cache import FeatureCache
from fcln.training.losses import Batch
from fcln.vocabulary import Vocabulary, words_of
from fcln.word_pieces import WordPieces

# The whole of a photograph, as shares of its sides: left, top, right, bottom.
_WHOLE = (0.0, 0.0, 1.0, 1.0)
# Phrases of a photograph that a batch asks for, and how many of them make up its query of several phrases (paper: 4).
_PHRASES = 7
_GROUP = 4
# Texts of the teacher's that a batch brings besides its photographs' phrases.
_TEXTS = 256
# Augmentation: half of the photographs are cut to a window of this share of their sides or more; a box stays if that
# much of its area is inside; captions stay true of windows that are large enough; brightness, contrast and colour
# change by at most this factor.
_SMALLEST_WINDOW, _VISIBLE, _STILL_DESCRIBED, _TINT = 0.6, 0.6, 0.8, 0.3
# A weak label whose box overlaps a labelled one by more says nothing new.
_SAME_THING = 0.5


@dataclass(frozen=True)
class Photograph:
    """One photograph and its labels."""

    image_id: int
    path: Path
    width: int  # pixels of the annotations' frame; the file may be larger or smaller
    height: int
    boxes: np.ndarray  # (G, 4) float32 x1 y1 x2 y2 in that frame, distinct
    phrases: tuple[tuple[str, ...], ...]  # G tuples: the phrases of each box, repeats kept
    captions: tuple[str, ...]  # of the whole photograph, may be empty
    weak: tuple[bool, ...]  # G: the box comes from a detector, not from a person
    window: tuple[float, float, float, float] = _WHOLE  # the part of the file that it is, as shares of the file's sides


def load_photographs(photos: Path, annotations: Path, *, weak_labels: bool = False) -> list[Photograph]:
    """Every photograph that has a file and at least one usable region, in the order of image_data.json.

    weak_labels: also read objects.json, boxes that overlap a labelled one (or a weak one before them) left out.
    Raises DatasetError if a file is missing or malformed, or no photograph is found.
    """
    regions = _by_image(annotations / "region_descriptions.json", "regions")
    captions = _by_image(annotations / "captions.json", "captions", optional=True)
    objects = _by_image(annotations / "objects.json", "objects") if weak_labels else {}
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
                f"{annotations}: image {image_id} is not in Visual Genome's format ({error!r})."
            ) from error
        if boxes:
            found.append(
                Photograph(
                    image_id,
                    path,
                    entry["width"],
                    entry["height"],
                    np.array(boxes, np.float32),
                    tuple(map(tuple, phrases)),
                    tuple(captions.get(image_id, ())),
                    tuple(weak),
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
        raise DatasetError(f"{path} is not in Visual Genome's format ({error!r}).") from error


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
        if box is not None and all(_iou(box, other) < _SAME_THING for other in boxes):
            yield list(box), thing["name"]


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h)


def read_photo(
    path: Path,
    size: tuple[int, int],
    *,
    window: tuple[float, float, float, float] = _WHOLE,
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """One photograph as the network sees it: (height, width, 3) uint8 RGB.

    size: width, height (see boxes.fit). window: the part to see, left, top, right, bottom as shares of its sides.
    tint: factors of brightness, contrast and colour.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (2 * size[0], 2 * size[1]))  # a JPEG far too large is decoded at a half, a quarter, ...
            (left, top, right, bottom), (width, height) = window, image.size
            box = (left * width, top * height, right * width, bottom * height)
            seen = image.convert("RGB").resize(size, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        for enhance, factor in zip(
            (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), tint, strict=True
        ):
            seen = seen if factor == 1 else enhance(seen).enhance(factor)
        return np.array(seen)
    except (OSError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be decoded ({error}).") from error


class BatchLoader:
    """Batches of photographs in an order that seed and epoch fix, the next one prepared while one is used."""

    def __init__(
        self,
        photographs: Sequence[Photograph],
        vocabulary: Vocabulary,
        pieces: WordPieces,
        config: FCLNConfig,
        *,
        batch_size: int,
        seed: int,
        cache: FeatureCache | None = None,
        teacher: TeacherVectors | None = None,
        flip: bool = True,
        augment: bool = False,
    ):
        """cache: use a frozen backbone's features of the photographs instead of their pixels (then: no augmentation).

        teacher: its vectors of phrases, and texts without photographs, go with every batch.
        augment: half of the photographs are cut to a part of them, and all change in brightness, contrast and colour.
        """
        self.photographs = photographs
        self.vocabulary = vocabulary
        self.pieces = pieces
        self.config = config
        self.batch_size = batch_size
        self.seed = seed
        self.cache = cache
        self.teacher = teacher
        self.flip = flip
        self.augment = augment
        self._sets = [{" ".join(words_of(p)) for ps in photo.phrases for p in ps} for photo in photographs]

    def __len__(self) -> int:
        """Batches an epoch; the last, smaller one is left out."""
        return max(1, len(self.photographs) // self.batch_size)

    def epoch(self, number: int, *, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from the start-th on."""
        order = self._order(number)[start:]
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self.batch, indices, (self.seed, number, start + i)) for i, indices in
                       enumerate(order[:2])]  # fmt: skip
            for i in range(len(order)):
                batch = waiting.pop(0).result()
                if i + 2 < len(order):
                    waiting.append(ahead.submit(self.batch, order[i + 2], (self.seed, number, start + i + 2)))
                yield batch

    def _order(self, epoch: int) -> list[list[int]]:
        """Batches of mostly one shape, so that little of a batch is padding; shuffled every epoch."""
        rng = random.Random(f"{self.seed}/{epoch}")
        indices = list(range(len(self.photographs)))
        rng.shuffle(indices)
        size = self.batch_size
        batches = []
        for i in range(0, len(indices), 40 * size):
            block = sorted(indices[i : i + 40 * size], key=lambda n: self._shape(self.photographs[n]))
            batches += [block[j : j + size] for j in range(0, len(block), size)]
        batches = [b for b in batches if len(b) == size] or batches[:1]
        rng.shuffle(batches)
        return batches

    def _shape(self, photo: Photograph) -> tuple[int, int]:
        return fit(photo.width, photo.height, self.config.image_size, STRIDE)

    def batch(self, indices: Sequence[int], key: tuple[int, ...]) -> Batch:
        """The batch of these photographs; key fixes everything that is drawn by chance."""
        rng = random.Random("/".join(map(str, key)))
        flips = [self.flip and rng.random() < 0.5 for _ in indices]
        windows = [self._window(self.photographs[index], rng) for index in indices]
        boxes, captions, texts, photo_of, boxes_of, group, sizes = [], [], [], [], [], [], []
        for n, (index, flipped, window) in enumerate(zip(indices, flips, windows, strict=True)):
            photo = self.photographs[index]
            width, height = self._shape(photo)
            photo = photo if window == photo.window else cut(photo, window)
            sizes.append([width, height])
            scaled = torch.from_numpy(photo.boxes) * torch.tensor(
                [width / photo.width, height / photo.height] * 2, dtype=torch.float32
            )
            if flipped:
                scaled = torch.stack([width - scaled[:, 2], scaled[:, 1], width - scaled[:, 0], scaled[:, 3]], 1)
            boxes.append(scaled)
            captions.append(self._captions(photo, rng, flipped))
            for text, named, in_group in self._phrases(photo, rng):
                texts.append(mirror(text) if flipped else text)
                photo_of.append(n)
                boxes_of.append(named)
                group.append(in_group)
        phrase_boxes = torch.zeros(len(texts), max(map(len, boxes)), dtype=torch.bool)
        for q, named in enumerate(boxes_of):
            phrase_boxes[q, named] = True
        also = torch.zeros(len(texts), len(indices), dtype=torch.bool)
        sets = [self._sets[i] for i in indices]
        for q, (text, owner) in enumerate(zip(texts, photo_of, strict=True)):
            plain = " ".join(words_of(text))
            for n, known in enumerate(sets):
                also[q, n] = n != owner and (mirror(plain) if flips[n] else plain) in known
        if self.cache is not None:
            maps = [torch.from_numpy(self.cache.read(self.photographs[i].image_id)) for i in indices]
            maps = [self._mirrored(m) if flip else m for m, flip in zip(maps, flips, strict=True)]
        else:
            maps = [self._pixels(*which, rng) for which in zip(indices, flips, windows, strict=True)]
        phrase_vectors = more = more_vectors = None
        if self.teacher is not None:
            phrase_vectors = torch.from_numpy(self.teacher.vectors(texts))
            drawn = self.teacher.draw(_TEXTS, rng)
            more, more_vectors = (
                torch.from_numpy(self.pieces.encode(drawn)),
                torch.from_numpy(self.teacher.vectors(drawn)),
            )
        return Batch(
            images=pad_stack(maps) if self.cache is None else None,
            features=pad_stack(maps) if self.cache is not None else None,
            sizes=torch.tensor(sizes, dtype=torch.float32),
            boxes=boxes,
            captions=captions,
            phrases=torch.from_numpy(self.pieces.encode(texts)),
            phrase_photo=torch.tensor(photo_of),
            phrase_boxes=phrase_boxes,
            phrase_group=torch.tensor(group),
            also_true=also,
            names=[str(self.photographs[i].path) for i in indices],
            phrase_vectors=phrase_vectors,
            texts=more,
            text_vectors=more_vectors,
        )

    def _mirrored(self, features: Tensor) -> Tensor:
        return mirror_features(features, self.config.backbone) if self.config.fine else features.flip(2)

    def _window(self, photo: Photograph, rng: random.Random) -> tuple[float, float, float, float]:
        """The part of a photograph that a batch sees: of its aspect, and with a labelled box in it, else the whole."""
        if not self.augment or photo.window != _WHOLE:
            return photo.window
        side = rng.uniform(_SMALLEST_WINDOW, 1.0)
        left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
        window = (left, top, left + side, top + side)
        if rng.random() < 0.5 or all(cut(photo, window).weak):
            return _WHOLE
        return window

    def _pixels(
        self, index: int, flipped: bool, window: tuple[float, float, float, float], rng: random.Random
    ) -> Tensor:
        photo = self.photographs[index]
        tint = (1.0, 1.0, 1.0)
        if self.augment:
            tint = (
                rng.uniform(1 - _TINT, 1 + _TINT),
                rng.uniform(1 - _TINT, 1 + _TINT),
                rng.uniform(1 - _TINT, 1 + _TINT),
            )
        pixels = torch.from_numpy(read_photo(photo.path, self._shape(photo), window=window, tint=tint))
        return pixels.permute(2, 0, 1).flip(2) if flipped else pixels.permute(2, 0, 1)

    def _captions(self, photo: Photograph, rng: random.Random, flipped: bool) -> Tensor:
        """(G, T): ids of one phrase of each box, none (all PAD) where every phrase is too long (paper 4: over 10)."""
        rows = []
        for phrases in photo.phrases:
            text = rng.choice(phrases)
            ids = self.vocabulary.encode(mirror(text) if flipped else text)
            rows.append(ids if len(ids) <= self.config.max_words else [])
        tokens = torch.zeros(len(rows), max(1, *map(len, rows), 1), dtype=torch.int64)
        for n, row in enumerate(rows):
            tokens[n, : len(row)] = torch.tensor(row, dtype=torch.int64)
        return tokens

    @staticmethod
    def _phrases(photo: Photograph, rng: random.Random) -> list[tuple[str, list[int], bool]]:
        """(phrase, its boxes, part of the photograph's query): distinct phrases, longer ones likelier."""
        pool: dict[str, tuple[str, set[int]]] = {}
        for box, phrases in enumerate(photo.phrases):
            for phrase in phrases if not photo.weak[box] else ():
                pool.setdefault(phrase.lower(), (phrase, set()))[1].add(box)
        entries = [(phrase, sorted(boxes)) for phrase, boxes in pool.values()]
        weights = [min(3, len(words_of(p))) + 1e-3 for p, _ in entries]
        # Weighted draw without replacement: the largest of u^(1/w).
        entries = [
            e for _, e in sorted(zip((rng.random() ** (1 / w) for w in weights), entries, strict=True), reverse=True)
        ]
        chosen = [(p, boxes, n < _GROUP) for n, (p, boxes) in enumerate(entries[:_PHRASES])]
        weak = [box for box, is_weak in enumerate(photo.weak) if is_weak]
        if weak and len(chosen) < _PHRASES:
            box = rng.choice(weak)
            chosen.append((photo.phrases[box][0], [box], False))
        if photo.captions:
            chosen.append((rng.choice(photo.captions), [], False))
        return chosen


def cut(photo: Photograph, window: tuple[float, float, float, float]) -> Photograph:
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
        window=window,
    )


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def pad_stack(maps: Sequence[Tensor]) -> Tensor:
    """(C, H, W) each -> (B, C, max H, max W), zeros to the right and below."""
    height, width = max(m.shape[1] for m in maps), max(m.shape[2] for m in maps)
    result = maps[0].new_zeros(len(maps), maps[0].shape[0], height, width)
    for n, m in enumerate(maps):
        result[n, :, : m.shape[1], : m.shape[2]] = m
    return result


_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def mirror(text: str) -> str:
    """What is left in a photograph is right in its mirror image."""
    return _SIDE.sub(lambda match: "right" if match.group().lower() == "left" else "left", text)
