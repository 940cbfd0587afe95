"""Where the features of photos are: in which segment, from which row on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Extents:
    """Where the rows of P photos are, ascending by first region id. All fields (P,) int64."""

    photo_ids: np.ndarray
    first_region_ids: np.ndarray
    counts: np.ndarray  # regions
    segment_ids: np.ndarray
    first_rows: np.ndarray  # in the segment
    checksums: np.ndarray  # CRC-32 of the rows; -1: not known

    @property
    def region_count(self) -> int:
        return int(self.counts.sum())

    def region_ids(self) -> np.ndarray:
        """(N,) int64, ascending: the ids of all regions, photo by photo."""
        before = np.cumsum(self.counts) - self.counts  # regions of the photos that come first
        return np.repeat(self.first_region_ids - before, self.counts) + np.arange(self.region_count)

    def rows(self) -> np.ndarray:
        """(N,) int64: the row in its segment of each region, photo by photo."""
        before = np.cumsum(self.counts) - self.counts
        return np.repeat(self.first_rows - before, self.counts) + np.arange(self.region_count)

    def take(self, positions: np.ndarray | slice) -> "Extents":
        """The photos at these positions (ascending)."""
        return Extents(
            self.photo_ids[positions],
            self.first_region_ids[positions],
            self.counts[positions],
            self.segment_ids[positions],
            self.first_rows[positions],
            self.checksums[positions],
        )

    def between(self, first_region_id: int, last_region_id: int) -> "Extents":
        """The photos whose regions are in this range of ids, both ends included."""
        start, stop = np.searchsorted(self.first_region_ids, [first_region_id, last_region_id + 1])
        return self.take(slice(start, stop))

    def beyond(self, region_id: int) -> "Extents":
        """The photos whose regions have higher ids."""
        return self.take(slice(int(np.searchsorted(self.first_region_ids, region_id, side="right")), None))

    def rows_of(self, region_ids: np.ndarray) -> "Extents":
        """Single regions of these photos, as if each were a photo of one region; ids (N,) int64 ascending."""
        photos = self.take(self.positions_of(region_ids))
        return Extents(
            photos.photo_ids,
            region_ids,
            np.ones_like(region_ids),
            photos.segment_ids,
            photos.first_rows + region_ids - photos.first_region_ids,
            np.full_like(region_ids, -1),
        )

    def positions_of(self, region_ids: np.ndarray) -> np.ndarray:
        """The photo of each of N of their regions, by its place among these: (N,) int64."""
        return np.searchsorted(self.first_region_ids, region_ids, side="right") - 1

    def contain(self, region_ids: np.ndarray) -> np.ndarray:
        """For each of N ids whether it is a region of these photos: (N,) bool."""
        # Not by np.unique or setdiff1d: 180 ms for 200,000 ids (NumPy 2.4), this 8 ms.
        return self.are_of(region_ids, self.positions_of(region_ids))

    def are_of(self, region_ids: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """For each of N ids whether it is a region of the photo at its position, (N,) bool; none is at -1."""
        if not len(self.counts):
            return np.zeros(len(region_ids), bool)
        within = region_ids - self.first_region_ids[positions]
        return (positions >= 0) & (within < self.counts[positions])

    def slices(self) -> Iterator[slice]:
        """For each photo the slice of its rows among those of all, photo by photo."""
        ends = np.cumsum(self.counts).tolist()
        for start, end in zip([0, *ends], ends):
            yield slice(start, end)

    def parts(self, rows: int) -> Iterator["Extents"]:
        """The same photos in pieces of about `rows` regions, at least one photo each."""
        start = 0
        ends = np.cumsum(self.counts)
        while start < len(ends):
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + rows, side="right")))
            yield self.take(slice(start, stop))
            start = stop

    def runs(self) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Segment by segment the (first row, number of rows) to read, rows of neighbouring photos joined."""
        if len(self.photo_ids) == 0:
            return
        same_segment = self.segment_ids[1:] == self.segment_ids[:-1]
        joined = same_segment & (self.first_rows[1:] == self.first_rows[:-1] + self.counts[:-1])
        starts = np.flatnonzero(np.concatenate([[True], ~joined]))
        counts = np.add.reduceat(self.counts, starts)
        current = int(self.segment_ids[0])
        runs: list[tuple[int, int]] = []
        for segment_id, first_row, count in zip(
            self.segment_ids[starts].tolist(), self.first_rows[starts].tolist(), counts.tolist()
        ):
            if segment_id != current:
                yield current, runs
                current, runs = segment_id, []
            runs.append((first_row, count))
        yield current, runs
