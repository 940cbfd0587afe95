"""Small photographs with labels in Visual Genome's format, for tests of the evaluations."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]  # x y width height, pixels

# Four phrases of three words or more; every word is one that the tiny network knows.
PHRASES = ("a red lamp", "the brown dog", "two red dog", "the man on a couch")


def write_photo(path: Path, *, size: tuple[int, int] = (96, 64), seed: int = 0) -> Path:
    """A JPEG of coloured blocks, another one for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize(size, Image.Resampling.BILINEAR).save(path, quality=90)
    return path


def write_labels(
    folder: Path,
    regions: Mapping[int, Sequence[tuple[Box, str]]],
    *,
    size: tuple[int, int] = (96, 64),
    captions: Mapping[int, Sequence[str]] | None = None,
) -> Path:
    """image_data.json, region_descriptions.json and captions.json for these images, all of one size."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = {
        "image_data": [{"image_id": image_id, "width": size[0], "height": size[1]} for image_id in regions],
        "region_descriptions": [
            {
                "id": image_id,
                "regions": [
                    {"region_id": n, "x": x, "y": y, "width": w, "height": h, "phrase": phrase}
                    for n, ((x, y, w, h), phrase) in enumerate(labels, 1)
                ],
            }
            for image_id, labels in regions.items()
        ],
        "captions": [{"image_id": image_id, "captions": texts} for image_id, texts in (captions or {}).items()],
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def write_labelled_photos(folder: Path, count: int = 4) -> tuple[Path, Path]:
    """Photographs 1 to count, each with four phrases of the whole photograph; returns (photos, annotations)."""
    for image_id in range(1, count + 1):
        write_photo(folder / "photos" / f"{image_id}.jpg", seed=image_id)
    labels = {image_id: [((0, 0, 96, 64), phrase) for phrase in PHRASES] for image_id in range(1, count + 1)}
    captions = {image_id: ["A dog .", "It is on the couch ."] if image_id % 2 else ["A lamp ."] for image_id in labels}
    return folder / "photos", write_labels(folder / "annotations", labels, captions=captions)
