"""The tables of photos.db as SQLAlchemy rows. How they come to be, version by version, is in migrations.py."""

import os
import sys

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.errors import CollectionDamaged

_ENCODING, _ENCODING_ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


class FileName(TypeDecorator[str]):
    """A file name as Python's str on this side, as the bytes that the file system knows on the other.

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
    """A file name as it is in the database, as Python's str.

    Raises:
        CollectionDamaged: it is not even of the kind that it should be.
    """
    if not isinstance(value, bytes):
        raise CollectionDamaged("A file name in photos.db is damaged (it is no BLOB)")
    return value.decode(_ENCODING, _ENCODING_ERRORS)  # os.fsdecode in half the time: every build asks for every name


class Base(DeclarativeBase):
    type_annotation_map = {dict[str, int]: JSON}  # noqa: RUF012  (SQLAlchemy's own protocol)


class Meta(Base):
    """The one row (id 1) that says what this collection is and how far it has come."""

    __tablename__ = "meta"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_digest: Mapped[str]  # sha256 of the weights file, hexadecimal
    embedding_size: Mapped[int]
    code_size: Mapped[int]
    revision: Mapped[int]  # number of commits so far


class Root(Base):
    """A folder of photographs."""

    __tablename__ = "root"

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(FileName, unique=True)  # absolute, resolved


class Segment(Base):
    """One HDF5 file of features. Written once, never changed."""

    __tablename__ = "segment"

    id: Mapped[int] = mapped_column(primary_key=True)
    rows: Mapped[int]
    size: Mapped[int]  # bytes
    sha256: Mapped[str]
    codes_offset: Mapped[int]  # where the two arrays begin in the file, bytes
    embeddings_offset: Mapped[int]


class IndexFile(Base):
    """One FAISS file, of the regions whose ids are in a range. Written once, never changed."""

    __tablename__ = "index_file"

    id: Mapped[int] = mapped_column(primary_key=True)
    first_region_id: Mapped[int]
    last_region_id: Mapped[int]
    region_count: Mapped[int]  # in the file; once photographs are gone, fewer of them are left in the range
    lists: Mapped[int]  # inverted lists; 0: exact scan
    size: Mapped[int]  # bytes
    sha256: Mapped[str]


class Photo(Base):
    """A file that was looked at: a photograph with its regions, or one that failed, with the reason."""

    __tablename__ = "photo"
    __table_args__ = (Index("ix_photo_first_region_id", "first_region_id", "region_count"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    root_id: Mapped[int] = mapped_column(ForeignKey("root.id"))
    path: Mapped[str] = mapped_column(FileName)  # relative to the root, '/' between folders
    size: Mapped[int]  # bytes
    mtime_ns: Mapped[int]
    digest: Mapped[str | None] = mapped_column(index=True)  # sha256 of the file, hexadecimal
    reason: Mapped[str | None]  # why it failed; NULL: described, and the columns below are set
    width: Mapped[int | None]  # pixels of the upright photograph
    height: Mapped[int | None]
    # Its regions have the ids first_region_id, first_region_id + 1, ... and, in the same order, the rows
    # first_row, first_row + 1, ... of the segment: one slice of a file gives all of a photograph's features.
    first_region_id: Mapped[int | None]
    region_count: Mapped[int | None]
    segment_id: Mapped[int | None] = mapped_column(ForeignKey("segment.id"), index=True)
    first_row: Mapped[int | None]
    # Of its rows in the segment and of those here (checksums.py); NULL: described before there were checksums.
    features_crc32: Mapped[int | None]
    regions_crc32: Mapped[int | None]


class Region(Base):
    """A part of a photograph: its box in pixels of the upright photograph, its score and its phrase."""

    __tablename__ = "region"

    id: Mapped[int] = mapped_column(primary_key=True)  # also the id in FAISS and in the segment
    photo_id: Mapped[int] = mapped_column(ForeignKey("photo.id", ondelete="CASCADE"), index=True)
    x1: Mapped[float]
    y1: Mapped[float]
    x2: Mapped[float]
    y2: Mapped[float]
    score: Mapped[float]  # objectness, 0 to 1
    phrase: Mapped[str]


class Build(Base):
    """A finished run of `indexer build`."""

    __tablename__ = "build"

    id: Mapped[int] = mapped_column(primary_key=True)
    finished_at: Mapped[str]  # UTC, ISO 8601
    seconds: Mapped[float]
    counts: Mapped[dict[str, int]]  # as the indexer names them
