"""Whether the photographs on the disk are still those that a collection describes, and would be described alike."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from commands.text import counted, printable
from db.collection import Collection
from db.errors import CollectionDamaged, UnknownId
from db.records import PhotoRow, PhotoStat, Problem
from decoding.errors import PhotoError
from fcln.boxes import iou
from indexer.build.build import Describer
from indexer.build.content import content_digest
from indexer.build.decoders import Decoders
from indexer.progress import Progress

SAMPLE = 16  # photographs described again: a few seconds on a CPU, 800 regions

# A region is found again if the network gives one at the same place with the same meaning. On the computer that
# described the photograph all are, to the last bit; another device or library rounds otherwise, and a few of the
# regions that compete for a place change.
SAME_PLACE = 0.9  # intersection over union
SAME_MEANING = 0.98  # cosine
FOUND_AGAIN = 0.8  # less than this share of the sample is drift

ALTERED = "Its file was altered, though not its time: the next build describes it again."


@dataclass
class DiskReport:
    """What was found."""

    missing: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)  # content and time
    altered: list[Path] = field(default_factory=list)  # content, but neither size nor time: no build would notice
    unreadable: list[Path] = field(default_factory=list)
    described_again: int = 0  # photographs
    found_again: float | None = None  # share of their regions
    problems: list[Problem] = field(default_factory=list)
    damaged: dict[int, str] = field(default_factory=dict)  # photo id -> why it is to be described again

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        lists = ("missing", "changed", "altered", "unreadable")
        return {
            **{name: [str(path) for path in getattr(self, name)] for name in lists},
            "described_again": self.described_again,
            "found_again": self.found_again,
            "problems": [asdict(problem) for problem in self.problems],
        }


def check_photographs(
    collection: Collection, describer: Describer | None = None, *, progress: Progress | None = None
) -> DiskReport:
    """Look at the file of every described photograph.

    Args:
        describer: of the collection's checkpoint. Given, all files are read and compared with their digests, and a
            sample of the photographs is described again. Else it is enough that the files are there.
    """
    progress = progress or Progress()
    report = DiskReport()
    sound: list[tuple[PhotoStat, Path]] = []
    progress.start(collection.photo_count(), "Checking")
    for root, stat in _described(collection):
        path = root / stat.path
        try:
            if _check_file(stat, path, report, deep=describer is not None):
                sound.append((stat, path))
        except (FileNotFoundError, NotADirectoryError):
            report.missing.append(path)
        except OSError:
            report.unreadable.append(path)
        progress.advance()
    if describer and sound:
        _describe_again(collection, sound, describer, report)
    _name_problems(collection, report)
    return report


def _described(collection: Collection) -> Iterator[tuple[Path, PhotoStat]]:
    for root_id, root in collection.roots().items():
        for stat in collection.known(root_id).values():
            if not stat.failed:
                yield root, stat


def _check_file(stat: PhotoStat, path: Path, report: DiskReport, *, deep: bool) -> bool:
    """Whether a file is as it was described. Raises OSError where it cannot be looked at."""
    now = os.stat(path)
    if not deep or content_digest(path) == stat.digest:
        return True
    if (now.st_size, now.st_mtime_ns) == (stat.size, stat.mtime_ns):
        report.altered.append(path)
        report.damaged[stat.photo_id] = ALTERED
    else:
        report.changed.append(path)
    return False


def _describe_again(
    collection: Collection, sound: list[tuple[PhotoStat, Path]], describer: Describer, report: DiskReport
) -> None:
    """Compare a sample of the photographs, always the same one, with what the network makes of them today."""
    chosen = np.random.default_rng(0).permutation(len(sound))[:SAMPLE]
    found = []
    with Decoders() as decoders:
        for stat, path in (sound[index] for index in chosen.tolist()):
            try:
                features = collection.features([stat.photo_id])
                boxes = np.array([region.box for region in collection.regions(features.region_ids)])
                (photo,) = collection.photos([stat.photo_id])
            except (CollectionDamaged, UnknownId):  # which `verification.verify` says, and repairs
                continue
            if not _is_found(boxes, photo):
                continue
            try:
                photograph = decoders.decode(path)
            except (PhotoError, OSError):
                found.append(np.zeros(len(boxes), bool))
                continue
            (regions,) = describer.describe([photograph.image], max_regions=len(boxes))
            same_place = iou(boxes, photograph.full_boxes(regions.boxes)) >= SAME_PLACE
            same_meaning = features.embeddings @ regions.embeddings.T >= SAME_MEANING
            found.append((same_place & same_meaning).any(axis=1))
    report.described_again = len(found)
    if found:
        report.found_again = float(np.concatenate(found).mean())


def _is_found(boxes: np.ndarray, photo: PhotoRow) -> bool:
    """Whether boxes (N, 4) are the network's, which has the whole photograph among them, and not given ones."""
    whole = np.array([0.0, 0.0, photo.width, photo.height])
    return bool((np.abs(boxes - whole).max(axis=1) < 1).any())


def _name_problems(collection: Collection, report: DiskReport) -> None:
    for paths, what, remedy in (
        (report.missing, "missing", "`indexer build` finds those that moved and forgets the rest"),
        (report.unreadable, "not readable", "see to their permissions and their disk"),
        (report.changed, "not what was described", "`indexer build` describes them again"),
        (report.altered, "altered, though not in size and time", "--repair has the next build describe them again"),
    ):
        if paths:
            names = f"{printable(paths[0])}{' and others' if len(paths) > 1 else ''}"
            are = "is" if len(paths) == 1 else "are"
            problem = f"{counted(len(paths), 'photograph')} {are} {what} ({names}): {remedy}."
            report.problems.append(Problem("photographs", problem, repairable=paths is report.altered))
    for root in collection.roots().values():
        if not root.is_dir():
            report.problems.append(Problem("photographs", f"The folder {printable(root)} is not there.", False))
    if report.found_again is not None and report.found_again < FOUND_AGAIN:
        problem = (
            f"Of {report.described_again} photographs described again only {report.found_again:.0%} of the regions are "
            "the same: the libraries or the device changed too much, describe everything again in another collection."
        )
        report.problems.append(Problem("drift", problem, repairable=False))
