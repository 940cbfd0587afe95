"""A small album of JPEGs of noise, described by the tiny network into a collection."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from db.collection import open_collection
from db.records import ModelIdentity
from fcln.predictor import Predictor
from indexer.build.build import build
from indexer.progress import Silence


@dataclass(frozen=True)
class Album:
    photos: Path  # 1.jpg, 2.jpg, sub/3.jpg
    collection: Path


def write_noise(path: Path, seed: int, size: tuple[int, int] = (120, 80), **options) -> Path:
    """A JPEG of coarse noise, another one for another seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size).save(path, quality=95, **options)
    return path


def make_album(folder: Path, predictor: Predictor) -> Album:
    """Write the photographs and describe them."""
    photos = folder / "photos"
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "EOS 5D"
    exif.get_ifd(0x8769)[0x9003] = "2019:06:23 14:05:06"
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 30.0, 0.0), 3: "E", 4: (151.0, 15.0, 0.0)})
    write_noise(photos / "1.jpg", 1, exif=exif)
    write_noise(photos / "2.jpg", 2, (80, 120))
    write_noise(photos / "sub" / "3.jpg", 3)
    collection = folder / "collection"
    identity = ModelIdentity(predictor.digest, predictor.embedding_size, predictor.code_size)
    with open_collection(collection, write=True, create=True, model=identity) as opened:
        build(opened, [photos], predictor, progress=Silence())
    return Album(photos, collection)
