"""Which photos and regions fulfil conditions: SQL that every back end shares, as functions over a session."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from sqlalchemy import and_, false, func, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from db.records import AreaRange, Circle, Matching, PhotoFilter
from db.sql import among
from db.tables import Photo, Region

# Sides that differ by less make a square: a percent of the shorter one.
_SQUARE_PERCENT = 1
_EARTH_RADIUS_KM = 6371.0


def matching(session: Session, wanted: PhotoFilter, roots: Mapping[int, Path]) -> Matching:
    """The described photos that fulfil all conditions. roots: root id -> folder, see `Collection.roots`."""
    conditions = [Photo.reason.is_(None), *_conditions(wanted, roots)]
    photo_ids = np.fromiter(session.scalars(select(Photo.id).where(*conditions).order_by(Photo.id)), np.int64)
    if wanted.suffixes:
        photo_ids = _named(session, photo_ids, tuple(suffix.lower() for suffix in wanted.suffixes))
    if wanted.near is not None:
        photo_ids = _within(session, photo_ids, wanted.near)
    silent = _silent(session, wanted)
    unread = _count(session, Photo.keywords.is_(None)) if silent else 0
    return Matching(photo_ids, silent, unread)


def regions_of_area(session: Session, area: AreaRange, photo_ids: Iterable[int] | None = None) -> np.ndarray:
    """The regions of such an area, of these photos or of all: (N,) int64, ascending."""
    rows = select(Region.id).join(Photo, Photo.id == Region.photo_id).where(_has_area(area)).order_by(Region.id)
    if photo_ids is not None:
        rows = rows.where(among(Region.photo_id, photo_ids))
    return np.fromiter(session.scalars(rows), np.int64)


def _conditions(wanted: PhotoFilter, roots: Mapping[int, Path]) -> Iterator[ColumnElement[bool]]:
    if wanted.under:
        yield or_(false(), *(place for folder in wanted.under for place in _under(folder, roots)))
    # Texts of one form, so the order is that of time in any collation.
    if wanted.taken_from is not None:
        yield Photo.taken >= wanted.taken_from
    if wanted.taken_until is not None:
        yield Photo.taken < wanted.taken_until
    if wanted.orientation is not None:
        wide = Photo.width * 100 >= Photo.height * (100 + _SQUARE_PERCENT)
        high = Photo.height * 100 >= Photo.width * (100 + _SQUARE_PERCENT)
        yield {"landscape": wide, "portrait": high, "square": ~wide & ~high}[wanted.orientation]
    if wanted.cameras:
        camera = func.lower(func.coalesce(Photo.make, "") + " " + func.coalesce(Photo.model, ""))
        yield or_(
            *(
                and_(*(camera.contains(word, autoescape=True) for word in name.lower().split()))
                for name in wanted.cameras
            )
        )
    if wanted.near is not None:
        degrees = np.degrees(wanted.near.radius_km / _EARTH_RADIUS_KM) + 1e-6
        yield Photo.latitude.between(wanted.near.latitude - degrees, wanted.near.latitude + degrees)
        yield Photo.longitude.is_not(None)
    if wanted.area is not None:
        yield select(Region.id).where(Region.photo_id == Photo.id, _has_area(wanted.area)).exists()


def _under(folder: Path, roots: Mapping[int, Path]) -> Iterator[ColumnElement[bool]]:
    """Whether a photo is in a folder or in one below it."""
    for root_id, root in roots.items():
        if root.is_relative_to(folder):
            yield Photo.root_id == root_id
        elif folder.is_relative_to(root):
            inside = folder.relative_to(root).as_posix()
            below = and_(Photo.path >= f"{inside}/", Photo.path < f"{inside}0")  # "0" comes after "/"
            yield and_(Photo.root_id == root_id, or_(Photo.path == inside, below))


def _named(session: Session, photo_ids: np.ndarray, suffixes: tuple[str, ...]) -> np.ndarray:
    """Those of some photos whose names end so. Not by SQL: names are bytes there, which have no lower case."""
    rows = session.execute(select(Photo.id, Photo.path).where(among(Photo.id, photo_ids)).order_by(Photo.id))
    return np.fromiter((photo_id for photo_id, path in rows if path.lower().endswith(suffixes)), np.int64)


def _within(session: Session, photo_ids: np.ndarray, place: Circle) -> np.ndarray:
    """Those of some photos that were taken there. Not by SQL: SQLite may have no trigonometry."""
    columns = (Photo.id, Photo.latitude, Photo.longitude)
    rows = session.execute(select(*columns).where(among(Photo.id, photo_ids)).order_by(Photo.id)).all()
    ids, latitudes, longitudes = np.array([tuple(row) for row in rows], np.float64).reshape(-1, 3).T
    return ids[_distances_km(latitudes, longitudes, place) <= place.radius_km].astype(np.int64)


def _has_area(area: AreaRange) -> ColumnElement[bool]:
    """Whether a region covers such a share of its photo; both tables are in the statement."""
    pixels = (Region.x2 - Region.x1) * (Region.y2 - Region.y1)
    photo = Photo.width * Photo.height
    return and_(pixels >= area.least * photo, pixels <= area.most * photo)


def _silent(session: Session, wanted: PhotoFilter) -> dict[str, int]:
    """How many described photos do not say what a condition asks."""
    told: dict[str, ColumnElement[bool]] = {}
    if wanted.taken_from is not None or wanted.taken_until is not None:
        told["date"] = Photo.taken.is_(None)
    if wanted.cameras:
        told["camera"] = and_(Photo.make.is_(None), Photo.model.is_(None))
    if wanted.near is not None:
        told["place"] = or_(Photo.latitude.is_(None), Photo.longitude.is_(None))
    counts = {what: _count(session, missing) for what, missing in told.items()}
    return {what: count for what, count in counts.items() if count}


def _count(session: Session, condition: ColumnElement[bool]) -> int:
    """Described photos that fulfil a condition."""
    return session.scalar(select(func.count()).select_from(Photo).where(Photo.reason.is_(None), condition)) or 0


def _distances_km(latitudes: np.ndarray, longitudes: np.ndarray, place: Circle) -> np.ndarray:
    """From a place to each of N: (N,), by the haversine formula on a sphere."""
    north, east = np.radians(latitudes), np.radians(longitudes)
    here_north, here_east = np.radians(place.latitude), np.radians(place.longitude)
    half = np.sin((north - here_north) / 2) ** 2
    half += np.cos(north) * np.cos(here_north) * np.sin((east - here_east) / 2) ** 2
    return 2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1)))
