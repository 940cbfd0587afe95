"""Parquet: a region a row, typed, for pandas, Polars, DuckDB and Spark. The only file that imports pyarrow."""

from collections.abc import Iterable
from itertools import chain, islice
from typing import Any, BinaryIO

from commands.text import with_bytes_written
from indexer.errors import ExportError
from indexer.export.photographs import ExportedPhoto
from indexer.export.table import rows

# Photographs in a row group.
_GROUP = 256


def write_parquet(
    photographs: Iterable[ExportedPhoto], file: BinaryIO, *, features: bool, sizes: tuple[int, int]
) -> None:
    """A row a region, with the columns of the CSV; with features also embedding and code.

    sizes: how long an embedding and a code are. Raises ExportError if pyarrow is not installed.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ExportError(
            "Parquet needs the package pyarrow: `pip install pyarrow`, or another --format (jsonl, csv)."
        ) from error
    schema = arrow.schema(
        [
            ("photo_id", arrow.int64()),
            ("path", arrow.string()),
            ("file_name", arrow.string()),
            ("width", arrow.int32()),
            ("height", arrow.int32()),
            ("sha256", arrow.string()),
            ("taken", arrow.timestamp("s")),
            ("utc_offset", arrow.int16()),
            ("make", arrow.string()),
            ("model", arrow.string()),
            ("lens", arrow.string()),
            ("latitude", arrow.float64()),
            ("longitude", arrow.float64()),
            ("rating", arrow.int8()),
            ("keywords", arrow.list_(arrow.string())),
            ("region_id", arrow.int64()),
            ("x", arrow.float32()),
            ("y", arrow.float32()),
            ("region_width", arrow.float32()),
            ("region_height", arrow.float32()),
            ("score", arrow.float32()),
            ("phrase", arrow.string()),
        ]
        + [("embedding", arrow.list_(arrow.float32(), sizes[0])), ("code", arrow.list_(arrow.float16(), sizes[1]))]
        * features
    )
    remaining = iter(photographs)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := list(islice(remaining, _GROUP)):
            found = list(chain.from_iterable(map(_typed_rows, group)))
            columns: dict[str, Any] = {
                name: [row[name] for row in found] for name in schema.names if name not in ("embedding", "code")
            }
            if features:
                columns["embedding"] = [value for photo in group for value in photo.embeddings]  # type: ignore[union-attr]
                columns["code"] = [value for photo in group for value in photo.codes]  # type: ignore[union-attr]
            writer.write_table(arrow.table(columns, schema=schema))


def _typed_rows(photo: ExportedPhoto) -> Iterable[dict[str, Any]]:
    from datetime import datetime

    for row in rows(photo):
        row["path"], row["file_name"] = with_bytes_written(row["path"]), with_bytes_written(row["file_name"])
        row["taken"] = datetime.fromisoformat(row["taken"]) if row["taken"] else None
        yield row
