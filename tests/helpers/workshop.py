"""A folder of photographs, a collection, and a small predictor that describes photographs by their colours."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from db.collection import open_collection
from db.location import Location
from db.records import ModelIdentity
from indexer.build.build import build
from indexer.build.options import BuildOptions
from indexer.build.report import BuildReport
from indexer.progress import Progress

MODEL = ModelIdentity("0" * 64, embedding_size=4, code_size=3)
POISON = (1, 2, 3)  # the colour that the predictor cannot bear


@dataclass(frozen=True)
class Regions:
    boxes: np.ndarray
    scores: np.ndarray
    codes: np.ndarray
    embeddings: np.ndarray
    phrases: list[str]


class ColourPredictor:
    """Two regions a photograph: all of it, and the box around its white pixels, if it has any."""

    def __init__(self, what: str = "everything"):
        self._what = what  # its phrase for the first of them
        self.batches: list[int] = []  # photographs in each call
        self.before_batch = lambda: None

    @property
    def described(self) -> int:
        return sum(self.batches)

    def describe(self, images, *, max_regions=50):
        self.before_batch()
        self.batches.append(len(images))
        return [self._describe(image, max_regions) for image in images]

    def _describe(self, image, max_regions):
        assert image.mode == "RGB"
        pixels = np.asarray(image)
        if tuple(pixels[0, 0]) == POISON:
            raise RuntimeError("poison")
        boxes, phrases = [[0, 0, image.width, image.height]], [self._what]
        rows, columns = np.nonzero(pixels.min(axis=2) > 127)
        if len(rows) and max_regions > 1:
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            phrases.append("a white block")
        mean = pixels.reshape(-1, 3).mean(axis=0) + 1
        direction = np.append(mean, 1) / np.linalg.norm(np.append(mean, 1))
        count = len(boxes)
        return Regions(
            boxes=np.array(boxes, np.float32),
            scores=np.linspace(0.75, 0.5, count, dtype=np.float32),
            codes=np.tile(mean / 256, (count, 1)).astype(np.float16),
            embeddings=np.tile(direction, (count, 1)).astype(np.float32),
            phrases=phrases,
        )


class Listener(Progress):
    def __init__(self):
        self.total = None
        self.files = self.regions = 0
        self.failures = {}
        self.warnings = []
        self.said = []

    def start(self, total, doing="Describing"):
        self.total = total

    def advance(self, files=1, regions=0):
        self.files += files
        self.regions += regions

    def failed(self, path, reason):
        self.failures[path.name] = reason

    def warn(self, message):
        self.warnings.append(message)

    def say(self, line):
        self.said.append(line)


class Workshop:
    """A folder of photographs, a collection, a predictor, and the command between them."""

    def __init__(self, folder: Path, location: Location | None = None):
        """location: of the collection; None: in the folder."""
        self.root = folder / "photos"
        self.root.mkdir()
        self.path: Any = location or folder / "collection"
        self.predictor = ColourPredictor()
        self.progress = Listener()

    def photo(self, name: str, colour=(200, 0, 0), size=(40, 30), **options) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, colour).save(path, **options)
        return path

    def build(self, *folders: Path, stop: Callable[[], bool] = lambda: False, **options: Any) -> BuildReport:
        self.progress = Listener()
        how = BuildOptions(threads=2, **options)
        with open_collection(self.path, write=True, create=True, model=MODEL) as collection:
            return build(collection, folders or [self.root], self.predictor, how, progress=self.progress, stop=stop)

    def contents(self) -> dict[str, tuple]:
        """Everything that the collection holds, by absolute path, without ids."""
        result = {}
        with open_collection(self.path) as collection:
            features = collection.features()
            regions = collection.regions(features.region_ids)
            for photo in collection.photos(collection.photo_ids()):
                rows = np.flatnonzero(features.photo_ids == photo.photo_id)
                result[str(photo.path)] = (
                    (photo.width, photo.height),
                    tuple((regions[row].box, regions[row].score, regions[row].phrase) for row in rows),
                    features.codes[rows].tolist(),
                    features.embeddings[rows].tolist(),
                )
        return result

    def paths(self) -> list[str]:
        return sorted(str(Path(path).relative_to(self.root)) for path in self.contents())

    def stats(self) -> dict:
        with open_collection(self.path) as collection:
            return {path: stat for root_id in collection.roots() for path, stat in collection.known(root_id).items()}


def counts(report: BuildReport) -> dict[str, int]:
    return {name: count for name, count in report.counts.items() if count}
