"""The rows of a collection as SQLAlchemy classes, for every back end.

`segment`, `index_file` and the columns of `photo` that point into a segment say where a folder keeps its files; a
server that keeps features in rows leaves them empty. How the tables of a photos.db came to be, version by version, is
in local/sqlite/migrations.py.
"""

from sqlalchemy import JSON, ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.sql import BigInt, FileName


class Base(DeclarativeBase):
    type_annotation_map = {int: BigInt, dict[str, int]: JSON, list[str]: JSON}  # noqa: RUF012  (SQLAlchemy's own protocol)


class Meta(Base):
    """The one row (id 1) that says what this collection is and how far it has come."""

    __tablename__ = "meta"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_digest: Mapped[str]  # sha256 of the weights file, hexadecimal
    embedding_size: Mapped[int]
    code_size: Mapped[int]
    revision: Mapped[int]  # commits so far
    # In which ways photographs were described, as the network names them ("backbone float32 in torch, regions int8");
    # NULL: by a version that did not say.
    precisions: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))


class Root(Base):
    """A folder of photos."""

    __tablename__ = "root"

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(FileName, unique=True)  # absolute, resolved
    # How many files the last walk of all of it met that cannot be described, by kind; NULL: no such walk yet.
    left_out: Mapped[dict[str, int] | None] = mapped_column(JSON(none_as_null=True))


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
    region_count: Mapped[int]  # in the file; fewer of them are left in the range once photos are gone
    nlist: Mapped[int] = mapped_column("lists")  # inverted lists; 0: exact scan
    size: Mapped[int]  # bytes
    sha256: Mapped[str]
    quantizer_id: Mapped[int | None]  # whose lists these are; NULL: the file's own, or none
    recall: Mapped[float | None]  # of the exact first 100 for regions in it, the share found; NULL: not measured


class Quantizer(Base):
    """The centres of the inverted lists of many FAISS files, in a file of their own. Written once, never changed."""

    __tablename__ = "quantizer"

    id: Mapped[int] = mapped_column(primary_key=True)  # the highest is the one for new files
    nlist: Mapped[int] = mapped_column("lists")
    nprobe: Mapped[int]  # how many of them a question looks into
    regions: Mapped[int]  # in the collection when it was trained
    size: Mapped[int]  # bytes
    sha256: Mapped[str]


class Photo(Base):
    """A file that was looked at: a photo with its regions, or one that failed, with the reason."""

    __tablename__ = "photo"
    __table_args__ = (Index("ix_photo_first_region_id", "first_region_id", "region_count"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    root_id: Mapped[int] = mapped_column(ForeignKey("root.id"))
    path: Mapped[str] = mapped_column(FileName)  # relative to the root, '/' between folders
    size: Mapped[int]  # bytes
    mtime_ns: Mapped[int]
    digest: Mapped[str | None] = mapped_column(index=True)  # sha256 of the file, hexadecimal
    reason: Mapped[str | None]  # why it failed; NULL: described, and the columns below are set
    width: Mapped[int | None]  # pixels of the upright photo
    height: Mapped[int | None]
    # Its regions have the ids first_region_id, first_region_id + 1, ... and, in the same order, the rows
    # first_row, first_row + 1, ... of the segment: one slice of a file gives all of a photo's features.
    first_region_id: Mapped[int | None]
    region_count: Mapped[int | None]
    segment_id: Mapped[int | None] = mapped_column(ForeignKey("segment.id"), index=True)
    first_row: Mapped[int | None]
    # Of its rows in the segment and of those here (checksums.py); NULL: described before there were checksums.
    features_crc32: Mapped[int | None]
    regions_crc32: Mapped[int | None]
    ctime_ns: Mapped[int | None]  # NULL: not noted yet
    incomplete: Mapped[str | None]  # what is missing of a described picture
    # What its headers tell; keywords are NULL until they were read.
    taken: Mapped[str | None]  # local time, ISO 8601
    utc_offset: Mapped[int | None]  # minutes
    make: Mapped[str | None]
    model: Mapped[str | None]
    lens: Mapped[str | None]
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    rating: Mapped[int | None]
    keywords: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))


class Region(Base):
    """A part of a photo: its box in pixels of the upright photo, its score and its phrase."""

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
