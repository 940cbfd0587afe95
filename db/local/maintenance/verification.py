"""`verify`: whether all of a collection holds, for people and programs to read, and repair of what does not."""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from db.errors import CollectionDamaged, CollectionError, CollectionMissing
from db.local.collection import Collection
from db.local.lock import WriterLock, alone
from db.local.maintenance.inspection import Findings, Problem
from db.local.maintenance.model_switch import FOLDER, discard
from db.local.opening import DATABASE, LOCK, READERS
from db.local.sqlite.backup import COPY, is_sound, restore_database
from db.local.sqlite.connection import plain_errors

_ROUNDS = 3  # of repair: what is left when rows are removed may show more


@dataclass
class VerificationReport:
    """What was looked at, what does not hold, and what was done about it."""

    collection: Path
    photographs: int = 0
    regions: int = 0
    segments: int = 0
    index_files: int = 0
    rows_of_gone: int = 0  # in segments, of photographs that are gone: `compact` drops them
    unsaved_regions: int = 0  # that FAISS files lack or hold in vain: readers know, and the next build saves them
    without_checksums: int = 0  # photographs that an older version described
    to_describe: int = 0  # photographs that were damaged, and are described again by the next build
    problems: list[Problem] = field(default_factory=list)  # as they were found
    repaired: bool = False  # every problem is gone

    @property
    def holds(self) -> bool:
        """Whether all is as it should be now."""
        return self.repaired or not self.problems

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "collection": str(self.collection), "holds": self.holds}


def verify(path: Path, *, repair: bool = False) -> VerificationReport:
    """Check that a collection holds together, down to the last byte of its files.

    SQLite's own checks of photos.db; rows against their checksums; regions in photos.db, segments and FAISS files the
    same, both ways; checksums of all files; the copy of photos.db; all of it again of a successor that was begun.
    Photographs are not looked at.

    Args:
        repair: be the collection's writer, and make right what can be. FAISS files are made from the segments.
            Photographs whose segment or rows are damaged are described again by the next build. A damaged photos.db
            gives way to the copy that the last build left; later photographs are described again by the next one.

    Raises:
        CollectionMissing, CollectionLocked, SchemaTooNew
        CollectionError: the disk refuses; somebody reads while photos.db has to be restored.
    """
    path = Path(path).absolute()
    report = _verify(path, repair)
    successor = path / FOLDER
    if (successor / DATABASE).exists():
        try:
            theirs = _verify(successor, repair)
        except CollectionMissing:  # a writer was killed before its first commit, or it has just been adopted
            return report
        if not (successor / DATABASE).exists():  # it has just been adopted
            return report
        if repair and not theirs.holds:
            with plain_errors(path):
                discard(successor)  # whatever it holds can be described again
        report.repaired = repair and report.holds and bool(report.problems or theirs.problems)
        report.problems += [Problem("successor", problem.what) for problem in theirs.problems]
    return report


def _verify(path: Path, repair: bool) -> VerificationReport:
    """`verify` without the successor."""
    report = VerificationReport(path)
    try:
        collection = Collection.open(path, write=repair, clean_up=False)
    except CollectionDamaged as damage:
        return _without_database(path, damage, repair)
    with collection:
        try:
            findings = collection.inspect()
        except CollectionDamaged as damage:
            collection.close()
            return _without_database(path, damage, repair)
        _report(report, findings)
        copy = path / COPY
        if copy.exists() and not is_sound(copy):
            report.problems.append(Problem("copy", f"{copy}, the copy of photos.db, is damaged."))
        if repair and report.problems:
            for _ in range(_ROUNDS):
                report.to_describe += len(findings.damaged)
                collection.repair(findings)
                findings = collection.inspect()
                if not findings.problems:
                    report.repaired = True
                    break
    return report


def _report(report: VerificationReport, findings: Findings) -> None:
    report.photographs = findings.photographs
    report.regions = findings.regions
    report.segments = findings.segments
    report.index_files = findings.index_files
    report.rows_of_gone = findings.rows_of_gone
    report.unsaved_regions = findings.unsaved_regions
    report.without_checksums = findings.without_checksums
    report.problems.extend(findings.problems)


def _without_database(path: Path, damage: CollectionDamaged, repair: bool) -> VerificationReport:
    """What is to be said of a collection whose photos.db cannot be read, and done about it."""
    copy = path / COPY
    if not copy.exists() or not is_sound(copy):
        what = (
            f"{damage.fault}, and there is no sound copy of it ({COPY}): put one of your own in its place, or delete "
            f"{path} and build it again. The features beside it are of no use without it."
        )
        return VerificationReport(path, problems=[Problem("database", what, repairable=False)])
    taken = datetime.fromtimestamp(copy.stat().st_mtime).isoformat(" ", "minutes")
    problem = Problem(
        "database",
        f"{damage.fault}. There is a sound copy of {taken}; what was described later is described again.",
    )
    if not repair:
        return VerificationReport(path, problems=[problem])
    with plain_errors(path):
        lock = WriterLock(path / LOCK)
        try:
            with alone(path / READERS) as nobody_reads:
                if not nobody_reads:
                    raise CollectionError(f"Somebody reads {path}: end every search of it, then repair it.")
                restore_database(copy, path / DATABASE)
        finally:
            lock.release()
    report = _verify(path, repair=True)
    report.repaired = report.holds
    report.problems.insert(0, problem)
    return report
