"""What can be read from the rows, the same for every back end: functions over a session."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import and_, exists, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from db.errors import CollectionDamaged, UnknownId
from db.records import BuildRecord, ModelIdentity, PhotoHeaders, PhotoRow, PhotoStat, RegionRow
from db.sql import among, among_given, file_name
from db.tables import Build, Meta, Photo, Region, Root

Row = TypeVar("Row")

# What every question asks, made once.
_ROOTS = select(Root.id, Root.path).order_by(Root.id)
_ASKED = aliased(Photo)
_HEADERS = [field.name for field in fields(PhotoHeaders) if field.name != "keywords"]
_PHOTO = (
    *(Photo.id, Photo.root_id, Photo.path, Photo.width, Photo.height, Photo.digest, Photo.incomplete),
    *(Photo.keywords, *(getattr(Photo, name) for name in _HEADERS)),  # keywords are NULL where headers were not read
)
_PHOTOS = select(*_PHOTO).where(among_given(Photo.id), Photo.reason.is_(None))
_CONTENTS = (
    select(_ASKED.id, *_PHOTO)
    .join(Photo, Photo.digest == _ASKED.digest)
    .where(among_given(_ASKED.id), _ASKED.reason.is_(None), Photo.reason.is_(None))
    .order_by(_ASKED.id, Photo.id)
)
_COPIES = _CONTENTS.with_only_columns(_ASKED.id, Photo.id, maintain_column_froms=True)
_BOX = Region.x1, Region.y1, Region.x2, Region.y2, Region.score
_REGION = Region.id, Region.photo_id, *_BOX, Region.phrase
_REGIONS = select(*_REGION).where(among_given(Region.id))
_REGIONS_OF = select(*_REGION).where(among_given(Region.photo_id)).order_by(Region.id)
_BOXES = select(Region.id, *_BOX).where(among_given(Region.id)).order_by(Region.id)


def model(session: Session, *, lock: bool = False) -> ModelIdentity:
    """The checkpoint that described the collection. lock: on a server, commits wait from here on.

    Raises:
        CollectionDamaged: the database does not say.
    """
    asked = select(Meta.model_digest, Meta.embedding_size, Meta.code_size)
    rows = session.execute(asked.with_for_update() if lock else asked).all()
    if len(rows) != 1:
        raise CollectionDamaged(f"photos.db is damaged ({len(rows)} rows of meta instead of 1)")
    return ModelIdentity(*rows[0])


def revision(session: Session) -> int:
    """How many commits there were."""
    return session.scalars(select(Meta.revision)).one()


def precisions(session: Session) -> list[str]:
    """In which ways photographs were described, the first one first."""
    return session.scalars(select(Meta.precisions)).one() or []


def roots(session: Session) -> dict[int, Path]:
    """Root id -> folder, in the order they were added."""
    rows = session.execute(_ROOTS)
    return {root_id: Path(path) for root_id, path in rows}


def known(session: Session, root_id: int) -> dict[str, PhotoStat]:
    """Every remembered file of a root by its relative path, failed ones too."""
    # Every build asks for every file: by SQLAlchemy's rows this takes twice as long.
    connection = session.connection()
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    rows = connection.exec_driver_sql(
        "SELECT id, path, size, mtime_ns, digest, reason, ctime_ns, incomplete, keywords IS NOT NULL FROM photo "
        f"WHERE root_id = {mark}",
        (root_id,),
    )
    assert rows.cursor is not None  # it is a SELECT
    found = {}
    for photo_id, raw_path, size, mtime_ns, digest, reason, ctime_ns, incomplete, read in rows.cursor.fetchall():
        path = file_name(raw_path)
        found[path] = PhotoStat(photo_id, path, size, mtime_ns, digest, reason, ctime_ns, incomplete, read == 1)
    return found


def find_digest(session: Session, digest: str) -> int | None:
    """The id of a described photo with this content, the lowest if there are several."""
    return session.scalar(select(func.min(Photo.id)).where(Photo.digest == digest, Photo.reason.is_(None)))


def copies(session: Session, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
    """Described photos -> all described photos of the same content, themselves too, ascending."""
    rows = session.connection().execute(_COPIES, _ids(photo_ids))
    found: dict[int, list[int]] = {}
    for photo_id, copy_id in rows:
        found.setdefault(photo_id, []).append(copy_id)
    return found


def contents(
    session: Session, photo_ids: Sequence[int] | np.ndarray, folders: Mapping[int, Path] | None = None
) -> dict[int, list[PhotoRow]]:
    """`copies` as rows. folders: as of `photos`."""
    folders = folders or roots(session)
    found: dict[int, list[PhotoRow]] = {}
    for row in session.connection().execute(_CONTENTS, _ids(photo_ids)):
        found.setdefault(row[0], []).append(_photo_row(row[1:], folders))
    return found


def photos_with_given_regions(session: Session, photo_ids: Sequence[int] | None = None) -> list[int]:
    """The described photos whose regions somebody gave, of these or of all, ascending.

    Those of which no region is all of the photo, which always is one of those that the network finds.
    """
    all_of_it = and_(Region.x1 < 1, Region.y1 < 1, Region.x2 > Photo.width - 1, Region.y2 > Photo.height - 1)
    has_it = exists().where(Region.photo_id == Photo.id, all_of_it)
    wanted = select(Photo.id).where(Photo.reason.is_(None), ~has_it).order_by(Photo.id)
    return list(session.scalars(wanted if photo_ids is None else wanted.where(among(Photo.id, photo_ids))))


def repeated(session: Session) -> list[list[int]]:
    """The described photos of each content that several have, ascending."""
    several = select(Photo.digest).where(Photo.reason.is_(None)).group_by(Photo.digest).having(func.count() > 1)
    rows = session.execute(
        select(Photo.digest, Photo.id).where(Photo.reason.is_(None), Photo.digest.in_(several)).order_by(Photo.id)
    )
    groups: dict[str | None, list[int]] = {}
    for digest, photo_id in rows:
        groups.setdefault(digest, []).append(photo_id)
    return list(groups.values())


def left_out(session: Session) -> dict[int, dict[str, int]]:
    """Root id -> how many files of each kind its last walk left out."""
    rows = session.execute(select(Root.id, Root.left_out).order_by(Root.id))
    return {root_id: counts or {} for root_id, counts in rows}


def last_build(session: Session) -> BuildRecord | None:
    """The last build that finished."""
    row = session.scalar(select(Build).order_by(Build.id.desc()).limit(1))
    return BuildRecord(datetime.fromisoformat(row.finished_at), row.seconds, row.counts) if row else None


def photo_count(session: Session) -> int:
    """Described photos."""
    return session.scalar(select(func.count()).where(Photo.reason.is_(None))) or 0


def region_count(session: Session, photo_ids: Iterable[int] | None = None) -> int:
    """Regions of all photos, or of these."""
    query = select(func.sum(Photo.region_count)).where(Photo.first_region_id.is_not(None))
    return int(session.scalar(query if photo_ids is None else query.where(among(Photo.id, photo_ids))) or 0)


def photo_ids(session: Session) -> np.ndarray:
    """(P,) int64: all described photos, ascending."""
    found = session.scalars(select(Photo.id).where(Photo.reason.is_(None)).order_by(Photo.id)).all()
    return np.array(found, np.int64)


def photo_ids_of(session: Session, region_ids: np.ndarray) -> np.ndarray:
    """(N,) int64: the photo of each of N regions.

    Raises:
        UnknownId: an id that is not known.
    """
    asked, index = np.unique(np.asarray(region_ids, np.int64), return_inverse=True)
    rows = session.execute(select(Region.id, Region.photo_id).where(among(Region.id, asked)).order_by(Region.id)).all()
    found = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 2)
    if len(found) != len(asked):
        raise UnknownId(f"region {np.setdiff1d(asked, found[:, 0])[0]}")
    return found[index, 1]


def photos(
    session: Session, photo_ids: Sequence[int] | np.ndarray, folders: Mapping[int, Path] | None = None
) -> list[PhotoRow]:
    """Described photos, in the order asked. folders: root id -> where it is; None: as it is remembered.

    Raises:
        UnknownId: an id that is not known.
    """
    folders = folders or roots(session)
    # Not the session: nothing of its objects is wanted, and it takes longer.
    rows = session.connection().execute(_PHOTOS, _ids(photo_ids))
    found = {row.photo_id: row for row in (_photo_row(row, folders) for row in rows)}
    return _in_order(found, photo_ids, "described photograph")


def _photo_row(row: Sequence[Any], folders: Mapping[int, Path]) -> PhotoRow:
    """From the columns of _PHOTO."""
    photo_id, root_id, path, width, height, digest, incomplete, keywords, *others = row
    headers = None if keywords is None else PhotoHeaders(**dict(zip(_HEADERS, others)), keywords=tuple(keywords))
    return PhotoRow(photo_id, folders[root_id] / path, width, height, digest, incomplete, headers)


def regions(session: Session, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
    """Regions, in the order asked.

    Raises:
        UnknownId: an id that is not known.
    """
    rows = session.connection().execute(_REGIONS, _ids(region_ids))
    assert rows.cursor is not None  # it is a SELECT
    found = {row.region_id: row for row in _region_rows(rows.cursor.fetchall())}
    return _in_order(found, region_ids, "region")


def regions_of(session: Session, photo_ids: Sequence[int] | np.ndarray) -> list[list[RegionRow]]:
    """The regions of each photo, ascending by id, in the order asked.

    Raises:
        UnknownId: an id that is not known or was not described: every described photo has a region.
    """
    rows = session.connection().execute(_REGIONS_OF, _ids(photo_ids))
    assert rows.cursor is not None  # it is a SELECT
    found: dict[int, list[RegionRow]] = {}
    for row in _region_rows(rows.cursor.fetchall()):
        found.setdefault(row.photo_id, []).append(row)
    return _in_order(found, photo_ids, "described photograph")


def _region_rows(rows: Iterable[Sequence[Any]]) -> list[RegionRow]:
    """From the columns of _REGION."""
    return [
        RegionRow(region_id, photo_id, (x1, y1, x2, y2), score, phrase)
        for region_id, photo_id, x1, y1, x2, y2, score, phrase in rows
    ]


def boxes(session: Session, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Boxes and scores of N regions, in the order asked: (N, 5) float64, x1 y1 x2 y2 score.

    Raises:
        UnknownId: an id that is not known.
    """
    asked = np.asarray(region_ids, np.int64)
    rows = session.connection().execute(_BOXES, _ids(asked))
    assert rows.cursor is not None  # it is a SELECT
    found = np.fromiter(chain.from_iterable(rows.cursor.fetchall()), np.float64).reshape(-1, 1 + len(_BOX))
    row = np.minimum(np.searchsorted(found[:, 0], asked), max(len(found) - 1, 0))
    known = found[row, 0] == asked if len(found) else np.zeros(len(asked), bool)
    if not known.all():
        raise UnknownId(f"region {asked[~known][0]}")
    return found[row, 1:]


