"""Photographs given as files, described on the spot: nothing is written."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from db.contents import photo_of_content
from decoding.errors import PhotoError
from decoding.files import decode_file, open_file
from decoding.photos import Photograph
from search.filters import places_of
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto

if TYPE_CHECKING:
    from PIL import Image

    from db.collection import Collection
    from fcln.predictor import Regions

# As many as a build keeps of each photograph: the same photograph gives the same boxes.
MAX_REGIONS = 50

# Photographs that go through the network together.
_BATCH = 8


@dataclass(frozen=True)
class Unreadable:
    """A file that was skipped."""

    path: Path
    reason: str


class Describer(Protocol):
    """What describing needs of `fcln.predictor.Predictor`."""

    def describe(self, images: "Sequence[Image.Image]", *, max_regions: int) -> "list[Regions]":
        """The regions of upright RGB images, at most max_regions each."""


def describe_files(
    describer: Describer, paths: Iterable[Path], unreadable: list[Unreadable], *, max_regions: int = MAX_REGIONS
) -> "Iterator[tuple[DescribedPhoto, Regions]]":
    """The photographs that can be read, and their regions, in the order given; the others go to `unreadable`."""
    decoded = _decode(paths, unreadable)
    while batch := list(islice(decoded, _BATCH)):
        found = describer.describe([photo.image for _, photo in batch], max_regions=max_regions)
        for (path, photo), regions in zip(batch, found, strict=True):
            yield (
                DescribedPhoto(
                    None,
                    path.absolute(),
                    photo.width,
                    photo.height,
                    PhotoRegions(photo.full_boxes(regions.boxes), regions.scores),
                    [None] * len(regions.boxes),
                    regions.phrases,
                ),
                regions,
            )


def describe_from_collection(collection: "Collection", path: Path) -> DescribedPhoto | None:
    """What a collection knows of the content of a file, whatever its name there; None: nothing, or it cannot be read.

    Of several files of that content the one at this path, if it is among them. The path given is the result's.
    """
    try:
        with open_file(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
    photo = photo_of_content(collection, digest, places_of(path))
    if photo is None:
        return None
    (rows,) = collection.regions_of([photo.photo_id])
    best_first = sorted(rows, key=lambda row: -row.score)
    described = DescribedPhoto.from_rows(photo, best_first)
    return DescribedPhoto(
        photo.photo_id,
        path.absolute(),
        described.width,
        described.height,
        described.regions,
        described.region_ids,
        described.phrases,
    )


def describe_photos(
    paths: Sequence[Path],
    collection: "Collection | None",
    load: Callable[[], Describer],
    unreadable: list[Unreadable],
    *,
    max_regions: int = MAX_REGIONS,
    progress: Callable[[Sequence[Path]], AbstractContextManager[Iterable[Path]]] = nullcontext,
) -> list[DescribedPhoto]:
    """Photographs and their regions, in the order given; those that cannot be read go to `unreadable`.

    What the collection knows is taken from there; the network is loaded for the others only, if there are any.
    progress: makes an iterable of these that shows how far it is.
    """
    known = {path: describe_from_collection(collection, path) if collection else None for path in paths}
    found = {path.absolute(): photo for path, photo in known.items() if photo is not None}
    others = [path for path, photo in known.items() if photo is None]
    if others:
        describer = load()
        with progress(others) as watched:
            for photo, _ in describe_files(describer, watched, unreadable, max_regions=max_regions):
                found[photo.path] = photo
    return [found[path.absolute()] for path in paths if path.absolute() in found]


def _decode(paths: Iterable[Path], unreadable: list[Unreadable]) -> Iterator[tuple[Path, Photograph]]:
    """The photographs as a build decodes them, and so describes them alike."""
    for path in paths:
        try:
            photo = decode_file(path)
        except FileNotFoundError:
            reason = "there is no such file"
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
        except PhotoError as error:
            reason = str(error)
        else:
            yield path, photo
            continue
        unreadable.append(Unreadable(path.absolute(), reason))
