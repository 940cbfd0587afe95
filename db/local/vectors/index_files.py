"""The FAISS files as a cache of the segments: loaded, checked, brought up to date, rebuilt, saved.

Each file `regions.<id>.faiss` holds the regions of one range of ids, FILE_REGIONS at most, is written once, and counts
once photos.db names it. New regions go into the last file, which is written again until it is full: so neither the
memory nor the time that saving takes grows with the collection, and a reader maps files instead of reading them.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db.local.extents import Extents
from db.local.files import atomic_write, file_fault
from db.local.layout import damaged, index_file_name, index_files_in
from db.local.records import FaissFile
from db.local.segments import PART_ROWS, MappedEmbeddings, SegmentFolder
from db.local.sqlite.snapshot import Snapshot

if TYPE_CHECKING:
    from db.local.vectors.faiss_index import VectorIndex, Vectors

logger = logging.getLogger(__name__)

# 128 MB as half floats of 256, in memory while the file is written. The last file is always scanned as a whole, which
# takes 18 ms where it is nearly full.
FILE_REGIONS = 250_000
# With more regions than this, files that are full get inverted lists: 10 s of CPU for each.
EXACT_LIMIT = 300_000
READ_BYTES = 32 * 2**20  # up to this size, a reader reads a file and compares its checksum (20 ms); else it maps it
TRAINING_SEED = 1234


class UnusableFile(Exception):
    """A FAISS file cannot be used; the text follows its name in a sentence. Never leaves `db`."""


@dataclass(frozen=True)
class IndexPlan:
    """A file to write."""

    extents: Extents  # of the photos whose regions it is going to hold
    nlist: int  # inverted lists; 0: exact scan
    replaced: FaissFile | None  # whose regions are a part of these, or were


class IndexFiles:
    """The FAISS files in a collection's folder."""

    def __init__(self, folder: Path, segments: SegmentFolder, embedding_size: int):
        self.folder = folder
        self._segments = segments
        self._embedding_size = embedding_size

    def open(self, snapshot: Snapshot, embeddings: MappedEmbeddings) -> "Vectors":
        """The snapshot's regions, to search in: the files, brought up to date in memory. Writes nothing.

        A file that cannot be used is replaced, in memory, by an exact index of the segments, and a warning says so.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
        """
        from db.local.vectors.faiss_index import Vectors

        indexes = []
        for file, live_count in zip(snapshot.files, snapshot.live_counts):
            try:
                # Mapped ones cannot be changed.
                mapped = live_count == file.region_count and file.size > READ_BYTES
                index = self.load(file, mapped=mapped)
                if live_count != file.region_count:
                    self._remove_gone(index, snapshot.extents.between(file.first_region_id, file.last_region_id))
            except UnusableFile as fault:
                logger.warning(
                    "%s %s: searching the segments instead; the next `indexer build` rebuilds it.",
                    self.folder / file.name,
                    fault,
                )
                extents = snapshot.extents.between(file.first_region_id, file.last_region_id)
                index = self._build(snapshot, extents, nlist=0)
            indexes.append(index)
        if sum(snapshot.live_counts) < snapshot.region_count:
            indexes.append(self._build(snapshot, snapshot.extents.beyond(snapshot.last_region_id), nlist=0))
        return Vectors(indexes, lambda ids: embeddings.read(snapshot.extents.rows_of(ids)))

    def fault(self, file: FaissFile, *, thorough: bool = False) -> str | None:
        """What is wrong with a file, to follow its name in a sentence; None: it is what was written.

        thorough: compare checksums of large files too, which takes a second for every 2 GB.
        """
        hashed = thorough or file.size <= READ_BYTES
        return file_fault(self.folder / file.name, file.size, file.sha256 if hashed else None)

    def load(self, file: FaissFile, *, mapped: bool = False) -> "VectorIndex":
        """The content of a file. Mapped: it stays on the disk, unchecked, and may be searched only.

        Raises:
            UnusableFile: it is missing or damaged.
        """
        from db.local.vectors.faiss_index import UnreadableIndex, VectorIndex

        if fault := self.fault(file, thorough=not mapped):
            raise UnusableFile(fault)
        try:
            index = VectorIndex.read(self.folder / file.name, mapped=mapped)
        except UnreadableIndex as error:
            raise UnusableFile(f"is damaged ({error})") from error
        if len(index) != file.region_count:
            raise UnusableFile(f"holds {len(index)} regions instead of {file.region_count}")
        return index

    def plan(self, snapshot: Snapshot, *, from_scratch: bool = False) -> Iterator[IndexPlan]:
        """The files to write so that all of them together hold exactly the snapshot's regions: few or none.

        from_scratch: all of them, as if there were none yet. The same regions are then always cut in the same way.
        """
        from db.local.vectors.faiss_index import nlist_for

        files = [] if from_scratch else snapshot.files
        extents = snapshot.extents
        pieces: list[tuple[Extents, FaissFile | None]] = [
            (extents.between(file.first_region_id, file.last_region_id), file) for file in files
        ]
        if pieces and pieces[-1][0].region_count < FILE_REGIONS:  # there is room for more
            last = pieces.pop()[1]
            rest = extents.beyond(files[-1].first_region_id - 1)
            parts = list(rest.parts(FILE_REGIONS)) or [rest]
        else:
            last = None
            parts = list(extents.beyond(files[-1].last_region_id if files else 0).parts(FILE_REGIONS))
        pieces.extend((part, last if index == 0 else None) for index, part in enumerate(parts))

        for index, (part, file) in enumerate(pieces):
            nlist = file.nlist if file else 0
            full = index < len(pieces) - 1 and part.region_count > FILE_REGIONS // 2
            if full and not nlist and snapshot.region_count > EXACT_LIMIT:
                nlist = nlist_for(part.region_count)
            kept = (
                file is not None
                and snapshot.live_counts[index] == file.region_count == part.region_count
                and nlist == file.nlist
                and not self.fault(file)
            )
            if not kept:
                yield IndexPlan(part, nlist, file)

    def write(self, index_id: int, plan: IndexPlan, snapshot: Snapshot) -> FaissFile:
        """Put a file on the disk; it counts when the caller commits it to photos.db. For writers.

        A file to be replaced that cannot be used is set aside as `<name>.damaged`, and a warning says so.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
            OSError: the disk refuses.
        """
        index = None
        if plan.replaced and plan.replaced.nlist == plan.nlist:
            index = self._updated(plan.replaced, plan.extents, snapshot)
        if index is None:
            index = self._build(snapshot, plan.extents, plan.nlist)
        with atomic_write(self.folder / index_file_name(index_id)) as stream:
            index.write(stream)
        ids = plan.extents.region_ids()
        return FaissFile(index_id, int(ids[0]), int(ids[-1]), len(ids), index.nlist, stream.size, stream.sha256)

    def sweep(self, files: list[FaissFile]) -> None:
        """Delete the files that the last commit does not name. Not while anybody reads."""
        kept = {file.name for file in files}
        for path in index_files_in(self.folder):
            if path.name not in kept:
                path.unlink()

    def _updated(self, file: FaissFile, extents: Extents, snapshot: Snapshot) -> "VectorIndex | None":
        """A file's index without the regions that are gone and with those that came after it; None: cannot be used."""
        path = self.folder / file.name
        try:
            index = self.load(file)
            self._remove_gone(index, extents.between(file.first_region_id, file.last_region_id))
        except UnusableFile as fault:
            logger.warning("%s %s: rebuilding it from the segments.", path, fault)
            if path.exists():
                path.replace(damaged(path))
            return None
        self._fill(index, snapshot, extents.beyond(file.last_region_id))
        return index

    def _build(self, snapshot: Snapshot, extents: Extents, nlist: int) -> "VectorIndex":
        """A new index of these regions; the same regions give the same index."""
        from db.local.vectors.faiss_index import TRAINING_VECTORS_PER_LIST, VectorIndex

        if nlist:
            # Whole photos, drawn at random: neighbouring regions are much alike.
            order = np.random.default_rng(TRAINING_SEED).permutation(len(extents.photo_ids))
            enough = np.searchsorted(np.cumsum(extents.counts[order]), nlist * TRAINING_VECTORS_PER_LIST) + 1
            sample = extents.take(np.sort(order[:enough]))
            vectors = self._segments.read("embeddings", sample, snapshot.segments)
            index = VectorIndex.inverted(nlist, vectors.astype(np.float32))
        else:
            index = VectorIndex.exact(self._embedding_size)
        self._fill(index, snapshot, extents)
        return index

    def _remove_gone(self, index: "VectorIndex", extents: Extents) -> None:
        """Leave these regions in the index, all of which it must hold."""
        ids = index.ids()
        gone = ids[~extents.contain(ids)]
        if len(gone):
            index.remove(gone)
        if len(index) != extents.region_count:
            raise UnusableFile(f"lacks {extents.region_count - len(index)} regions")

    def _fill(self, index: "VectorIndex", snapshot: Snapshot, extents: Extents) -> None:
        """Add the regions of these photos from the segments, whose checksums are compared first."""
        for segment_id in np.unique(extents.segment_ids).tolist():
            self._segments.check(snapshot.segments[segment_id])
        for part in extents.parts(PART_ROWS):
            vectors = self._segments.read("embeddings", part, snapshot.segments)
            index.add(part.region_ids(), vectors.astype(np.float32))
