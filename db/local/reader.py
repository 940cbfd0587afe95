"""`CommitReader`: the vectors of one commit, in FAISS files and segments, loaded as they are asked for."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db import queries
from db.candidates import closest_photos, nearest_photos
from db.errors import UnknownId
from db.local.extents import Extents
from db.local.records import SegmentFile
from db.local.segments import PART_ROWS, MappedEmbeddings, SegmentFolder, products
from db.local.sqlite.connection import Database, plain_errors
from db.local.sqlite.snapshot import Snapshot, read_extents, read_segments, read_snapshot
from db.local.vectors.index_files import IndexFiles
from db.matching import regions_of_area
from db.records import AreaRange, Features, RegionIds, RegionScores

if TYPE_CHECKING:
    from db.local.vectors.faiss_index import Vectors

# With so few regions a search compares all embeddings, which stay in memory (67 MB of float32 vectors of 256). That
# saves the first question the import of FAISS: 0.2 s, and 190 MB where it is built for GPUs.
SCANNED_REGIONS = 65_536
# Where only some photos may be found, so many regions are compared one by one, read from the segments: exact, whatever
# FAISS has for the collection. Of more than that, FAISS finds those that may be; where it compares all vectors, that is
# exact too. Of 350,000 regions (scripts.benchmark.filters, a busy computer; FAISS, and one by one): 3,500 allowed 34 ms
# and 13 ms, 35,000 23 ms and 167 ms, 175,000 59 ms and 928 ms.
COMPARED_REGIONS = 65_536
# Of the regions that inverted lists find, so many are compared again to propose photos. Of the ten photos with the
# highest score (its upper bound, 20 questions, 1,000,000 regions) among the 200 proposed: 0.99 with 0, 300 or 1,000,
# which take 5.5, 6.3 and 7.8 ms of a busy computer; but the first ten alone are the right ones only so.
REGIONS_AGAIN = 300
# In collections with more regions, where near-copies fill the lists of nearest regions, photos are compared too (see
# `db.candidates.COMPARED`).
MANY_REGIONS = 2_000_000
_SCAN_ROWS = 8_192  # read at a time, their codes included


class CommitReader:
    """What a search asks for is described in `db.collection.Collection`."""

    def __init__(self, database: Database, segments: SegmentFolder, index_files: IndexFiles):
        self._database = database
        self._segments = segments
        self._index_files = index_files
        self._last_scan: tuple[np.ndarray, RegionScores] | None = None  # vectors, and what `_scanned` found

    @cached_property
    def snapshot(self) -> Snapshot:
        """Where the vectors are."""
        return read_snapshot(self._database)

    @cached_property
    def folders(self) -> dict[int, Path]:
        """Root id -> folder."""
        with self._database.session() as session:
            return queries.roots(session)

    @cached_property
    def vectors(self) -> "Vectors":
        """The FAISS files, brought up to date."""
        with plain_errors(self._index_files.folder):
            return self._index_files.open(self.snapshot, self._mapped)

    @cached_property
    def _mapped(self) -> MappedEmbeddings:
        """Of single photos or regions."""
        return self._segments.mapped(self.snapshot.segments)

    @cached_property
    def _checked(self) -> np.ndarray:
        """(P,) bool: the photos of the snapshot whose features were compared with their checksums already."""
        return self.snapshot.extents.checksums < 0

    @cached_property
    def _embeddings(self) -> np.ndarray:
        """Of all regions, in the order of their ids: (N, E) float32."""
        extents = self.snapshot.extents
        embeddings = np.empty((extents.region_count, self._segments.embedding_size), np.float32)
        for rows, some in self._read_embeddings(extents, self.snapshot.segments, _SCAN_ROWS):
            embeddings[rows] = some
        return embeddings

    @cached_property
    def _regions(self) -> RegionIds:
        """All of them, in the order of their ids."""
        extents = self.snapshot.extents
        return RegionIds(extents.region_ids(), np.repeat(extents.photo_ids, extents.counts))

    def candidates(
        self, vectors: np.ndarray, count: int, allowed: np.ndarray | None = None, area: AreaRange | None = None
    ) -> np.ndarray:
        if allowed is not None or area is not None:
            return self._allowed_candidates(vectors, count, allowed, area)
        region_count = self.snapshot.region_count
        if region_count <= SCANNED_REGIONS:
            return closest_photos(self.cosines(vectors), count)
        return nearest_photos(
            count,
            region_count=region_count,
            nearest=lambda depth: self.nearest(vectors, depth, again=REGIONS_AGAIN),
            owners=self.photo_ids_of,
            compare_all=lambda: self.cosines(vectors),
            compare=self._comparing(vectors),
        )

    def _allowed_candidates(
        self, vectors: np.ndarray, count: int, allowed: np.ndarray | None, area: AreaRange | None
    ) -> np.ndarray:
        """Among some photos, by some of their regions."""
        extents = self.snapshot.extents
        if allowed is not None:
            extents = extents.take(self._positions(allowed))
        region_ids = extents.region_ids()
        if area is not None:
            region_ids = self.regions_of_area(area, allowed)
            # Only these photos need be read.
            extents = extents.take(np.isin(extents.photo_ids, self.photo_ids_of(region_ids)))

        def compare_all() -> RegionScores:
            cosines = self.cosines(vectors, extents.photo_ids)
            return cosines if area is None else cosines.take(np.isin(cosines.region_ids, region_ids))

        if extents.region_count <= COMPARED_REGIONS:
            return closest_photos(compare_all(), count)
        return nearest_photos(
            count,
            region_count=len(region_ids),
            nearest=lambda depth: self.nearest(vectors, depth, region_ids, again=REGIONS_AGAIN),
            owners=self.photo_ids_of,
            compare_all=compare_all,
            compare=self._comparing(vectors) if area is None else None,
        )

    def regions_of_area(self, area: AreaRange, photo_ids: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """(N,) int64, ascending: the regions of such an area, of these photos or of all."""
        with self._database.session() as session:
            return regions_of_area(session, area, photo_ids)

    def nearest(
        self, vectors: np.ndarray, k: int, allowed: np.ndarray | None = None, *, again: int | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The k regions nearest to each vector.

        Args:
            vectors: (Q, E) float32, unit length.
            allowed: (A,) int64, the only regions that may be found; None: all may.
            again: so many of those that inverted lists find are compared again by their embeddings, the others keep
                the inner products of their short codes, and come last; None: as many as k needs.

        Returns:
            For each vector (region ids (K,) int64, inner products (K,) float32), best first, equal ones by id;
            K < k only if there are fewer regions, or if a large collection's inverted lists find fewer.
        """
        return self.vectors.search(vectors, k, allowed, again=again)

    def photo_ids_of(self, region_ids: np.ndarray) -> np.ndarray:
        """(N,) int64: the photo of each of N regions. Raises UnknownId."""
        extents, region_ids = self.snapshot.extents, np.asarray(region_ids, np.int64)
        positions = extents.positions_of(region_ids)
        if not (known := extents.are_of(region_ids, positions)).all():
            raise UnknownId(f"region {region_ids[~known][0]}")
        return extents.photo_ids[positions]

    def cosines(self, vectors: np.ndarray, photo_ids: Sequence[int] | np.ndarray | None = None) -> RegionScores:
        if self.snapshot.region_count <= SCANNED_REGIONS:
            return self._scanned(vectors) if photo_ids is None else self._scanned_of(vectors, photo_ids)
        if photo_ids is not None:
            return self._cosines_of(vectors, self._checked_extents(photo_ids))
        extents = self.snapshot.extents
        scores = np.empty((len(vectors), extents.region_count), np.float32)
        for rows, embeddings in self._read_embeddings(extents, self.snapshot.segments, PART_ROWS):
            scores[:, rows] = vectors @ embeddings.astype(np.float32).T
        return _region_scores(extents, scores)

    def _scanned(self, vectors: np.ndarray) -> RegionScores:
        """The cosines of all regions, whose embeddings are in memory."""
        if self._last_scan is None or not np.array_equal(self._last_scan[0], vectors):
            scores = products(vectors, self._embeddings)
            scan = RegionScores(self._regions.region_ids, self._regions.photo_ids, scores)
            self._last_scan = vectors.copy(), scan
        return self._last_scan[1]

    def _scanned_of(self, vectors: np.ndarray, photo_ids: Sequence[int] | np.ndarray) -> RegionScores:
        """Those of some photos. A question asks for them after `candidates` has compared all: not once more."""
        extents = self.snapshot.extents
        among = np.zeros(len(extents.photo_ids), bool)
        among[self._positions(photo_ids)] = True
        rows = np.flatnonzero(np.repeat(among, extents.counts))
        known = self._last_scan is not None and np.array_equal(self._last_scan[0], vectors)
        if known or len(rows) > len(self._embeddings) // 4:
            return self._scanned(vectors).take(rows)
        scores = products(vectors, self._embeddings[rows])
        return RegionScores(self._regions.region_ids[rows], self._regions.photo_ids[rows], scores)

    def _comparing(self, vectors: np.ndarray) -> Callable[[np.ndarray], RegionScores] | None:
        """Where many regions are, what compares photos (P,) without their checksums, for which codes would be read."""
        extents = self.snapshot.extents
        if self.snapshot.region_count <= MANY_REGIONS:
            return None
        return lambda photo_ids: self._cosines_of(vectors, extents.take(self._positions(photo_ids)))

    def _cosines_of(self, vectors: np.ndarray, extents: Extents) -> RegionScores:
        """Of some photos."""
        with plain_errors(self._index_files.folder):
            return _region_scores(extents, self._mapped.products(vectors, extents))

    def codes(self, region_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        region_ids = np.asarray(region_ids, np.int64)
        features = self.features(np.unique(self.photo_ids_of(region_ids)))
        return features.codes[np.searchsorted(features.region_ids, region_ids)]

    def features(self, photo_ids: Sequence[int] | np.ndarray | None = None) -> Features:
        extents, segments = self._places(photo_ids)
        codes, embeddings = self._read(extents, segments)
        return Features(
            region_ids=extents.region_ids(),
            photo_ids=np.repeat(extents.photo_ids, extents.counts),
            codes=codes,
            embeddings=embeddings.astype(np.float32),
        )

    def _checked_extents(self, photo_ids: Sequence[int] | np.ndarray) -> Extents:
        """Where the rows of these photos are, which are what was written. Raises UnknownId.

        Their checksums, which are of codes and embeddings together, are compared when a reader needs them first.
        """
        positions = self._positions(photo_ids)
        if len(unchecked := positions[~self._checked[positions]]):
            self._read(self.snapshot.extents.take(unchecked), self.snapshot.segments)
            self._checked[unchecked] = True
        return self.snapshot.extents.take(positions)

    def _positions(self, photo_ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Which of the snapshot's photos these are, ascending. Raises UnknownId."""
        ids, wanted = self.snapshot.extents.photo_ids, np.asarray(photo_ids, np.int64)
        order = self._by_photo_id
        places = np.searchsorted(ids, wanted, sorter=order)
        known = places < len(ids)
        known[known] = ids[order[places[known]]] == wanted[known]
        if not known.all():
            raise UnknownId(f"described photograph {wanted[~known].min()}")
        return np.sort(order[places])

    @cached_property
    def _by_photo_id(self) -> np.ndarray:
        """(P,) int64: the places of the snapshot's photos, ascending by photo id."""
        return np.argsort(self.snapshot.extents.photo_ids, kind="stable")

    def _places(self, photo_ids: Sequence[int] | np.ndarray | None) -> tuple[Extents, dict[int, SegmentFile]]:
        """Where the rows of these photos are, or of all. Raises UnknownId."""
        if photo_ids is None:
            return self.snapshot.extents, self.snapshot.segments
        with self._database.session() as session:
            extents = read_extents(session, photo_ids)
            # Sets: np.unique and np.setdiff1d would import numpy.ma, 50 ms of a query.
            segments = read_segments(session, set(extents.segment_ids.tolist()))
        if unknown := set(np.asarray(photo_ids, np.int64).tolist()) - set(extents.photo_ids.tolist()):
            raise UnknownId(f"described photograph {min(unknown)}")
        return extents, segments

    def _read_embeddings(
        self, extents: Extents, segments: dict[int, SegmentFile], part_rows: int
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """The embeddings of photos, about part_rows regions at a time: their rows among all of these, float16."""
        done = 0
        for part in extents.parts(part_rows):
            # Codes are read for the checksum, which is of both arrays' rows.
            _, embeddings = self._read(part, segments)
            yield slice(done, done + len(embeddings)), embeddings
            done += len(embeddings)

    def _read(self, extents: Extents, segments: dict[int, SegmentFile]) -> tuple[np.ndarray, np.ndarray]:
        with plain_errors(self._index_files.folder):
            return self._segments.read_checked(extents, segments)


def _region_scores(extents: Extents, scores: np.ndarray) -> RegionScores:
    return RegionScores(extents.region_ids(), np.repeat(extents.photo_ids, extents.counts), scores)
