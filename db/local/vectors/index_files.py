"""The FAISS files as a cache of the segments: loaded, checked, brought up to date, rebuilt, saved.

Each file `regions.<id>.faiss` holds the regions of one range of ids, FILE_REGIONS at most, is written once, and counts
once photos.db names it. New regions go into the last file, which is written again until it is full: so neither the
memory nor the time that saving takes grows with the collection, and a reader maps files instead of reading them.

Large collections get inverted lists, whose centres are trained once for all files and stand in `lists.<sha256>.faiss`.
How many of the lists a question looks into is measured on the first file that has them. Each further file is measured
with as many: one that finds too little tells that the regions are no longer like those of the training. Then, or when
the collection has become much larger, centres are trained again for the files written from then on; the others are
searched as they are, and written again a few at a time.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db.local.extents import Extents
from db.local.files import atomic_write, file_fault, sync_folder
from db.local.layout import damaged, index_file_name, index_files_in, quantizer_name
from db.local.records import FaissFile, QuantizerFile
from db.local.segments import PART_ROWS, MappedEmbeddings, SegmentFolder
from db.local.sqlite.snapshot import Snapshot

if TYPE_CHECKING:
    from db.local.vectors.faiss_index import Quantizer, VectorIndex, Vectors

logger = logging.getLogger(__name__)

# 128 MB as half floats of 256, in memory while the file is written.
FILE_REGIONS = 250_000
# With more regions than this, files get inverted lists: 10 s of CPU for a full one.
EXACT_LIMIT = 300_000
# So many regions in the last file are scanned all the same: 2 ms a phrase.
SCANNED_TAIL = 30_000
# Files of together this size a reader reads, and compares their checksums (20 ms); else it maps them.
READ_BYTES = 32 * 2**20
TRAINING_SEED = 1234
# Centres are trained again once a collection of that size would get so many times as many: it is 16 times as large.
OUTGROWN = 4
# Centres of which a file finds less of the exact first 100 are trained again, if the collection has changed since by
# more than a fifth: else it would not help.
LEAST_RECALL = 0.98
STALE_SHARE = 0.8
# Files with older centres that are written again beside what has to be written: 20 s of CPU each.
RENEWED_AT_ONCE = 2


class UnusableFile(Exception):
    """A FAISS file cannot be used; the text follows its name in a sentence. Never leaves `db`."""


@dataclass(frozen=True)
class IndexPlan:
    """A file to write."""

    extents: Extents  # of the photos whose regions it is going to hold
    listed: bool  # with inverted lists; else an exact scan
    replaced: FaissFile | None  # whose regions are a part of these, or were


@dataclass(frozen=True)
class Written:
    """A file that was written, and whose its lists are, if it has any."""

    file: FaissFile
    quantizer: QuantizerFile | None


class IndexFiles:
    """The FAISS files in a collection's folder."""

    def __init__(self, folder: Path, segments: SegmentFolder, embedding_size: int):
        self.folder = folder
        self._segments = segments
        self._embedding_size = embedding_size
        self._quantizers: dict[str, Quantizer] = {}  # that were loaded, by sha256

    def open(self, snapshot: Snapshot, embeddings: MappedEmbeddings) -> "Vectors":
        """The snapshot's regions, to search in: the files, brought up to date in memory. Writes nothing.

        A file that cannot be used is replaced, in memory, by an exact index of the segments, and a warning says so.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
        """
        from db.local.vectors.faiss_index import Vectors

        indexes = []
        mapped = sum(file.size for file in snapshot.files) > READ_BYTES
        for file, live_count in zip(snapshot.files, snapshot.live_counts):
            try:
                # Mapped ones cannot be changed.
                index = self.load(file, snapshot, mapped=mapped and live_count == file.region_count)
                if live_count != file.region_count:
                    self._remove_gone(index, snapshot.extents.between(file.first_region_id, file.last_region_id))
            except UnusableFile as fault:
                logger.warning(
                    "%s %s: searching the segments instead; the next `indexer build` rebuilds it.",
                    self.folder / file.name,
                    fault,
                )
                extents = snapshot.extents.between(file.first_region_id, file.last_region_id)
                index = self._build(snapshot, extents, quantizer=None)
            indexes.append(index)
        if sum(snapshot.live_counts) < snapshot.region_count:
            indexes.append(self._build(snapshot, snapshot.extents.beyond(snapshot.last_region_id), quantizer=None))
        return Vectors(indexes, lambda ids: embeddings.read(snapshot.extents.rows_of(ids)))

    def fault(self, file: FaissFile, snapshot: Snapshot, *, hashed: bool | None = None) -> str | None:
        """What is wrong with a file, to follow its name in a sentence; None: it is what was written.

        hashed: whether to compare checksums, which takes a second for every 2 GB; None: of a small one.
        """
        if file.quantizer_id is not None:
            if (quantizer := snapshot.quantizers.get(file.quantizer_id)) is None:
                return "has lists that are not known"
            if fault := self._quantizer_fault(quantizer, hashed=bool(hashed)):
                return f"is of no use, for {quantizer.name} {fault}"
        hashed = file.size <= READ_BYTES if hashed is None else hashed
        return file_fault(self.folder / file.name, file.size, file.sha256 if hashed else None)

    def _quantizer_fault(self, quantizer: QuantizerFile, *, hashed: bool = False) -> str | None:
        """What is wrong with centres, as of `fault`. Their checksum is compared until they are loaded."""
        hashed = hashed or quantizer.sha256 not in self._quantizers
        return file_fault(self.folder / quantizer.name, quantizer.size, quantizer.sha256 if hashed else None)

    def load(self, file: FaissFile, snapshot: Snapshot, *, mapped: bool = False) -> "VectorIndex":
        """The content of a file. Mapped: it stays on the disk, unchecked, and may be searched only.

        Raises:
            UnusableFile: it is missing or damaged, or the centres of its lists are.
        """
        from db.local.vectors.faiss_index import NPROBE, UnreadableIndex, VectorIndex

        if fault := self.fault(file, snapshot, hashed=not mapped):
            raise UnusableFile(fault)
        try:
            quantizer, nprobe = None, NPROBE
            if file.quantizer_id is not None:
                known = snapshot.quantizers[file.quantizer_id]
                quantizer, nprobe = self._quantizer(known), known.nprobe
            index = VectorIndex.read(self.folder / file.name, mapped=mapped, quantizer=quantizer, nprobe=nprobe)
        except UnreadableIndex as error:
            raise UnusableFile(f"is damaged ({error})") from error
        if len(index) != file.region_count:
            raise UnusableFile(f"holds {len(index)} regions instead of {file.region_count}")
        return index

    def _quantizer(self, file: QuantizerFile) -> "Quantizer":
        """The content of a file without a fault. Raises UnreadableIndex."""
        from db.local.vectors.faiss_index import Quantizer

        if file.sha256 not in self._quantizers:
            self._quantizers[file.sha256] = Quantizer.read(self.folder / file.name)
        return self._quantizers[file.sha256]

    def quantizer(self, snapshot: Snapshot) -> QuantizerFile | None:
        """Whose lists new files get; None: one that is to be trained first."""
        from db.local.vectors.faiss_index import nlist_for

        last = max(snapshot.quantizers.values(), key=lambda quantizer: quantizer.id, default=None)
        if last is None:
            return None
        if fault := self._quantizer_fault(last, hashed=True):
            path = self.folder / last.name
            logger.warning("%s %s: training it again.", path, fault)
            if path.exists():
                path.replace(damaged(path))
            return None
        if nlist_for(snapshot.region_count) >= OUTGROWN * last.nlist or self.has_drifted(snapshot, last):
            return None
        return last

    def has_drifted(self, snapshot: Snapshot, quantizer: QuantizerFile) -> bool:
        """Whether the regions are no longer like those of its training, so that too few are found."""
        recalls = [file.recall for file in snapshot.files if file.quantizer_id == quantizer.id]
        lacking = any(recall is not None and recall < LEAST_RECALL for recall in recalls)
        return lacking and quantizer.regions < STALE_SHARE * snapshot.region_count

    def plan(
        self, snapshot: Snapshot, quantizer: QuantizerFile | None, *, from_scratch: bool = False
    ) -> Iterator[IndexPlan]:
        """The files to write so that all of them together hold exactly the snapshot's regions: few or none.

        quantizer: whose lists new files get, of `quantizer`. from_scratch: all of them, as if there were none yet. The
        same regions are then always cut in the same way.
        """
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

        plans, older = [], []
        for index, (part, file) in enumerate(pieces):
            enough = FILE_REGIONS // 2 if index < len(pieces) - 1 else SCANNED_TAIL
            listed = snapshot.region_count > EXACT_LIMIT and part.region_count > enough
            listed = listed or (file is not None and file.nlist > 0)
            plan = IndexPlan(part, listed, file)
            kept = (
                file is not None
                and snapshot.live_counts[index] == file.region_count == part.region_count
                and listed == (file.nlist > 0)
                and not self.fault(file, snapshot)
            )
            if not kept:
                plans.append(plan)
            elif file is not None and listed and (quantizer is None or file.quantizer_id != quantizer.id):
                older.append(plan)
        yield from plans
        if any(plan.listed for plan in plans):
            yield from older[:RENEWED_AT_ONCE]

    def write(
        self, index_id: int, plan: IndexPlan, snapshot: Snapshot, quantizer: QuantizerFile | None, quantizer_id: int
    ) -> Written:
        """Put a file on the disk; it counts when the caller commits it to photos.db. For writers.

        A file to be replaced that cannot be used is set aside as `<name>.damaged`, and a warning says so.

        quantizer: whose lists it gets, if it gets any; None: of one that is trained for it, and gets `quantizer_id`.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
            OSError: the disk refuses.
        """
        if not plan.listed:
            quantizer = None
        elif quantizer is None:
            quantizer = self._train(quantizer_id, snapshot)
        index = None
        file, owner = plan.replaced, quantizer.id if quantizer else None
        if file is not None and (file.quantizer_id, file.nlist > 0) == (owner, plan.listed):
            index = self._updated(file, plan.extents, snapshot)
        if index is None:
            index = self._build(snapshot, plan.extents, quantizer)
        recall = None
        if quantizer is not None:
            from db.local.vectors.recall import probes_and_recall

            measured = quantizer.nprobe or None  # 0: of a new one
            nprobe, recall = probes_and_recall(index, plan.extents, snapshot, self._segments, measured)
            quantizer = replace(quantizer, nprobe=nprobe)
        with atomic_write(self.folder / index_file_name(index_id)) as stream:
            index.write(stream)
        ids = plan.extents.region_ids()
        first, last = int(ids[0]), int(ids[-1])
        written = FaissFile(index_id, first, last, len(ids), index.nlist, stream.size, stream.sha256, owner, recall)
        return Written(written, quantizer)

    def _train(self, quantizer_id: int, snapshot: Snapshot) -> QuantizerFile:
        """Train centres for all regions, and put them on the disk. The same regions, the same centres."""
        from db.local.vectors.faiss_index import TRAINING_VECTORS_PER_LIST, Quantizer, nlist_for

        extents, nlist = snapshot.extents, nlist_for(snapshot.region_count)
        # Whole photos, drawn at random: neighbouring regions are much alike.
        order = np.random.default_rng(TRAINING_SEED).permutation(len(extents.photo_ids))
        enough = np.searchsorted(np.cumsum(extents.counts[order]), nlist * TRAINING_VECTORS_PER_LIST) + 1
        sample = extents.take(np.sort(order[:enough]))
        vectors = self._segments.read("embeddings", sample, snapshot.segments)
        quantizer = Quantizer.train(nlist, vectors.astype(np.float32))
        unnamed = self.folder / quantizer_name("0" * 64)
        with atomic_write(unnamed) as stream:
            quantizer.write(stream)
        file = QuantizerFile(quantizer_id, nlist, 0, snapshot.region_count, stream.size, stream.sha256)
        os.replace(unnamed, self.folder / file.name)
        sync_folder(self.folder)
        self._quantizers[file.sha256] = quantizer
        return file

    def sweep(self, snapshot: Snapshot) -> None:
        """Delete the files that the last commit does not name. Not while anybody reads."""
        kept = {file.name for file in snapshot.files} | {file.name for file in snapshot.quantizers.values()}
        for path in index_files_in(self.folder):
            if path.name not in kept:
                path.unlink()

    def _updated(self, file: FaissFile, extents: Extents, snapshot: Snapshot) -> "VectorIndex | None":
        """A file's index without the regions that are gone and with those that came after it; None: cannot be used."""
        path = self.folder / file.name
        try:
            index = self.load(file, snapshot)
            self._remove_gone(index, extents.between(file.first_region_id, file.last_region_id))
        except UnusableFile as fault:
            logger.warning("%s %s: rebuilding it from the segments.", path, fault)
            if path.exists():
                path.replace(damaged(path))
            return None
        self._fill(index, snapshot, extents.beyond(file.last_region_id))
        return index

    def _build(self, snapshot: Snapshot, extents: Extents, quantizer: QuantizerFile | None) -> "VectorIndex":
        """A new index of these regions; the same regions and lists give the same index. quantizer: None: exact."""
        from db.local.vectors.faiss_index import VectorIndex

        if quantizer is None:
            index = VectorIndex.exact(self._embedding_size)
        else:
            index = VectorIndex.inverted(self._quantizer(quantizer), quantizer.nprobe)
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
