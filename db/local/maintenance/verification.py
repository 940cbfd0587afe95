"""`verify`: whether all of a collection holds, for people and programs to read; `repair` of what does not."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from db import writes
from db.errors import CollectionDamaged, CollectionError, CollectionMissing
from db.local.collection import LocalCollection
from db.local.layout import Layout
from db.local.lock import WriterLock, without_readers
from db.local.maintenance.inspection import inspect
from db.local.maintenance.reindexing import rebuild_index
from db.local.records import Counts, Findings
from db.local.sqlite.backup import is_sound, restore_database
from db.local.sqlite.connection import plain_errors
from db.local.successor import discard
from db.location import Location, collection_folder
from db.records import Problem

_ROUNDS = 3  # of repair: what is left when rows are removed may show more


@dataclass
class VerificationReport:
    """What there is, what does not hold, and what was done about it."""

    collection: Path
    counts: Counts = field(default_factory=Counts)
    to_describe: int = 0  # photos that were damaged, and are described again by the next build
    problems: list[Problem] = field(default_factory=list)  # as they were found
    repaired: bool = False  # every problem is gone

    @property
    def holds(self) -> bool:
        """Whether all is as it should be now."""
        return self.repaired or not self.problems

    def summary(self) -> dict[str, str]:
        """What there is, for people."""
        counts = self.counts
        lines = {
            "collection": str(self.collection),
            "photographs": f"{counts.photographs:,}",
            "regions": f"{counts.regions:,}",
            "features": f"{counts.segments:,} file" + "s" * (counts.segments != 1),
            "index": f"{counts.index_files:,} FAISS file" + "s" * (counts.index_files != 1),
        }
        if counts.index_recall is not None:
            find = "finds" if counts.index_files == 1 else "find"
            lines["index"] += f", which {find} at least {counts.index_recall:.1%} of what exact search finds"
        if counts.index_stale:
            lines["index"] += " (`indexer rebuild` trains their lists again, or the next build that adds regions)"
        if counts.rows_of_gone:
            lines["gone"] = f"{counts.rows_of_gone:,} regions of removed photographs (`indexer compact` frees them)"
        if counts.without_checksums:
            lines["unchecked"] = f"{counts.without_checksums:,} photographs that an older version described"
        return lines

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        fields = asdict(self)
        counts = fields.pop("counts")
        return {"collection": str(fields.pop("collection")), **counts, **fields, "holds": self.holds}


def verify(location: Location, *, repair: bool = False) -> VerificationReport:
    """Check that a collection holds together, down to the last byte of its files.

    SQLite's own checks of photos.db; rows against their checksums; regions in photos.db, segments and FAISS files the
    same, both ways; checksums of all files; the copy of photos.db; all of it again of a successor that was begun.
    The photos' own files are not looked at.

    Args:
        repair: be the collection's writer, and repair what can be. FAISS files are rebuilt from the segments.
            Photos whose segment or rows are damaged are described again by the next build. A damaged photos.db is
            replaced by the copy that the last build left; later photos are described again by the next one.

    Raises:
        CollectionMissing, CollectionLocked, SchemaTooNew
        CollectionError: the disk refuses; there are readers while photos.db has to be restored.
    """
    layout = Layout(collection_folder(location))
    report = _verify(layout, repair)
    if layout.successor.database.exists():
        try:
            theirs = _verify(layout.successor, repair)
        except CollectionMissing:  # a writer was killed before its first commit, or it has just replaced this one
            return report
        if not layout.successor.database.exists():  # it has just replaced this one
            return report
        if repair and not theirs.holds:
            with plain_errors(layout.folder):
                discard(layout)  # whatever the successor holds can be described again
        report.repaired = repair and report.holds and bool(report.problems or theirs.problems)
        report.problems += [Problem("successor", problem.what) for problem in theirs.problems]
    return report


def repair(collection: LocalCollection, findings: Findings) -> None:
    """Remove what cannot be trusted, for the next build to describe it again; rebuild FAISS files that are unusable."""
    collection.require_writer()
    with collection.transaction() as session:
        writes.remove(session, findings.lost)
        writes.remove_regions(session, findings.orphan_regions)
        for reason in sorted(set(findings.damaged.values())):
            photo_ids = [photo_id for photo_id, why in findings.damaged.items() if why == reason]
            writes.describe_again(session, photo_ids, reason)
    if findings.index_unusable:
        rebuild_index(collection)
    else:
        collection.save_index()
    collection.keep_copy(always=True)


def _verify(layout: Layout, repair_it: bool) -> VerificationReport:
    """`verify` without the successor."""
    report = VerificationReport(layout.folder)
    try:
        collection = LocalCollection.open(layout.folder, write=repair_it, clean_up=False)
    except CollectionDamaged as damage:
        return _without_database(layout, damage, repair_it)
    with collection:
        try:
            findings = inspect(collection)
        except CollectionDamaged as damage:
            collection.close()
            return _without_database(layout, damage, repair_it)
        report.counts = findings.counts
        report.problems.extend(findings.problems)
        copy = layout.database_copy
        if copy.exists() and not is_sound(copy):
            report.problems.append(Problem("copy", f"{copy}, the copy of photos.db, is damaged."))
        if repair_it and report.problems:
            for _ in range(_ROUNDS):
                report.to_describe += len(findings.damaged)
                repair(collection, findings)
                findings = inspect(collection)
                if not findings.problems:
                    report.repaired = True
                    break
    return report


def _without_database(layout: Layout, damage: CollectionDamaged, repair_it: bool) -> VerificationReport:
    """What is to be said of a collection whose photos.db cannot be read, and done about it."""
    path, copy = layout.folder, layout.database_copy
    if not copy.exists() or not is_sound(copy):
        what = (
            f"{damage.fault}, and there is no sound copy of it ({copy.name}): put one of your own in its place, or "
            f"delete {path} and build it again. The features beside it are of no use without it."
        )
        return VerificationReport(path, problems=[Problem("database", what, repairable=False)])
    taken = datetime.fromtimestamp(copy.stat().st_mtime).isoformat(" ", "minutes")
    problem = Problem(
        "database",
        f"{damage.fault}. There is a sound copy of {taken}; what was described later is described again.",
    )
    if not repair_it:
        return VerificationReport(path, problems=[problem])
    with plain_errors(path):
        lock = WriterLock(layout.lock)
        try:
            with without_readers(layout.readers) as free:
                if not free:
                    raise CollectionError(f"Somebody reads {path}: end every search of it, then repair it.")
                restore_database(copy, layout.database)
        finally:
            lock.release()
    report = _verify(layout, repair_it=True)
    report.repaired = report.holds
    report.problems.insert(0, problem)
    return report
