"""`indexer export`: what the collection knows, for other programs."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from commands.errors import Failure, plain_errors
from commands.options import PathType, collection_option
from commands.text import printable
from indexer.cli.waiting import choose_progress

if TYPE_CHECKING:
    from db.collection import Collection
    from db.location import Location
    from indexer.export.photographs import ExportedPhoto
    from indexer.progress import Progress

# How a file of each format is called; what is called otherwise (a photograph, for one) is not written over.
_SUFFIXES = {"coco": (".json",), "jsonl": (".jsonl", ".ndjson"), "csv": (".csv",), "parquet": (".parquet",)}
FORMATS = ("coco", "visual-genome", "jsonl", "csv", "parquet")
_WITH_FEATURES = ("coco", "jsonl", "parquet")


@dataclass
class Counts:
    """What was read for an export."""

    photographs: int = 0
    regions: int = 0
    without_words: int = 0  # of these


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="See above.")
@click.option(
    "--features",
    is_flag=True,
    help=f"Also each region's embedding and code ({', '.join(_WITH_FEATURES)}): many times as much.",
)
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE",
    help="Where to write: a file, for visual-genome a folder. Appears once it is whole, in the place of an earlier "
    "one. Default: standard output.",
)
@collection_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@plain_errors()
def export(form: str, features: bool, out: Path | None, collection: "Location | None", quiet: bool) -> None:
    """Write every photograph and its regions in a format that other programs read.

    \b
    coco           COCO's annotations: pycocotools, FiftyOne, CVAT, Label Studio
    visual-genome  image_data.json and region_descriptions.json in a folder: scripts.train and the evaluations; of the
                   regions those that have words
    jsonl          a photograph with its regions a line
    csv            a region a line, for spreadsheets
    parquet        a region a row, typed: pandas, Polars, DuckDB (needs `pip install pyarrow`)

    Boxes are x, y, width, height in pixels of the upright photograph. Dates, places, cameras, ratings and keywords
    come along where headers tell them. The ids are the collection's. Paths are relative to the root (file_name) if the
    collection has one, and absolute (path).

    \b
    Examples:
      indexer export --format coco --out regions.json
      indexer export --format jsonl | jq -r 'select(.latitude) | .path'
      indexer export --format parquet --features --out regions.parquet
      indexer export --format visual-genome --out vg/
    """
    from db.collection import open_collection
    from db.location import default_collection

    _check(form, features, out)
    with open_collection(collection or default_collection()) as opened:
        progress = choose_progress(quiet or out is None)
        counts = Counts()
        try:
            _write(opened, form, features, out, _counted(opened, features, progress, counts))
        finally:
            progress.close()
    if out is not None:
        regions, left_out = counts.regions, ""
        if form == "visual-genome" and counts.without_words:
            regions -= counts.without_words
            left_out = f" ({counts.without_words:,} without words are left out)"
        click.echo(
            f"Wrote {counts.photographs:,} photographs, {regions:,} regions{left_out}: {printable(out)}", err=True
        )


def _check(form: str, features: bool, out: Path | None) -> None:
    if features and form not in _WITH_FEATURES:
        raise click.UsageError(f"{form} has no place for --features: {', '.join(_WITH_FEATURES)} have.")
    if form == "visual-genome":
        if out is None:
            raise click.UsageError("visual-genome is two files: name a folder for them, --out FOLDER.")
        if out.exists() and not out.is_dir():
            raise Failure(f"{printable(out)} is a file: visual-genome is two files in a folder.")
    elif out is not None:
        suffixes = _SUFFIXES[form]
        if out.is_dir():
            inside = printable(out / f"regions{suffixes[0]}")
            raise Failure(f"{printable(out)} is a folder: name a file in it, {inside}.")
        if out.suffix.lower() not in suffixes:
            raise Failure(f"A file of format {form} ends in {' or '.join(suffixes)}, not as {printable(out)}.")
    elif form == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is nothing to read in a terminal: --out FILE.parquet.")


def _counted(
    collection: "Collection", features: bool, progress: "Progress", counts: Counts
) -> "Iterator[ExportedPhoto]":
    from indexer.export.photographs import read_photographs

    progress.start(collection.photo_count(), "Exporting")
    for photo in read_photographs(collection, features=features):
        yield photo
        counts.photographs += 1
        counts.regions += len(photo.regions)
        counts.without_words += sum(not region.phrase for region in photo.regions)
        progress.advance()


def _write(
    collection: "Collection", form: str, features: bool, out: Path | None, photographs: "Iterator[ExportedPhoto]"
) -> None:
    from indexer.export.output_file import OutputFile

    if form == "visual-genome":
        from indexer.export.visual_genome import write_visual_genome

        assert out is not None
        out.mkdir(parents=True, exist_ok=True)
        write_visual_genome(photographs, out)
    elif out is None:
        _write_stream(collection, form, features, sys.stdout.buffer, photographs)
        sys.stdout.buffer.flush()
    else:
        with OutputFile(out) as file:
            _write_stream(collection, form, features, file.file, photographs)


def _write_stream(
    collection: "Collection", form: str, features: bool, stream: BinaryIO, photographs: "Iterator[ExportedPhoto]"
) -> None:
    if form == "coco":
        from importlib.metadata import version

        from indexer.export.coco import write_coco

        write_coco(photographs, stream.write, version=version("densecap-search"))
    elif form == "jsonl":
        from indexer.export.lines import write_lines

        write_lines(photographs, stream.write)
    elif form == "csv":
        from indexer.export.table import write_csv

        write_csv(photographs, stream.write)
    else:
        from indexer.export.parquet import write_parquet

        sizes = (collection.model.embedding_size, collection.model.code_size)
        write_parquet(photographs, stream, features=features, sizes=sizes)
