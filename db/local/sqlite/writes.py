"""What one commit does to the rows of photos.db, and the segment that belongs to it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from sqlalchemy import bindparam, delete, exists, insert, select, text, update
from sqlalchemy.orm import Session

from db.errors import UnknownId
from db.local.checksums import features_crc32, regions_crc32
from db.local.segments import SegmentFile, SegmentFolder
from db.local.sqlite.connection import among
from db.local.sqlite.snapshot import SavedIndex
from db.records import FailedFile, ModelIdentity, NewPath, NewPhoto
from db.tables import IndexFile, Meta, Photo, Region, Root, Segment


def check(photo: NewPhoto, model: ModelIdentity) -> None:
    """Refuse arrays that do not fit together or the model; one NaN would make a region that no search can find.

    Raises:
        ValueError: names the photograph and the array.
    """
    count = len(photo.phrases)
    if count == 0:
        raise ValueError(f"{photo.path}: a photograph without regions")
    for name, array, shape in (
        ("boxes", photo.boxes, (count, 4)),
        ("scores", photo.scores, (count,)),
        ("codes", photo.codes, (count, model.code_size)),
        ("embeddings", photo.embeddings, (count, model.embedding_size)),
    ):
        if array.shape != shape:
            raise ValueError(f"{photo.path}: {name} are {array.shape} instead of {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{photo.path}: {name} are not finite")
    if not np.allclose(np.linalg.norm(photo.embeddings, axis=1), 1, atol=0.01):
        raise ValueError(f"{photo.path}: embeddings are not of unit length")


def check_together(
    new: Sequence[NewPhoto],
    moved: Mapping[int, NewPath],
    touched: Collection[int],
    gone: Collection[int],
    failed: Sequence[FailedFile],
) -> None:
    """Refuse two changes of one photograph or of one path in one commit.

    Raises:
        ValueError: there are such.
    """
    ids = [*moved, *touched, *gone]
    if len(set(ids)) != len(ids):
        raise ValueError("a photograph is moved, touched or gone twice in one commit")
    files: list[NewPhoto | NewPath | FailedFile] = [*new, *moved.values(), *failed]
    if len({(file.root_id, file.path) for file in files}) != len(files):
        raise ValueError("a path has two photographs in one commit")


def require_known(session: Session, photo_ids: Collection[int]) -> None:
    """Raise UnknownId unless all of these photographs are there."""
    known = set(session.scalars(select(Photo.id).where(Photo.id.in_(among(photo_ids)))))
    if unknown := set(photo_ids) - known:
        raise UnknownId(f"photograph {min(unknown)}")


def remove(session: Session, photo_ids: Collection[int]) -> None:
    """Remove photographs and their regions."""
    session.connection().execute(delete(Photo).where(Photo.id.in_(among(photo_ids))))


def remove_root(session: Session, root_id: int) -> None:
    """Remove a root, its photographs and their regions."""
    connection = session.connection()
    connection.execute(delete(Photo).where(Photo.root_id == root_id))
    connection.execute(delete(Root).where(Root.id == root_id))


def clear(session: Session, files: Iterable[NewPhoto | NewPath | FailedFile]) -> None:
    """Remove what is known under the paths of these files, with its regions."""
    places = [{"its_root": file.root_id, "its_path": file.path} for file in files]
    if places:
        session.connection().execute(
            delete(Photo).where(Photo.root_id == bindparam("its_root"), Photo.path == bindparam("its_path")), places
        )


def move(session: Session, moved: Mapping[int, NewPath]) -> None:
    """Give photographs their new paths; what was known under those is removed."""
    if not moved:
        return
    # First out of each other's way, to names that no file can have: two photographs may have changed places.
    session.execute(update(Photo), [{"id": photo_id, "path": f"\0{photo_id}"} for photo_id in moved])
    clear(session, moved.values())
    session.execute(
        update(Photo),
        [
            {"id": photo_id, "root_id": to.root_id, "path": to.path, "size": to.size, "mtime_ns": to.mtime_ns}
            for photo_id, to in moved.items()
        ],
    )


def touch(session: Session, touched: Mapping[int, tuple[int, int]]) -> None:
    """Note new sizes and modification times of photographs whose content is what it was."""
    if touched:
        session.execute(
            update(Photo),
            [{"id": photo_id, "size": size, "mtime_ns": mtime} for photo_id, (size, mtime) in touched.items()],
        )


def add(session: Session, folder: SegmentFolder, photos: Sequence[NewPhoto]) -> None:
    """Write a segment with the features of these photographs, and all their rows."""
    if not photos:
        return
    counts = [len(photo.phrases) for photo in photos]
    first_rows = np.cumsum([0, *counts]).tolist()
    photo_id, region_id, segment_id = (next_id(session, table) for table in ("photo", "region", "segment"))
    segment = folder.write(
        segment_id,
        np.arange(region_id, region_id + first_rows[-1]),
        np.concatenate([photo.codes for photo in photos]),
        np.concatenate([photo.embeddings for photo in photos]),
    )
    session.execute(insert(Segment), [asdict(segment)])
    phrases = [[_storable(phrase) for phrase in photo.phrases] for photo in photos]
    session.execute(
        insert(Photo),
        [
            {
                "id": photo_id + number,
                "root_id": photo.root_id,
                "path": photo.path,
                "size": photo.size,
                "mtime_ns": photo.mtime_ns,
                "digest": photo.digest,
                "width": photo.width,
                "height": photo.height,
                "first_region_id": region_id + first_row,
                "region_count": count,
                "segment_id": segment_id,
                "first_row": first_row,
                "features_crc32": features_crc32(photo.codes, photo.embeddings),
                "regions_crc32": regions_crc32(
                    photo.digest.encode(),
                    photo.width,
                    photo.height,
                    region_id + first_row,
                    np.column_stack([photo.boxes, photo.scores]),
                    [phrase.encode() for phrase in phrases[number]],
                ),
            }
            for number, (photo, count, first_row) in enumerate(zip(photos, counts, first_rows))
        ],
    )
    # Regions are fifty times as many as photographs: not through SQLAlchemy's rows, which take three times as long.
    session.connection().exec_driver_sql(
        "INSERT INTO region (id, photo_id, x1, y1, x2, y2, score, phrase) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (region_id + first_row + row, photo_id + number, *box, score, phrase)
            for number, (photo, first_row) in enumerate(zip(photos, first_rows))
            for row, (box, score, phrase) in enumerate(
                zip(photo.boxes.tolist(), photo.scores.tolist(), phrases[number])
            )
        ],
    )


def add_failed(session: Session, files: Sequence[FailedFile]) -> None:
    """Remember files that could not be described."""
    if files:
        session.execute(
            insert(Photo),
            [
                {
                    "root_id": file.root_id,
                    "path": file.path,
                    "size": file.size,
                    "mtime_ns": file.mtime_ns,
                    "digest": file.digest,
                    "reason": _storable(file.reason),
                }
                for file in files
            ],
        )


def remove_regions(session: Session, region_ids: Iterable[int]) -> None:
    """Remove regions that are of no photograph."""
    session.connection().execute(delete(Region).where(Region.id.in_(among(region_ids))))


def describe_again(session: Session, photo_ids: Iterable[int], reason: str) -> None:
    """Turn described photographs into files that failed, of a size that no file has: the next build looks at them."""
    connection = session.connection()
    connection.execute(delete(Region).where(Region.photo_id.in_(among(photo_ids))))
    none_of = dict.fromkeys(
        ("width", "height", "first_region_id", "region_count", "segment_id", "first_row", "features_crc32",
         "regions_crc32")
    )  # fmt: skip
    connection.execute(
        update(Photo).where(Photo.id.in_(among(photo_ids))).values(size=-1, reason=_storable(reason), **none_of)
    )


def place(session: Session, segment: SegmentFile, places: Sequence[Mapping[str, int]]) -> None:
    """Say that the features of photographs are in this new segment.

    places: `id`, `first_row` and `features_crc32` of each.
    """
    session.execute(insert(Segment), [asdict(segment)])
    session.execute(update(Photo), [{"segment_id": segment.id, **a_place} for a_place in places])


def replace_indexes(session: Session, replaced: Iterable[int], files: Sequence[SavedIndex]) -> None:
    """FAISS files for others."""
    session.connection().execute(delete(IndexFile).where(IndexFile.id.in_(among(replaced))))
    if files:
        session.execute(insert(IndexFile), [asdict(file) for file in files])


def finish(session: Session) -> None:
    """Forget the segments that no photograph needs any more, and count the commit.

    Their files stay until nobody reads an earlier commit any more.
    """
    connection = session.connection()
    connection.execute(delete(Segment).where(~exists().where(Photo.segment_id == Segment.id)))
    connection.execute(update(Meta).values(revision=Meta.revision + 1))


def next_id(session: Session, table: str) -> int:
    """The id that AUTOINCREMENT would give. Asked for, not left to SQLite: the segment is written before its rows."""
    last = session.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}).scalar()
    return (last or 0) + 1


def _storable(words: str) -> str:
    """The text with lone surrogates (a reason may quote a file name) written out: SQLite keeps only real Unicode."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")
