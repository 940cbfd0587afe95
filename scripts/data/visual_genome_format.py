"""Write annotations as Visual Genome publishes them, the form that fcln.training.annotations reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class AnnotatedImage:
    """The labels of one photograph."""

    data: dict  # its entry of image_data.json: image_id, width, height in pixels, where it comes from
    regions: Sequence[dict]  # x, y, width, height in the same pixels, from 0; phrase; region_id
    captions: Sequence[str] | None = None  # of the whole photograph; None: the data set has none

    @property
    def image_id(self) -> int:
        return self.data["image_id"]


def write_annotations(folder: Path, images: Sequence[AnnotatedImage]) -> None:
    """Write image_data.json, region_descriptions.json and, if the images have captions, captions.json into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "image_data.json", [image.data for image in images])
    _write(
        folder / "region_descriptions.json",
        [
            {"id": image.image_id, "regions": [{"image_id": image.image_id, **region} for region in image.regions]}
            for image in images
        ],
    )
    captioned = [image for image in images if image.captions is not None]
    if captioned:
        _write(folder / "captions.json", [{"image_id": i.image_id, "captions": i.captions} for i in captioned])


def _write(path: Path, document: list[dict]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