def phrase_counts(session: Session, limit: int) -> dict[str, int]:
    """The most frequent phrases, and in how many photos each is."""
    count = func.count(Region.photo_id.distinct())
    rows = session.execute(
        select(Region.phrase, count).group_by(Region.phrase).order_by(count.desc(), Region.phrase).limit(limit)
    )
    return {phrase: int(photos) for phrase, photos in rows}


def phrases_with(session: Session, words: Sequence[str]) -> dict[str, int]:
    """The phrases that have all of these words, in any order, and in how many photos each is; the commonest first."""
    wanted = {word for text in words for word in _words(text)}
    if not wanted:
        return {}
    count = func.count(Region.photo_id.distinct())
    query = select(Region.phrase, count).group_by(Region.phrase).order_by(count.desc(), Region.phrase)
    if session.connection().dialect.name == "postgresql":  # its index of words
        lexemes = func.plainto_tsquery(literal_column("'simple'"), " ".join(sorted(wanted)))
        query = query.where(func.to_tsvector(literal_column("'simple'"), Region.phrase).bool_op("@@")(lexemes))
    else:
        query = query.where(*(func.lower(Region.phrase).contains(word, autoescape=True) for word in wanted))
    # Both may find too much: a part of a word, or a word that is written otherwise.
    return {phrase: int(photos) for phrase, photos in session.execute(query) if wanted <= set(_words(phrase))}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _in_order(rows: Mapping[int, Row], ids: Sequence[int] | np.ndarray, what: str) -> list[Row]:
    try:
        return [rows[row_id] for row_id in np.asarray(ids, np.int64).tolist()]
    except KeyError as unknown:
        raise UnknownId(f"{what} {unknown.args[0]}") from None


def _ids(ids: Sequence[int] | np.ndarray) -> dict[str, list[int]]:
    """The parameters of a statement with `among_given`."""
    return {"ids": np.asarray(ids, np.int64).tolist()}
