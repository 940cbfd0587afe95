"""`Filters`: which photographs and regions may answer, as people say it, and what that came to in a collection."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from db.records import AreaRange, Circle, Orientation, PhotoFilter
from decoding.formats import EXTRAS, HEIC, JPEG_XL, RAW, SUFFIXES
from search.errors import FilterError

if TYPE_CHECKING:
    from db.collection import Collection
    from db.records import RegionScores

_DATE = re.compile(
    r"(\d{4})(?:[-/.](\d{1,2})(?:[-/.](\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2}))?)?)?)?|(\d{4})(\d{2})(\d{2})"
)
# Names of formats that are more than one suffix; any suffix of a photograph is a name as well.
FORMATS: Mapping[str, frozenset[str]] = {
    "jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".mpo"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "jpeg2000": frozenset({".jp2", ".j2k", ".j2c", ".jpx", ".jpf", ".jpc"}),
    "heic": HEIC.suffixes,
    "raw": RAW.suffixes,
    "jxl": JPEG_XL.suffixes,
}
_FAMILIES = {"jpg": "jpeg", "tif": "tiff", "jp2": "jpeg2000", "heif": "heic"}
_ALL_SUFFIXES = SUFFIXES.union(*(extra.suffixes for extra in EXTRAS))


@dataclass(frozen=True)
class Filters:
    """Conditions on photographs and on the regions that answer; what is None or empty holds for all.

    A photograph that does not say what is asked (no date, no place) does not fulfil it. Raises FilterError for
    conditions that cannot be meant.
    """

    under: tuple[Path, ...] = ()  # in one of these folders, or below
    after: str | None = None  # taken then or later: "2023", "2023-05", "2023-05-01", "2023-05-01 14:30"
    before: str | None = None  # taken before that begins
    orientation: Orientation | None = None
    min_area: float | None = None  # of a region that answers: the share of the photograph that it covers, 0 to 1
    max_area: float | None = None
    cameras: tuple[str, ...] = ()  # words of the camera's make and model, as "canon 5d"; one of them fits
    formats: tuple[str, ...] = ()  # by file name: "jpeg", "heic", "raw", "png" ... or a suffix
    near: tuple[float, float, float] | None = None  # degrees north, degrees east, within so many kilometres

    def __post_init__(self) -> None:
        _ = self.photos  # refuses what cannot be meant

    @cached_property
    def photos(self) -> PhotoFilter:
        """The same for a collection."""
        start = None if self.after is None else _start(self.after)
        end = None if self.before is None else _start(self.before)
        if start and end and start >= end:
            raise FilterError(f"Nothing is taken after {self.after} and before {self.before}.")
        if self.orientation not in (None, *get_args(Orientation)):
            raise FilterError(f'"{self.orientation}" is no orientation: {", ".join(get_args(Orientation))}.')
        if not all(camera.strip() for camera in self.cameras):
            raise FilterError("A camera without a name fits none.")
        suffixes = sorted({suffix for name in self.formats for suffix in _suffixes(name)})
        folders = sorted({place for folder in self.under for place in places_of(folder)})
        return PhotoFilter(
            under=tuple(folders),
            taken_from=start,
            taken_until=end,
            orientation=self.orientation,
            cameras=self.cameras,
            suffixes=tuple(suffixes),
            near=None if self.near is None else _circle(*self.near),
            area=self._area(),
        )

    @property
    def area(self) -> AreaRange | None:
        """Of the regions that may answer."""
        return self.photos.area

    @property
    def of_regions_only(self) -> bool:
        """Whether any photograph may answer that has the regions."""
        return self.photos == PhotoFilter(area=self.area)

    def as_dict(self) -> dict[str, Any]:
        """The conditions that hold, by name, for JSON."""
        values = {
            "under": [os.path.abspath(folder) for folder in self.under],
            "after": self.after,
            "before": self.before,
            "orientation": self.orientation,
            "min_area": self.min_area,
            "max_area": self.max_area,
            "camera": list(self.cameras),
            "format": list(self.formats),
            "near": None if self.near is None else list(self.near),
        }
        return {name: value for name, value in values.items() if value is not None and value != []}

    def each(self) -> "dict[str, Filters]":
        """Every condition alone, by what it says to people."""
        found = {}
        if self.under:
            found[f"under {' or '.join(map(os.path.abspath, self.under))}"] = Filters(under=self.under)
        if self.after is not None:
            found[f"after {self.after}"] = Filters(after=self.after)
        if self.before is not None:
            found[f"before {self.before}"] = Filters(before=self.before)
        if self.orientation is not None:
            found[self.orientation] = Filters(orientation=self.orientation)
        if self.cameras:
            found[f"camera {' or '.join(self.cameras)}"] = Filters(cameras=self.cameras)
        if self.formats:
            found[f"format {' or '.join(self.formats)}"] = Filters(formats=self.formats)
        if self.near is not None:
            north, east, km = self.near
            found[f"within {km:g} km of {north:g},{east:g}"] = Filters(near=self.near)
        if self.min_area is not None or self.max_area is not None:
            range_ = f"{self.min_area or 0:g} to {1 if self.max_area is None else self.max_area:g}"
            found[f"a region of {range_} of the photograph"] = Filters(min_area=self.min_area, max_area=self.max_area)
        return found

    def _area(self) -> AreaRange | None:
        if self.min_area is None and self.max_area is None:
            return None
        least = 0.0 if self.min_area is None else self.min_area
        most = 1.0 if self.max_area is None else self.max_area
        if not (0 <= least <= 1 and 0 <= most <= 1):
            raise FilterError("An area is a share of the photograph, from 0 to 1.")
        if least > most:
            raise FilterError(f"No region covers at least {least:g} and at most {most:g} of its photograph.")
        return AreaRange(least, most)


@dataclass(frozen=True)
class Selection:
    """What filters came to in a collection."""

    filters: Filters
    photographs: int  # in the collection
    photo_ids: np.ndarray = field(compare=False)  # (P,) int64, ascending: those that may answer
    silent: Mapping[str, int]  # photographs that do not say what is asked: "date", "camera", "place"
    unread: int = 0  # photographs whose headers were not read yet
    alone: Mapping[str, int] = field(default_factory=dict)  # if none may answer: how many each condition alone allows

    @property
    def allowed(self) -> int:
        """How many photographs may answer."""
        return len(self.photo_ids)

    @classmethod
    def of(cls, collection: "Collection", filters: Filters) -> "Selection":
        """Ask a collection."""
        found = collection.matching(filters.photos)
        alone = {}
        if not len(found.photo_ids):
            alone = {said: len(collection.matching(one.photos).photo_ids) for said, one in filters.each().items()}
        return cls(filters, collection.photo_count(), found.photo_ids, found.silent, found.unread, alone)

    def cosines(
        self, collection: "Collection", vectors: np.ndarray, photo_ids: np.ndarray | None = None
    ) -> "RegionScores":
        """`Collection.cosines` of the regions that may answer, of some allowed photographs or of all."""
        photo_ids = self.photo_ids if photo_ids is None else photo_ids
        cosines = collection.cosines(vectors, photo_ids)
        if self.filters.area is None:
            return cosines
        return cosines.take(np.isin(cosines.region_ids, collection.regions_of_area(self.filters.area, photo_ids)))


def _start(text: str) -> str:
    """The first moment of a date as people write it, ISO 8601 to the second."""
    try:
        match = _DATE.fullmatch(text.strip())
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = match.groups()[:6]
        if year is None:
            year, month, day = match.groups()[6:]
        numbers = [int(number or least) for number, least in zip((year, month, day, hour, minute, second), "011000")]
        return datetime(*numbers).isoformat(timespec="seconds")  # type: ignore[arg-type]
    except ValueError:
        raise FilterError(f'"{text}" is no date: write 2023, 2023-05 or 2023-05-01.') from None


def _suffixes(name: str) -> frozenset[str]:
    """Of a format's name, or of a suffix with its dot or without."""
    bare = name.strip().lower().removeprefix(".")
    family = FORMATS.get(_FAMILIES.get(bare, bare))
    if family is not None:
        return family
    if f".{bare}" in _ALL_SUFFIXES:
        return frozenset({f".{bare}"})
    names = ", ".join(sorted({*FORMATS, "png", "webp", "gif", "bmp", "avif"}))
    raise FilterError(f'"{name}" is no format of photographs: {names}, or the end of a file name such as dng.')


def _circle(latitude: float, longitude: float, km: float) -> Circle:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise FilterError(
            f"{latitude:g},{longitude:g} is no place: degrees north (-90 to 90), then east (-180 to 180)."
        )
    if not (km > 0 and math.isfinite(km)):
        raise FilterError(f"Within {km:g} km is nothing: name a distance above 0.")
    return Circle(latitude, longitude, km)


def places_of(folder: Path) -> set[Path]:
    """A folder or file under all its names: as it is called, and with the links of folders above it resolved.

    A collection keeps its roots resolved, but what a link inside of one leads to by the link's name.
    """
    path = Path(os.path.abspath(os.path.expanduser(folder)))
    return {path, *(Path(os.path.realpath(parent), path.relative_to(parent)) for parent in [path, *path.parents])}
