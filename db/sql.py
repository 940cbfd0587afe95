"""Column types and an expression that mean the same in SQLite and in PostgreSQL."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Integer, LargeBinary, Text, TypeDecorator, bindparam
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from db.errors import CollectionDamaged

_ENCODING, _ENCODING_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()

# SQLite's INTEGER has 64 bits, and only a column of exactly that type can be its row id. PostgreSQL's INTEGER has 32:
# too few for times in nanoseconds and, one day, for region ids.
BigInt = BigInteger().with_variant(Integer(), "sqlite")


class FileName(TypeDecorator[str]):
    """A file name: str in Python, in the database the bytes that the file system knows.

    Linux file names are bytes that need not be UTF-8; Python shows such bytes as lone surrogates, which SQLite
    refuses as TEXT. Bytes are exact for every name, and `CAST(path AS TEXT)` reads them in the sqlite3 shell.
    """

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else os.fsencode(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        return None if value is None else file_name(value)


def file_name(value: object) -> str:
    """A file name as the database holds it, as Python's str.

    Raises:
        CollectionDamaged: it is not even bytes.
    """
    if not isinstance(value, bytes):
        raise CollectionDamaged("A file name in photos.db is damaged (it is no BLOB)")
    return value.decode(_ENCODING, _ENCODING_ERRORS)  # os.fsdecode in half the time: every build asks for every name


class _Ids(TypeDecorator[Iterable[int]]):
    """Any number of ids as one parameter: databases limit how many parameters a statement has."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(ARRAY(BigInteger()) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Iterable[int] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else json.dumps(value)


class _IdRows(FunctionElement[int]):
    """The ids of a parameter as rows."""

    inherit_cache = True


@compiles(_IdRows, "sqlite")
def _(element: _IdRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT value FROM json_each({compiler.process(element.clauses, **options)}))"


@compiles(_IdRows, "postgresql")
def _(element: _IdRows, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT unnest({compiler.process(element.clauses, **options)}))"


def among(column: ColumnElement[int] | InstrumentedAttribute[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """Whether a column is one of these ids, however many there are."""
    values = bindparam(None, [int(some_id) for some_id in ids], _Ids(), unique=True)
    return column.bool_op("IN")(_IdRows(values))


def among_given(column: ColumnElement[int] | InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Whether a column is one of the ids that the statement is executed with, as {"ids": [...]}.

    For statements made once: to make one for each question takes 0.3 to 1 ms, ten times as long as a row's look-up.
    """
    return column.bool_op("IN")(_IdRows(bindparam("ids", type_=_Ids())))
