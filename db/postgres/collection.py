"""`PostgresCollection`: a schema of a PostgreSQL database as a Collection, with any number of writers."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from pgvector import HalfVector
from sqlalchemy import text
from sqlalchemy.orm import Session

from db import queries, writes
from db.candidates import closest_photos
from db.checkpoints import require_checkpoint, require_unmoved
from db.errors import CollectionError
from db.location import roots_here
from db.matching import matching, regions_of_area
from db.postgres import indexes, nearest
from db.postgres.address import Address
from db.postgres.claims import ServerQueue
from db.postgres.crew import Crew
from db.postgres.opening import prepare
from db.postgres.proposals import propose
from db.postgres.root_places import RootPlaces
from db.postgres.server import Server
from db.postgres.shortlist import shortlist_of_one, shortlist_of_several
from db.postgres.successor import address_of_successor, digest_of_successor
from db.postgres.writes import Changes, apply, finish
from db.records import (
    AreaRange,
    BuildRecord,
    FailedFile,
    Features,
    FileState,
    Matching,
    ModelIdentity,
    NewPath,
    NewPhoto,
    PhotoFilter,
    PhotoHeaders,
    PhotoRow,
    PhotoStat,
    RegionRow,
    RegionScores,
)
from db.task_queue import LEASE_SECONDS

logger = logging.getLogger(__name__)

# Where only some photos may be found, so many of their regions, or such a share of all, are compared one by one: exact,
# whatever an index would have found. (Of a tenth, HNSW found a tenth without a word, and 0.86 by an iterative scan.)
COMPARED_REGIONS = 50_000
COMPARED_SHARE = 0.1


class PostgresCollection:
    """A schema of a database. Use it as a context manager.

    Any number of writers and readers, on as many machines as there are. What indexer and search use of it is described
    in `db.collection.Collection`.
    """

    def __init__(self, server: Server, model: ModelIdentity, *, write: bool, indexed: bool = True):
        """Use `open`."""
        self.server = server
        self.model = model
        self._writes = write
        self._indexed = indexed
        self._places = RootPlaces(roots_here())
        self._counted: tuple[int | None, int] | None = None  # regions, as of a revision

    @classmethod
    def open(
        cls, location: str, *, write: bool = False, create: bool = False, model: ModelIdentity | None = None
    ) -> Self:
        """Open the collection of a URL; see `db.collection.open_collection`."""
        address = Address.parse(location)
        return cls.open_at(address if write else address.for_readers(), write=write, create=create, model=model)

    @classmethod
    def open_at(
        cls,
        address: Address,
        *,
        write: bool = False,
        create: bool = False,
        model: ModelIdentity | None = None,
        indexed: bool = True,
    ) -> Self:
        """As `open`, at this very address. indexed: whether builds make indexes."""
        if create and (model is None or not write):
            raise ValueError("creating a collection needs write=True and model")
        server = Server(address, write=write)
        try:
            made = model if create else None
            stored = server.first(lambda session: prepare(session, address, write=write, create=made))
            require_checkpoint(stored, model, str(address))
            collection = cls(server, stored, write=write, indexed=indexed)
            if not write:
                server.read(queries.revision)  # the snapshot begins here
        except BaseException:
            server.close()
            raise
        return collection

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.server.close()

    def refresh(self) -> None:
        if self._writes:
            return
        self.server.refresh()
        require_unmoved(self.server.read(queries.model), self.model, self.location)

    def use(self, model: ModelIdentity) -> None:
        """Take the collection for one of this checkpoint from now on."""
        self.model = model

    @property
    def location(self) -> str:
        return str(self.server.address)

    @property
    def revision(self) -> int:
        return self.server.read(queries.revision)

    # -- searching

    def photo_count(self) -> int:
        return self.server.read(queries.photo_count)

    def region_count(self) -> int:
        return self.server.read(self._count_regions)

    def photo_ids(self) -> np.ndarray:
        return self.server.read(queries.photo_ids)

    def matching(self, wanted: PhotoFilter) -> Matching:
        return self.server.read(lambda session: matching(session, wanted, self._places.of(session)))

    def regions_of_area(self, area: AreaRange, photo_ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        return self.server.read(regions_of_area, area, photo_ids)

    def candidates(
        self, vectors: np.ndarray, count: int, allowed: np.ndarray | None = None, area: AreaRange | None = None
    ) -> np.ndarray:
        return self.server.read(self._candidates, vectors, count, allowed, area)

    def cosines(self, vectors: np.ndarray, photo_ids: Sequence[int] | np.ndarray | None = None) -> RegionScores:
        return self.server.read(nearest.cosines, vectors, photo_ids)

    def codes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.server.read(nearest.codes, np.asarray(region_ids, np.int64), self.model)

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        return self.server.read(nearest.features, photo_ids, self.model)

    def photos(self, photo_ids: Sequence[int] | np.ndarray) -> list[PhotoRow]:
        return self.server.read(lambda session: queries.photos(session, photo_ids, self._places.of(session)))

    def copies(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
        return self.server.read(queries.copies, photo_ids)

    def contents(self, photo_ids: Sequence[int] | np.ndarray) -> dict[int, list[PhotoRow]]:
        return self.server.read(lambda session: queries.contents(session, photo_ids, self._places.of(session)))

    def photos_with_given_regions(self, photo_ids: Sequence[int] | None = None) -> list[int]:
        return self.server.read(queries.photos_with_given_regions, photo_ids)

    def repeated(self) -> list[list[int]]:
        return self.server.read(queries.repeated)

    def regions(self, region_ids: Sequence[int] | np.ndarray) -> list[RegionRow]:
        return self.server.read(queries.regions, region_ids)

    def regions_of(self, photo_ids: Sequence[int] | np.ndarray) -> list[list[RegionRow]]:
        return self.server.read(queries.regions_of, photo_ids)

    def boxes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        return self.server.read(queries.boxes, region_ids)

    def phrase_counts(self, limit: int) -> dict[str, int]:
        return self.server.read(queries.phrase_counts, limit)

    def phrases_with(self, words: Sequence[str]) -> dict[str, int]:
        return self.server.read(queries.phrases_with, words)

    # -- building

    def roots(self) -> dict[int, Path]:
        return self.server.read(self._places.of)

    def add_root(self, folder: Path) -> int:
        self.require_writer()
        return self.server.write(self._places.add, Path(folder).resolve())

    def remove_root(self, root_id: int) -> None:
        self.require_writer()
        # Out of a successor that was begun first: or it would bring the folder back.
        if (folder := self.roots().get(root_id)) is not None:
            with self._open_successor() as other:
                if other is not None:
                    for their_id in [their_id for their_id, root in other.roots().items() if root == folder]:
                        other.remove_root(their_id)
        self.server.write(self._as_commit, writes.remove_root, root_id)

    def relocate_root(self, root_id: int, folder: Path) -> None:
        self.require_writer()
        folder, roots = Path(folder).resolve(), self.roots()
        if folder in roots.values():
            raise ValueError(f"{folder} is a root already")
        before = roots[root_id]
        with self._open_successor() as other:
            if other is not None and folder not in (theirs := other.roots()).values():
                for their_id in [their_id for their_id, root in theirs.items() if root == before]:
                    other.relocate_root(their_id, folder)
        self.server.write(self._as_commit, writes.relocate_root, root_id, folder)

    def left_out(self) -> dict[int, dict[str, int]]:
        return self.server.read(queries.left_out)

    def set_left_out(self, root_id: int, counts: Mapping[str, int]) -> None:
        self.require_writer()
        self.server.write(writes.set_left_out, root_id, counts)

    def set_headers(self, headers: Mapping[int, PhotoHeaders]) -> None:
        self.require_writer()
        if headers:
            self.server.write(self._as_commit, writes.set_headers, headers)

    def known(self, root_id: int) -> dict[str, PhotoStat]:
        return self.server.read(queries.known, root_id)

    def find_digest(self, digest: str) -> int | None:
        return self.server.read(queries.find_digest, digest)

    def commit(
        self,
        *,
        new: Sequence[NewPhoto] = (),
        moved: Mapping[int, NewPath] | None = None,
        touched: Mapping[int, FileState | tuple[int, int]] | None = None,
        gone: Sequence[int] = (),
        failed: Sequence[FailedFile] = (),
    ) -> None:
        self.require_writer()
        changes = Changes(new, moved or {}, touched or {}, gone, failed)
        if changes:
            changes.check(self.model)
            self.server.write_once(lambda session: apply(session, changes, self.model))

    def queue(self, lease_seconds: float = LEASE_SECONDS) -> ServerQueue:
        self.require_writer()
        return ServerQueue(self.server, self.model, lease_seconds)

    def precisions(self) -> list[str]:
        return self.server.read(queries.precisions)

    def note_precision(self, precision: str) -> None:
        self.require_writer()
        self.server.write(writes.note_precision, precision)

    def record_build(self, counts: Mapping[str, int], *, seconds: float) -> None:
        """Partitions that have come to need an index get one, unless another process makes indexes already."""
        self.require_writer()
        self.server.write(writes.add_build, counts, seconds)
        self.make_indexes()

    def make_indexes(self) -> None:
        """Give partitions that have come to need one an index, unless another process is at it."""
        if self._indexed and self.server.read(indexes.needed):
            try:
                indexes.rebuild(self.server, all_of_them=False)
            except CollectionError as error:  # what was committed is committed
                logger.warning("Indexes were not made, the next `indexer build` does it. %s", error)

    def last_build(self) -> BuildRecord | None:
        return self.server.read(queries.last_build)

    # -- within a session

    def _as_commit(self, session: Session, function: Callable[..., None], *arguments: Any) -> None:
        """A change that counts as a commit."""
        function(session, *arguments)
        finish(session, self.model)

    def _count_regions(self, session: Session) -> int:
        """Of a reader's snapshot they are counted once: it takes 4 ms for 20,000 photos."""
        if self._writes:
            return queries.region_count(session)
        if self._counted is None or self._counted[0] != self.server.snapshot_revision:
            self._counted = self.server.snapshot_revision, queries.region_count(session)
        return self._counted[1]

    def _candidates(
        self, session: Session, vectors: np.ndarray, count: int, allowed: np.ndarray | None, area: AreaRange | None
    ) -> np.ndarray:
        region_count = self._count_regions(session)
        if allowed is not None:
            allowed_regions = queries.region_count(session, allowed)
            if allowed_regions <= max(COMPARED_REGIONS, COMPARED_SHARE * region_count):
                condition = nearest.of_area(area) if area else "true"
                return closest_photos(nearest.best_cosines(session, vectors, allowed, condition), count)
        condition = nearest.may_answer(allowed, area)

        def compare_all() -> RegionScores:
            return nearest.best_cosines(session, vectors, None, condition)

        # For a small collection more connections would take longer than they save.
        small = region_count <= indexes.SCANNED_REGIONS
        crew = Crew([session]) if small else self.server.crew(session)
        tables, probes = self._parts(session)
        if len(vectors) == 1:
            if allowed is not None or not tables:  # the list of them once, not for each partition
                tables = ["region"]
            phrase, how = HalfVector(vectors[0]), nearest.HowToSearch(probes, condition != "true")
            return shortlist_of_one(
                count,
                region_count=region_count,
                parts=len(tables),
                nearest=lambda depth: nearest.nearest(crew, phrase, tables, depth, how, condition),
                compare_all=compare_all,
            )
        if small:
            return closest_photos(compare_all(), count)
        at_once = 1
        if allowed is not None:
            tables, at_once = ["region"], len(tables)
        summaries = {name.replace("region", "photo_mean"): name.replace("region", "photo_group") for name in tables}
        phrases = [HalfVector(vector) for vector in vectors]
        of_photos, of_region = nearest.may_answer(allowed, None), nearest.of_area(area) if area else "true"
        return shortlist_of_several(
            count,
            filtered=area is not None,
            propose=lambda limit: propose(crew, vectors, summaries, at_once * limit, of_photos),
            best=lambda photo_ids: nearest.best_of(crew, phrases, photo_ids, of_region),
            compare_all=compare_all,
        )

    @staticmethod
    def _parts(session: Session) -> tuple[list[str], int]:
        """The tables of regions, and how many lists of the index of each a question looks into; asked once."""
        if "parts" not in session.info:
            rows = session.execute(
                text(
                    "SELECT inhrelid::regclass::text, (SELECT coalesce(round(avg(probes)), 1) FROM vector_index) "
                    "FROM pg_inherits WHERE inhparent = 'region'::regclass ORDER BY inhrelid"
                )
            ).all()
            session.info["parts"] = [row[0] for row in rows], int(rows[0][1]) if rows else 1
        parts: tuple[list[str], int] = session.info["parts"]
        return parts

    def _open_successor(self) -> "AbstractContextManager[PostgresCollection | None]":
        """The successor that was begun, open for writing; None: there is none."""
        if self.server.read(digest_of_successor, self.server.address) is None:
            return nullcontext()
        return PostgresCollection.open_at(address_of_successor(self.server.address), write=True, indexed=False)

    # -- for maintenance

    def require_writer(self) -> None:
        if not self._writes:
            raise CollectionError(f"The collection {self.location} was opened for reading.")
