"""`copy`: what one collection holds into another, whatever holds each: a folder to a server, and back.

Copied photos are committed as they come, so an interrupted copy goes on where it was. At the end both sides are read
again and compared, everything but ids.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from db.collection import Collection
from db.records import FailedFile, NewPath, NewPhoto, PhotoRow, PhotoStat

_PHOTOS_AT_ONCE = 128  # 6,400 regions: 10 MB


@dataclass(frozen=True)
class CopyReport:
    """What there is on both sides afterwards."""

    copied: int  # photos, in this run
    photographs: int
    regions: int
    failed: int  # files that are remembered as failed
    differing: list[Path]  # photos and files that are not the same on both sides
    surplus: int  # photos and failed files that only the target has, in the same folders

    @property
    def verified(self) -> bool:
        """Whether the target holds all of the source."""
        return not self.differing


def copy(
    source: Collection,
    target: Collection,
    *,
    advance: Callable[[int], None] = lambda photos: None,
    stop: Callable[[], bool] = lambda: False,
) -> CopyReport | None:
    """Bring into a collection what another one holds and it does not; compare them.

    Args:
        target: open for writing, of the same checkpoint.
        advance: told how many more photos are copied, or were there already.
        stop: asked after every commit; once true, the copying ends.

    Returns:
        None if it was stopped: called again, it goes on.

    Raises:
        CollectionError: one of them cannot be read or written.
    """
    copied = 0
    for precision in source.precisions():
        target.note_precision(precision)
    for root_id, root in source.roots().items():
        target_root = target.add_root(root)
        theirs = target.known(target_root)
        wanted = [stat for stat in source.known(root_id).values() if not _is_same(stat, theirs.get(stat.path))]
        failed = [stat for stat in wanted if stat.failed]
        target.commit(failed=[_failed(target_root, stat) for stat in failed])
        described = sorted(stat for stat in wanted if not stat.failed)  # by id, as they were added
        advance(source_count(source, root_id) - len(described))
        for stats in _batches(described):
            target.commit(new=list(_photos(source, target_root, stats)))
            copied += len(stats)
            advance(len(stats))
            if stop():
                return None
        target.set_left_out(target_root, source.left_out()[root_id])
    return _compare(source, target, copied)


def source_count(source: Collection, root_id: int) -> int:
    """Described photos of a root."""
    return sum(not stat.failed for stat in source.known(root_id).values())


def _batches(stats: Sequence[PhotoStat]) -> Iterator[Sequence[PhotoStat]]:
    for start in range(0, len(stats), _PHOTOS_AT_ONCE):
        yield stats[start : start + _PHOTOS_AT_ONCE]


def _is_same(ours: PhotoStat, theirs: PhotoStat | None) -> bool:
    return theirs is not None and ours._replace(photo_id=0) == theirs._replace(photo_id=0)


def _failed(root_id: int, stat: PhotoStat) -> FailedFile:
    return FailedFile(root_id, stat.path, stat.size, stat.mtime_ns, stat.digest, stat.reason or "", stat.ctime_ns)


def _photos(source: Collection, root_id: int, stats: Sequence[PhotoStat]) -> Iterator[NewPhoto]:
    """Photos of the source, for a root of the target."""
    ids = [stat.photo_id for stat in stats]
    by_id = {stat.photo_id: stat for stat in stats}
    rows = {row.photo_id: row for row in source.photos(ids)}
    features = source.features(ids)
    regions = source.regions(features.region_ids)
    for some in features.slices():
        photo_id = int(features.photo_ids[some.start])
        stat = by_id[photo_id]
        place = NewPath(root_id, stat.path, stat.size, stat.mtime_ns, stat.ctime_ns)
        yield NewPhoto.of_known(place, rows[photo_id], regions[some], features.take(some))


def _compare(source: Collection, target: Collection, copied: int) -> CopyReport:
    """Read both again."""
    target_roots = {path: root_id for root_id, path in target.roots().items()}
    differing: list[Path] = []
    photographs = regions = failed = surplus = 0
    for root_id, root in source.roots().items():
        ours, theirs = source.known(root_id), target.known(target_roots[root])
        surplus += len(theirs.keys() - ours.keys())
        same = [stat for stat in ours.values() if _is_same(stat, theirs.get(stat.path))]
        differing += [root / path for path in ours.keys() - {stat.path for stat in same}]
        failed += sum(stat.failed for stat in same)
        for stats in _batches([stat for stat in same if not stat.failed]):
            paths = [stat.path for stat in stats]
            sides = [_checksums(side, {known[path].photo_id: path for path in paths}) for side, known in
                     ((source, ours), (target, theirs))]  # fmt: skip
            differing += [root / path for path in paths if sides[0][path] != sides[1][path]]
            photographs += len(paths)
            regions += sum(count for _, count in sides[0].values())
    return CopyReport(copied, photographs, regions, failed, sorted(differing), surplus)


def _checksums(collection: Collection, paths: Mapping[int, str]) -> dict[str, tuple[str, int]]:
    """Of photos (id -> path): path -> a sha256 of all that is known of each but its ids, and its number of regions."""
    rows = {row.photo_id: row for row in collection.photos(list(paths))}
    features = collection.features(list(paths))
    regions = collection.regions(features.region_ids)
    found = {}
    for some in features.slices():
        photo_id = int(features.photo_ids[some.start])
        digest = hashlib.sha256(_text(rows[photo_id]).encode("utf-8", "surrogateescape"))
        for region in regions[some]:
            digest.update(struct.pack("<5d", *region.box, region.score) + region.phrase.encode() + b"\0")
        digest.update(features.codes[some].tobytes())
        digest.update(features.embeddings[some].astype(np.float16).tobytes())
        found[paths[photo_id]] = digest.hexdigest(), some.stop - some.start
    return found


def _text(row: PhotoRow) -> str:
    headers = None if row.headers is None else asdict(row.headers)
    return repr((str(row.path), row.width, row.height, row.digest, row.incomplete, headers))
