"""Visual Genome's format: `image_data.json` and `region_descriptions.json` in a folder.

What `fcln.training.annotations` reads, and with it `scripts.train` and the evaluations; photographs are then looked for
as `<image_id>.jpg`. https://homes.cs.washington.edu/~ranjay/visualgenome/api.html
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from commands.boxes import xywh
from indexer.export.documents import dump, write_list
from indexer.export.output_file import OutputFile
from indexer.export.photographs import ExportedPhoto, known_headers


def write_visual_genome(photographs: Iterable[ExportedPhoto], folder: Path) -> None:
    """Both files; neither appears before both are whole. Regions without words, which say nothing, are left out."""
    with (
        OutputFile(folder / "image_data.json") as images,
        OutputFile(folder / "region_descriptions.json") as descriptions,
    ):

        def described() -> Iterable[dict[str, Any]]:
            for index, photo in enumerate(photographs):
                images.write((b",\n" if index else b"[\n") + _dump_image(photo))
                yield {"id": photo.photo.photo_id, "regions": [*_regions(photo)]}

        write_list(descriptions.write, described())
        if images.is_empty:
            images.write(b"[")
        images.write(b"\n]\n")
        descriptions.write(b"\n")
        images.sync()  # before the other one takes its place
        descriptions.sync()


def _dump_image(photo: ExportedPhoto) -> bytes:
    row = photo.photo
    return dump(
        {
            "image_id": row.photo_id,
            "width": row.width,
            "height": row.height,
            "file_name": photo.file_name,
            "path": str(row.path),
            **known_headers(row),
        }
    )


def _regions(photo: ExportedPhoto) -> Iterable[dict[str, Any]]:
    for region in photo.regions:
        if region.phrase:
            x, y, width, height = xywh(region.box)
            yield {
                "region_id": region.region_id,
                "image_id": photo.photo.photo_id,
                "x": x,
                "y": y,
                "width": width,
                "height": height,
                "phrase": region.phrase,
                "score": round(region.score, 6),
            }
