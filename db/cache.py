"""The FAISS file as a cache of the segments: loaded, checked, brought up to date, made anew, saved.

Files are `regions.<generation>.faiss`. A generation is written once and is the current one once photos.db names it.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from db.features import Extents, SegmentFile, SegmentFolder
from db.files import file_sha256, published

if TYPE_CHECKING:
    from db.vectors import VectorIndex

logger = logging.getLogger(__name__)

PART_ROWS = 100_000  # regions in memory at a time: 100 MB as float32 vectors of 256
TRAINING_SEED = 1234


class UnusableFile(Exception):
    """The FAISS file cannot be used; the text follows its name in a sentence. Never leaves this module."""


@dataclass(frozen=True)
class SavedIndex:
    """What photos.db knows about the FAISS file. Generation 0: none was ever written."""

    generation: int
    revision: int  # the commit whose regions it holds
    lists: int  # inverted lists; 0: exact scan
    size: int  # bytes
    sha256: str

    @property
    def name(self) -> str:
        return f"regions.{self.generation}.faiss"


@dataclass(frozen=True)
class Snapshot:
    """Everything that one commit says about vectors."""

    revision: int
    saved: SavedIndex
    extents: Extents  # of all described photographs
    segments: Mapping[int, SegmentFile]


class VectorCache:
    """The FAISS files of the collection in `folder`."""

    def __init__(self, folder: Path, segment_folder: SegmentFolder, embedding_size: int):
        self._folder = folder
        self._segment_folder = segment_folder
        self._embedding_size = embedding_size

    def open(self, snapshot: Snapshot) -> "VectorIndex":
        """The snapshot's index, to search in: the file, brought up to date in memory. Writes nothing.

        A file that cannot be used is replaced, in memory, by an exact index of the segments, and a warning says so.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
        """
        from db.vectors import VectorIndex

        saved = snapshot.saved
        # Inverted lists may be gigabytes: mapped rather than read, and not hashed, unless they have to change.
        mapped = saved.lists > 0 and saved.revision == snapshot.revision
        try:
            index = self._load(snapshot, mapped=mapped)
        except UnusableFile as fault:
            logger.warning(
                "%s %s: searching the segments instead; the next `indexer build` writes it anew",
                self._folder / saved.name,
                fault,
            )
            index = VectorIndex.exact(self._embedding_size)
            self._fill(index, snapshot, snapshot.extents.region_ids())
        else:
            if saved.revision != snapshot.revision:
                self._catch_up(index, snapshot)
        return index

    def fault(self, saved: SavedIndex, *, mapped: bool = False) -> str | None:
        """What is wrong with the file, to follow its name in a sentence; None: it is what was written."""
        if saved.generation == 0:
            return None
        path = self._folder / saved.name
        if not path.exists():
            return "is missing"
        if (size := path.stat().st_size) != saved.size:
            return f"is damaged ({size} bytes instead of {saved.size})"
        if not mapped and file_sha256(path) != saved.sha256:
            return "is damaged (its content does not match its checksum)"
        return None

    def save(self, snapshot: Snapshot) -> SavedIndex:
        """Make a file of the snapshot's regions, unless the current one holds exactly them. For writers.

        A file that cannot be used is set aside as `<name>.damaged`, and a warning says so. What is returned becomes
        true when the caller commits it to photos.db.

        Raises:
            CollectionDamaged: a segment that is needed is missing or altered.
            OSError: the disk refuses.
        """
        from db.vectors import lists_for

        saved = snapshot.saved
        suitable = lists_for(snapshot.extents.region_count)
        try:
            index = self._load(snapshot)
        except UnusableFile as fault:
            path = self._folder / saved.name
            logger.warning("%s %s: making it anew from the segments", path, fault)
            if path.exists():
                path.replace(path.with_name(path.name + ".damaged"))
            index = self._make(snapshot, suitable)
        else:
            if suitable > index.lists:  # seldom: at EXACT_LIMIT, and whenever there are four times the regions
                index = self._make(snapshot, suitable)
            elif not self._catch_up(index, snapshot) and saved.generation:
                return replace(saved, revision=snapshot.revision)
        generation = saved.generation + 1
        with published(self._folder / f"regions.{generation}.faiss") as stream:
            index.write(stream)
        return SavedIndex(generation, snapshot.revision, index.lists, stream.size, stream.sha256)

    def sweep(self, saved: SavedIndex) -> None:
        """Delete older generations, and newer ones that were never committed. Not while anybody reads."""
        for path in self._folder.glob("regions.*.faiss*"):
            if path.name != saved.name and re.fullmatch(r"regions\.\d+\.faiss(\.tmp)?", path.name):
                path.unlink()

    def _load(self, snapshot: Snapshot, *, mapped: bool = False) -> "VectorIndex":
        from db.vectors import UnreadableIndex, VectorIndex

        saved = snapshot.saved
        if saved.generation == 0:
            return VectorIndex.exact(self._embedding_size)
        if fault := self.fault(saved, mapped=mapped):
            raise UnusableFile(fault)
        try:
            index = VectorIndex.read(self._folder / saved.name, mapped=mapped)
        except UnreadableIndex as error:
            raise UnusableFile(f"is damaged ({error})") from error
        if saved.revision == snapshot.revision and len(index) != snapshot.extents.region_count:
            raise UnusableFile(f"holds {len(index)} regions instead of {snapshot.extents.region_count}")
        return index

    def _make(self, snapshot: Snapshot, lists: int) -> "VectorIndex":
        """A new index of all the snapshot's regions; the same regions give the same index."""
        from db.vectors import TRAINING_VECTORS_PER_LIST, VectorIndex

        extents = snapshot.extents
        if lists:
            # Whole photographs, drawn at random: neighbouring regions are much alike.
            order = np.random.default_rng(TRAINING_SEED).permutation(len(extents.photo_ids))
            enough = np.searchsorted(np.cumsum(extents.counts[order]), lists * TRAINING_VECTORS_PER_LIST) + 1
            sample = extents.take(np.sort(order[:enough]))
            vectors = self._segment_folder.read("embeddings", sample, snapshot.segments)
            index = VectorIndex.with_lists(lists, vectors.astype(np.float32))
        else:
            index = VectorIndex.exact(self._embedding_size)
        self._fill(index, snapshot, extents.region_ids())
        return index

    def _catch_up(self, index: "VectorIndex", snapshot: Snapshot) -> bool:
        """Make the index hold exactly the snapshot's regions; whether that changed it."""
        wanted, held = snapshot.extents.region_ids(), index.ids()
        missing, gone = np.setdiff1d(wanted, held), np.setdiff1d(held, wanted)
        if len(gone):
            index.remove(gone)
        if len(missing):
            self._fill(index, snapshot, missing)
        return len(missing) + len(gone) > 0

    def _fill(self, index: "VectorIndex", snapshot: Snapshot, region_ids: np.ndarray) -> None:
        """Add these regions (ascending ids) from the segments, whose checksums are compared first."""
        extents = snapshot.extents.take(np.unique(snapshot.extents.positions_of(region_ids)))
        for segment_id in np.unique(extents.segment_ids).tolist():
            self._segment_folder.check(snapshot.segments[segment_id])
        for part in extents.parts(PART_ROWS):
            ids = part.region_ids()
            vectors = self._segment_folder.read("embeddings", part, snapshot.segments)
            wanted = np.isin(ids, region_ids)
            index.add(ids[wanted], vectors[wanted].astype(np.float32))
