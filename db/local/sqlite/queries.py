"""What can be asked of a collection."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sqlalchemy import func, select

from db.errors import UnknownId
from db.local.segments import SegmentFolder
from db.local.sqlite.connection import Store, among, plain_errors
from db.local.sqlite.snapshot import Snapshot, count_regions, read_extents, read_segments, read_snapshot
from db.local.vectors.index_files import VectorCache
from db.records import BuildRecord, Features, ModelIdentity, PhotoRow, PhotoStat, RegionRow
from db.tables import Build, Meta, Photo, Region, Root, file_name

if TYPE_CHECKING:
    from db.local.vectors.faiss_index import Vectors

SEGMENTS = "features"

Row = TypeVar("Row")


class Contents:
    """The reading half of `Collection`."""

    path: Path
    model: ModelIdentity

    def __init__(self, path: Path, store: Store, model: ModelIdentity):
        self.path = path
        self._store = store
        self._loaded_snapshot: Snapshot | None = None
        self._vectors: Vectors | None = None
        self._use(model)

    @property
    def revision(self) -> int:
        """The number of the commit that this Collection sees: how many there were before, and itself."""
        with self._store.session() as session:
            return session.scalars(select(Meta.revision)).one()

    def roots(self) -> dict[int, Path]:
        """Root id -> folder, in the order they were added."""
        with self._store.session() as session:
            rows = session.execute(select(Root.id, Root.path).order_by(Root.id))
            return {root_id: Path(path) for root_id, path in rows}

    def known(self, root_id: int) -> dict[str, PhotoStat]:
        """Every remembered file of a root by its relative path, failed ones too."""
        with self._store.session() as session:
            # Not through SQLAlchemy's rows: every build asks for every file, and they would take most of its time.
            driver: Any = session.connection().connection.driver_connection
            rows = driver.execute(
                "SELECT id, path, size, mtime_ns, digest, reason FROM photo WHERE root_id = ?", (root_id,)
            )
            known = {}
            for photo_id, name, size, mtime_ns, digest, reason in rows:
                path = file_name(name)
                known[path] = PhotoStat(photo_id, path, size, mtime_ns, digest, reason)
            return known

    def find_digest(self, digest: str) -> int | None:
        """The id of a described photograph with this content (the first one added), if there is one."""
        described = Photo.reason.is_(None)
        with self._store.session() as session:
            return session.scalar(select(func.min(Photo.id)).where(Photo.digest == digest, described))

    def last_build(self) -> BuildRecord | None:
        """The last build that finished."""
        with self._store.session() as session:
            row = session.scalar(select(Build).order_by(Build.id.desc()).limit(1))
            return BuildRecord(datetime.fromisoformat(row.finished_at), row.seconds, row.counts) if row else None

    def photo_count(self) -> int:
        """Described photographs."""
        with self._store.session() as session:
            return session.scalar(select(func.count()).where(Photo.reason.is_(None))) or 0

    def region_count(self) -> int:
        with self._store.session() as session:
            return count_regions(session)

    def photo_ids(self) -> np.ndarray:
        """(P,) int64: all described photographs, ascending."""
        return np.sort(self._snapshot().extents.photo_ids)

    def photo_ids_of(self, region_ids: np.ndarray) -> np.ndarray:
        """(N,) int64: the photograph of each of N regions.

        Raises:
            UnknownId: an id that is not known.
        """
        asked, place = np.unique(np.asarray(region_ids, np.int64), return_inverse=True)
        query = select(Region.id, Region.photo_id).where(Region.id.in_(among(asked))).order_by(Region.id)
        with self._store.session() as session:
            rows = session.execute(query).all()
        found = np.array([tuple(row) for row in rows], np.int64).reshape(-1, 2)
        if len(found) != len(asked):
            raise UnknownId(f"region {np.setdiff1d(asked, found[:, 0])[0]}")
        return found[place, 1]

    def photos(self, photo_ids: Sequence[int] | np.ndarray) -> list[PhotoRow]:
        """Described photographs, in the order asked.

        Raises:
            UnknownId: an id that is not known.
        """
        columns = (Photo.id, Photo.root_id, Photo.path, Photo.width, Photo.height)
        roots = self.roots()
        with self._store.session() as session:
            rows = session.execute(select(*columns).where(Photo.id.in_(among(photo_ids)), Photo.reason.is_(None)))
            found = {row.id: PhotoRow(row.id, roots[row.root_id] / row.path, row.width, row.height) for row in rows}
        return [_known(found, int(photo_id), "described photograph") for photo_id in photo_ids]

    def regions(self, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
        """Regions, in the order asked.

        Raises:
            UnknownId: an id that is not known.
        """
        columns = (Region.id, Region.photo_id, Region.x1, Region.y1, Region.x2, Region.y2, Region.score, Region.phrase)
        with self._store.session() as session:
            rows = session.execute(select(*columns).where(Region.id.in_(among(region_ids))))
            found = {
                region_id: RegionRow(region_id, photo_id, (x1, y1, x2, y2), score, phrase)
                for region_id, photo_id, x1, y1, x2, y2, score, phrase in rows
            }
        return [_known(found, int(region_id), "region") for region_id in region_ids]

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        """Codes and embeddings of these photographs (each once), or of all.

        Raises:
            UnknownId: an id that is not known or was not described.
            CollectionDamaged: a segment is missing or was cut off, or a photograph's rows do not match their checksum.
        """
        with self._store.session() as session:
            extents = read_extents(session, photo_ids)
            segments = read_segments(session, np.unique(extents.segment_ids))
        if photo_ids is not None and len(unknown := np.setdiff1d(np.asarray(photo_ids, np.int64), extents.photo_ids)):
            raise UnknownId(f"described photograph {unknown[0]}")
        with plain_errors(self.path):
            codes, embeddings = self._segments.read_checked(extents, segments)
        return Features(
            region_ids=extents.region_ids(),
            photo_ids=np.repeat(extents.photo_ids, extents.counts),
            codes=codes,
            embeddings=embeddings.astype(np.float32),
        )

    def nearest(self, vectors: np.ndarray, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k regions nearest to each vector.

        Args:
            vectors: (Q, embedding_size) float32, unit length.

        Returns:
            For each vector (region ids (K,) int64, inner products (K,) float32), best first, equal ones by id;
            K < k only if there are fewer regions, or if a large collection's inverted lists find fewer.
        """
        if self._vectors is None:
            with plain_errors(self.path):
                self._vectors = self._cache.open(self._snapshot())
        return self._vectors.search(vectors, k)

    # -- within

    def _use(self, model: ModelIdentity) -> None:
        self.model = model
        sizes = {"code_size": model.code_size, "embedding_size": model.embedding_size}
        self._segments = SegmentFolder(self.path / SEGMENTS, **sizes)
        self._cache = VectorCache(self.path, self._segments, model.embedding_size)

    def _forget_loaded(self) -> None:
        """What was read of an earlier commit is of no use any more."""
        self._loaded_snapshot = None
        self._vectors = None

    def _snapshot(self) -> Snapshot:
        if self._loaded_snapshot is None:
            self._loaded_snapshot = read_snapshot(self._store)
        return self._loaded_snapshot


def _known(rows: Mapping[int, Row], row_id: int, what: str) -> Row:
    try:
        return rows[row_id]
    except KeyError:
        raise UnknownId(f"{what} {row_id}") from None
