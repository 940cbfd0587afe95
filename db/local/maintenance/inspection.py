"""`inspect`: rows, segments and FAISS files of a collection compared with their checksums and with each other."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from db.checksums import features_crc32
from db.errors import CollectionDamaged
from db.local.extents import Extents
from db.local.records import LOST_FEATURES, FaissFile, Findings, SegmentFile, counted
from db.local.segments import SegmentFolder
from db.local.sqlite.integrity import inspect_rows
from db.local.sqlite.snapshot import Snapshot, read_snapshot
from db.local.vectors.index_files import IndexFiles, UnusableFile
from db.records import Problem

if TYPE_CHECKING:
    from db.local.collection import LocalCollection


def inspect(collection: "LocalCollection") -> Findings:
    """Look at every byte of a collection, in bounded memory.

    Raises:
        CollectionDamaged: SQLite finds photos.db damaged; nothing more can be said then.
    """
    findings = Findings()
    inspect_rows(collection.database, findings)
    snapshot = read_snapshot(collection.database)
    try:
        findings.counts.photographs = len(snapshot.extents.photo_ids)
    except CollectionDamaged:  # of rows that were found above
        return findings
    findings.counts.regions = snapshot.region_count
    _inspect_segments(collection.segments, snapshot, findings)
    _inspect_index_files(collection.index_files, snapshot, findings)
    return findings


def _inspect_segments(folder: SegmentFolder, snapshot: Snapshot, findings: Findings) -> None:
    """Segments compared with their checksums, and their rows with those of the photos."""
    findings.counts.segments = len(snapshot.segments)
    for segment in snapshot.segments.values():
        extents = snapshot.extents.take(np.flatnonzero(snapshot.extents.segment_ids == segment.id))
        findings.counts.rows_of_gone += segment.rows - extents.region_count
        path = folder.path / segment.name
        if fault := folder.fault(segment):
            damaged = extents.photo_ids.tolist()
            what = f"{path}, the features of {counted(damaged, 'photograph')}, {fault}."
        else:
            damaged = _misplaced(folder, segment, extents)
            what = f"{path} holds other features of {counted(damaged, 'photograph')} than photos.db says."
        if damaged:
            findings.problems.append(Problem("segment", what))
            findings.damaged.update(dict.fromkeys(damaged, LOST_FEATURES))


def _misplaced(folder: SegmentFolder, segment: SegmentFile, extents: Extents) -> list[int]:
    """The photos of a sound segment whose features are not where their rows say."""
    stored = folder.read_file(segment)
    found = (len(stored.region_ids), stored.codes_offset, stored.embeddings_offset)
    if found != (segment.rows, segment.codes_offset, segment.embeddings_offset):
        return extents.photo_ids.tolist()
    misplaced = []
    for photo_id, first_id, count, row, checksum in zip(
        extents.photo_ids.tolist(),
        extents.first_region_ids.tolist(),
        extents.counts.tolist(),
        extents.first_rows.tolist(),
        extents.checksums.tolist(),
    ):
        rows = slice(row, row + count)
        same = stored.region_ids[rows].tolist() == list(range(first_id, first_id + count))
        if same and checksum >= 0:
            same = features_crc32(stored.codes[rows], stored.embeddings[rows]) == checksum
        if not same:
            misplaced.append(photo_id)
    return misplaced


def _inspect_index_files(index_files: IndexFiles, snapshot: Snapshot, findings: Findings) -> None:
    """FAISS files compared with their checksums, and their ids with those of the regions."""
    findings.counts.index_files = len(snapshot.files)
    recalls = [file.recall for file in snapshot.files if file.recall is not None]
    findings.counts.index_recall = min(recalls, default=None)
    findings.counts.index_stale = any(map(partial(index_files.has_drifted, snapshot), snapshot.quantizers.values()))
    added = snapshot.region_count - sum(snapshot.live_counts)
    gone = sum(file.region_count for file in snapshot.files) - sum(snapshot.live_counts)
    findings.counts.unsaved_regions = added + gone
    problems = [fault for file in snapshot.files if (fault := _index_fault(index_files, file, snapshot))]
    if added != snapshot.extents.beyond(snapshot.last_region_id).region_count:
        problems.append("The ranges of the FAISS files leave regions out, or overlap.")
    findings.index_unusable = bool(problems)
    findings.problems.extend(Problem("index", what) for what in problems)


def _index_fault(index_files: IndexFiles, file: FaissFile, snapshot: Snapshot) -> str | None:
    """What is wrong with a FAISS file, as a sentence."""
    path = index_files.folder / file.name
    try:
        held = np.sort(index_files.load(file, snapshot).ids())
    except UnusableFile as fault:
        return f"{path} {fault}."
    extents = snapshot.extents.between(file.first_region_id, file.last_region_id)
    twice = int(np.count_nonzero(held[1:] == held[:-1]))
    missing = extents.region_count + twice - int(np.count_nonzero(extents.contain(held)))
    foreign = int(np.count_nonzero((held < file.first_region_id) | (held > file.last_region_id)))
    if not (missing or foreign or twice):
        return None
    return (
        f"{path} holds other regions than photos.db says: {missing} are missing, {foreign} are not of its "
        f"range, {twice} are there twice."
    )
