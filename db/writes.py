"""What a commit does to the rows of photos, roots and builds, the same for every back end: functions over a session."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from db.checksums import features_crc32, regions_crc32
from db.errors import UnknownId
from db.records import FailedFile, FileState, ModelIdentity, NewPath, NewPhoto, PhotoHeaders
from db.sql import among
from db.tables import Build, Meta, Photo, Region, Root

# -- photos


def require_known(session: Session, photo_ids: Collection[int]) -> None:
    """Raise UnknownId unless all of these photos are there."""
    known = set(session.scalars(select(Photo.id).where(among(Photo.id, photo_ids))))
    if unknown := set(photo_ids) - known:
        raise UnknownId(f"photograph {min(unknown)}")


def remove(session: Session, photo_ids: Collection[int]) -> None:
    """Remove photos and their regions."""
    session.connection().execute(delete(Photo).where(among(Photo.id, photo_ids)))


def clear(session: Session, files: Iterable[NewPhoto | NewPath | FailedFile]) -> None:
    """Remove what is known under the paths of these files, with its regions."""
    places = [{"its_root": file.root_id, "its_path": file.path} for file in files]
    if places:
        session.connection().execute(
            delete(Photo).where(Photo.root_id == bindparam("its_root"), Photo.path == bindparam("its_path")), places
        )


def move(session: Session, moved: Mapping[int, NewPath]) -> None:
    """Give photos their new paths; what was known under those is removed."""
    if not moved:
        return
    # First out of each other's way, to names that no file can have: two photos may have changed places.
    session.execute(update(Photo), [{"id": photo_id, "path": f"\0{photo_id}"} for photo_id in moved])
    clear(session, moved.values())
    session.execute(
        update(Photo),
        [{"id": photo_id, **asdict(to)} for photo_id, to in moved.items()],
    )


def touch(session: Session, touched: Mapping[int, FileState | tuple[int, int]]) -> None:
    """Note new sizes and times of photos whose content is what it was."""
    if touched:
        session.execute(
            update(Photo), [{"id": photo_id, **FileState(*state)._asdict()} for photo_id, state in touched.items()]
        )


def set_headers(session: Session, headers: Mapping[int, PhotoHeaders]) -> None:
    """Note what the headers of photos tell. Ids that are not known are passed over."""
    if headers:
        session.connection().execute(
            update(Photo).where(Photo.id == bindparam("its_id")),
            [{"its_id": photo_id, **_header_row(told)} for photo_id, told in headers.items()],
        )


def _header_row(headers: PhotoHeaders | None) -> dict[str, object]:
    if headers is None:
        return dict.fromkeys(field.name for field in fields(PhotoHeaders))
    row = {name: storable(value) if isinstance(value, str) else value for name, value in asdict(headers).items()}
    return row | {"keywords": [storable(word) for word in headers.keywords]}


def photo_row(photo_id: int, photo: NewPhoto, first_region_id: int) -> dict[str, object]:
    """The columns of a described photo, but for where its features are."""
    return {
        "id": photo_id,
        "root_id": photo.root_id,
        "path": photo.path,
        "size": photo.size,
        "mtime_ns": photo.mtime_ns,
        "digest": photo.digest,
        "width": photo.width,
        "height": photo.height,
        "ctime_ns": photo.ctime_ns,
        "incomplete": photo.incomplete,
        **_header_row(photo.headers),
        "first_region_id": first_region_id,
        "region_count": len(photo.phrases),
        "features_crc32": features_crc32(photo.codes, photo.embeddings),
        "regions_crc32": regions_crc32(
            photo.digest.encode(),
            photo.width,
            photo.height,
            first_region_id,
            np.column_stack([photo.boxes, photo.scores]),
            [storable(phrase).encode() for phrase in photo.phrases],
        ),
    }


def add_failed(session: Session, files: Sequence[FailedFile], first_id: int | None = None) -> None:
    """Remember files that could not be described. first_id: of the ids that they get; None: the database gives them."""
    if files:
        rows = [{**asdict(file), "reason": storable(file.reason)} for file in files]
        if first_id is not None:
            rows = [{"id": first_id + number, **row} for number, row in enumerate(rows)]
        session.execute(insert(Photo), rows)


def describe_again(session: Session, photo_ids: Iterable[int], reason: str) -> None:
    """Turn described photos into files that failed, of a size that no file has: the next build looks at them."""
    photo_ids = list(photo_ids)
    connection = session.connection()
    connection.execute(delete(Region).where(among(Region.photo_id, photo_ids)))
    none_of = dict.fromkeys(
        ("width", "height", "first_region_id", "region_count", "segment_id", "first_row", "features_crc32",
         "regions_crc32", "incomplete")
    )  # fmt: skip
    connection.execute(
        update(Photo).where(among(Photo.id, photo_ids)).values(size=-1, reason=storable(reason), **none_of)
    )


def remove_regions(session: Session, region_ids: Iterable[int]) -> None:
    """Remove regions that are of no photo."""
    session.connection().execute(delete(Region).where(among(Region.id, region_ids)))


# -- roots, builds, the collection itself


def add_root(session: Session, folder: Path) -> int:
    """The id of a folder of photos, added if it is not known."""
    known = session.scalar(select(Root.id).where(Root.path == str(folder)))
    if known is not None:
        return known
    root = Root(path=str(folder))
    session.add(root)
    session.flush()
    return root.id


def relocate_root(session: Session, root_id: int, folder: Path) -> None:
    """Give a root another folder; its files stay what they are, below it."""
    session.connection().execute(update(Root).where(Root.id == root_id).values(path=str(folder)))


def set_left_out(session: Session, root_id: int, counts: Mapping[str, int]) -> None:
    """Note how many files of each kind a walk of a root left out."""
    session.connection().execute(update(Root).where(Root.id == root_id).values(left_out=dict(counts)))


def remove_root(session: Session, root_id: int) -> None:
    """Remove a root, its photos and their regions."""
    connection = session.connection()
    connection.execute(delete(Photo).where(Photo.root_id == root_id))
    connection.execute(delete(Root).where(Root.id == root_id))


def add_build(session: Session, counts: Mapping[str, int], seconds: float) -> None:
    """Remember a build that ends now."""
    session.add(
        Build(finished_at=datetime.now(UTC).isoformat(timespec="seconds"), seconds=seconds, counts=dict(counts))
    )


def note_precision(session: Session, precision: str) -> None:
    """Remember a way in which photographs are described."""
    meta = session.scalars(select(Meta).with_for_update()).one()  # other writers of a server may note theirs
    if precision not in (meta.precisions or []):
        meta.precisions = [*(meta.precisions or []), precision]


def create_meta(session: Session, model: ModelIdentity) -> None:
    """The row that says what the collection is."""
    session.add(
        Meta(
            id=1,
            model_digest=model.digest,
            embedding_size=model.embedding_size,
            code_size=model.code_size,
            revision=0,
        )
    )
    session.flush()


def storable(words: str) -> str:
    """The text as both databases keep it: lone surrogates (a reason may quote a file name) and NULs written out."""
    return words.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
