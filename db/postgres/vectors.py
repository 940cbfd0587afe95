"""Rows with vectors to and from the server by binary COPY, as numpy arrays: no Python object for each of them.

A row of COPY's binary format is the number of its columns (int16) and for each column its length in bytes (int32) and
its bytes, all big-endian; a halfvec is its dimensions (int16), a zero (int16) and its half floats. Rows without text
are all of one length: a numpy record each.
https://www.postgresql.org/docs/current/sql-copy.html, https://github.com/pgvector/pgvector (halfvec_send)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import psycopg
from pgvector import HalfVector, Vector
from psycopg import sql
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.numeric import Int8

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_ARRAY_HEADER = 20  # bytes: dimensions, whether there are NULLs, type, length, first index
_TRAILER = b"\xff\xff"

# A column's name and its numpy type, or the dimensions of a halfvec.
Column = tuple[str, str | int]


class HalfvecDumper(Dumper):
    """A HalfVector as a parameter `%b::halfvec` (the cast tells the server its type, whose number differs)."""

    format = Format.BINARY

    def dump(self, obj: HalfVector) -> bytes:
        return bytes(obj.to_binary())


def ids_parameter(ids: Iterable[int]) -> list[Int8]:
    """Any number of ids as a parameter `%b::bigint[]`."""
    return [Int8(some_id) for some_id in ids]


def as_halfvec(vector: np.ndarray) -> str:
    """(N,) as SQL."""
    return f"'{HalfVector(vector).to_text()}'::halfvec"


def as_vector(vector: np.ndarray) -> str:
    """(N,) float32 as SQL, every digit of it."""
    return f"'{Vector(vector).to_text()}'::vector"


def as_ids(ids: Iterable[int]) -> str:
    """Any number of ids as SQL: an array."""
    return "'{" + ",".join(str(int(some_id)) for some_id in ids) + "}'::bigint[]"


def copy_out(connection: psycopg.Connection, query: str, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """What a query finds, column by column: (N,), of a halfvec (N, dimensions) float16.

    query: its columns must be of these types (int8, float8, halfvec) and never NULL.
    """
    record = _record(columns)
    with connection.cursor() as cursor, cursor.copy(sql.SQL(f"COPY ({query}) TO STDOUT (FORMAT BINARY)")) as copy:
        data = b"".join(copy)
    rows = np.frombuffer(data, record, offset=len(_HEADER), count=(len(data) - len(_HEADER) - 2) // record.itemsize)
    return {name: rows[name].astype(rows[name].dtype.newbyteorder("=")) for name, _ in columns}


def fetch_columns(
    connection: psycopg.Connection,
    query: str,
    columns: Sequence[tuple[str, str]],
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> dict[str, np.ndarray]:
    """As `copy_out`, for numbers only: each column in one piece. A row of COPY costs the client 4 us, a thousand of
    them as much as finding them. For up to some million rows: the server holds them in memory.

    parameters: of `%b` or `%(name)b` in the query. What is asked again and again with others is read and planned once.

    https://github.com/postgres/postgres/blob/master/src/backend/utils/adt/arrayfuncs.c (array_send)
    """
    names = ", ".join(name for name, _ in columns)
    arrays = ", ".join(f"array_agg({name})" for name, _ in columns)
    found = {}
    with connection.cursor(binary=True) as cursor:
        cursor.execute(f"SELECT {arrays} FROM ({query}) AS found ({names})".encode(), parameters or None)
        assert cursor.pgresult is not None
        for place, (name, kind) in enumerate(columns):
            data = cursor.pgresult.get_value(0, place)  # not through psycopg's loaders: they make a list of objects
            element = np.dtype([("length", ">i4"), ("value", np.dtype(kind).newbyteorder(">"))])
            # Of no rows there is no array.
            values = np.empty(0, element) if data is None else np.frombuffer(data, element, offset=_ARRAY_HEADER)
            found[name] = values["value"].astype(kind)
    return found


def copy_in(
    connection: psycopg.Connection,
    table: str,
    columns: Sequence[Column],
    arrays: dict[str, np.ndarray],
    texts: tuple[str, Sequence[bytes]] | None = None,
) -> None:
    """Rows into a table.

    Args:
        arrays: (N,) or (N, dimensions) of each column.
        texts: the name of one more column, of text or bytea, and its N values; text as UTF-8.
    """
    count = len(arrays[columns[0][0]])
    rows = np.zeros(count, _record(columns, more=texts is not None))
    rows["columns"] = len(columns) + (texts is not None)
    for name, kind in columns:
        rows[f"{name} length"] = 4 + 2 * kind if isinstance(kind, int) else np.dtype(kind).itemsize
        if isinstance(kind, int):
            rows[f"{name} dimensions"] = kind
        rows[name] = arrays[name]
    names = [name for name, _ in columns]
    if texts is None:
        data = rows.tobytes()
    else:
        names.append(texts[0])
        rows["text length"] = [len(text) for text in texts[1]]
        fixed, size = rows.tobytes(), rows.itemsize
        data = b"".join(
            part for row, text in enumerate(texts[1]) for part in (fixed[row * size : (row + 1) * size], text)
        )
    into = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        copy.write(_HEADER)
        copy.write(data)
        copy.write(_TRAILER)


def _record(columns: Sequence[Column], *, more: bool = False) -> np.dtype:
    """A row as COPY has it. more: the length of a text follows."""
    fields: list[Any] = [("columns", ">i2")]
    for name, kind in columns:
        fields.append((f"{name} length", ">i4"))
        if isinstance(kind, int):
            fields += [(f"{name} dimensions", ">i2"), (f"{name} zero", ">i2"), (name, ">f2", (kind,))]
        else:
            fields.append((name, np.dtype(kind).newbyteorder(">")))
    return np.dtype([*fields, ("text length", ">i4")] if more else fields)
