"""`compact`: small segments into large ones, without the rows of photos that are gone."""

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy.orm import Session

from db.checksums import features_crc32
from db.local.extents import Extents
from db.local.records import SegmentFile
from db.local.segments import SegmentFolder
from db.local.sqlite.writes import next_id, place
from db.records import CompactionReport

if TYPE_CHECKING:
    from db.local.collection import LocalCollection

# Of a merged segment: 900 photos of 50 regions of 768 numbers. It is in memory twice while it is written.
MERGED_BYTES = 64 * 2**20


def compact(collection: "LocalCollection") -> CompactionReport:
    """Merge small segments into large ones and drop the rows of photos that are gone. Ids stay.

    One commit for each new segment. Killed at any moment, what was committed is done, and compacting again ends
    where it would have ended. Old segments are deleted at the end, or once there are no readers: until then the
    features take up to twice their space.

    Raises:
        CollectionDamaged: a segment is missing or altered; what was merged before stays merged.
    """
    collection.require_writer()
    snapshot = collection.snapshot
    before = list(snapshot.segments.values())
    row_size = 2 * (collection.model.code_size + collection.model.embedding_size)
    for extents in plan(snapshot.extents, snapshot.segments, row_size):
        with collection.transaction() as session:
            merge(session, collection.segments, extents, snapshot.segments)
    collection.keep_copy()
    collection.sweep()
    after = list(collection.snapshot.segments.values())
    return CompactionReport(
        segments_before=len(before),
        segments_after=len(after),
        bytes_before=sum(segment.size for segment in before),
        bytes_after=sum(segment.size for segment in after),
        rows_dropped=sum(segment.rows for segment in before) - sum(segment.rows for segment in after),
    )


def plan(extents: Extents, segments: dict[int, SegmentFile], row_size: int) -> list[Extents]:
    """The photos that go together into each new segment.

    Those of all segments that hold rows of gone photos or are less than half of MERGED_BYTES, in the order of
    their regions. Done in part and planned again, the rest is cut as it was: killed or not, the end is the same.

    Args:
        extents: of all photos.
        row_size: bytes of one region.
    """
    rows = max(1, MERGED_BYTES // row_size)
    segment_ids, inverse = np.unique(extents.segment_ids, return_inverse=True)
    live = np.bincount(inverse, weights=extents.counts).astype(int)
    stored = np.array([segments[segment_id].rows for segment_id in segment_ids.tolist()], int)
    unfit = (live < stored) | (stored < rows / 2)
    if unfit.sum() < 2 and (live == stored).all():  # one small segment alone is as well off as it can be
        return []
    return list(extents.take(np.flatnonzero(unfit[inverse])).parts(rows))


def merge(session: Session, folder: SegmentFolder, extents: Extents, segments: dict[int, SegmentFile]) -> None:
    """Write the features of these photos into one new segment, and say so in their rows.

    Raises:
        CollectionDamaged: a segment that they are in is missing or altered.
    """
    for segment_id in np.unique(extents.segment_ids).tolist():
        folder.check(segments[segment_id])  # or a new checksum would vouch for what is damaged
    codes, embeddings = folder.read_checked(extents, segments)
    segment = folder.write(next_id(session, "segment"), extents.region_ids(), codes, embeddings)
    places = [
        {"id": photo_id, "first_row": rows.start, "features_crc32": features_crc32(codes[rows], embeddings[rows])}
        for photo_id, rows in zip(extents.photo_ids.tolist(), extents.slices())
    ]
    place(session, segment, places)
