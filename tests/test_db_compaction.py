"""What compacting does to segments. That it may be killed: test_db_killed.py; while others read: test_db_together."""

import numpy as np
import pytest

from db.errors import CollectionDamaged
from db.local.collection import LocalCollection
from db.local.extents import Extents
from db.local.maintenance.compaction import compact, plan
from db.local.records import SegmentFile
from helpers.db_photos import MODEL, contents, create, photo

ROW_SIZE = 2 * (MODEL.code_size + MODEL.embedding_size)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    """A merged segment has room for 10 regions."""
    monkeypatch.setattr("db.local.maintenance.compaction.MERGED_BYTES", 10 * ROW_SIZE)


def fill(path, counts):
    """One commit, hence one segment, for each number of regions."""
    with create(path) as writer:
        root = writer.add_root(path)
        for number, count in enumerate(counts):
            writer.commit(new=[photo(root, f"{number}.jpg", count=count)])


def segments(path):
    """Of each segment: its id, its rows, how many of them belong to photographs; and that the files are these."""
    with LocalCollection.open(path) as reader:
        snapshot = reader.snapshot
        names = sorted(segment.name for segment in snapshot.segments.values())
        assert sorted(file.name for file in (path / "features").iterdir()) == names
        live = dict.fromkeys(snapshot.segments, 0)
        for segment_id, count in zip(snapshot.extents.segment_ids.tolist(), snapshot.extents.counts.tolist()):
            live[segment_id] += count
        return [(segment.id, segment.rows, live[segment.id]) for segment in snapshot.segments.values()]


def same_but_for_revision(one, other):
    return {**one, "revision": 0} == {**other, "revision": 0}


def test_small_segments_become_large_ones_and_nothing_else_changes(tmp_path):
    fill(tmp_path, [3, 3, 3, 3, 1, 2])
    with create(tmp_path) as writer, LocalCollection.open(tmp_path) as reader:
        before = contents(reader)
        report = compact(writer)
        assert same_but_for_revision(contents(writer), before)
        assert contents(reader) == before  # of the commit that it sees, whose segments are still there
    assert (report.segments_before, report.segments_after, report.rows_dropped) == (6, 2, 0)
    assert 0 < report.bytes_after < report.bytes_before
    create(tmp_path).close()
    # Photographs stay whole: 3 + 3 + 3 regions, for the fourth photograph's 3 there is no room.
    assert segments(tmp_path) == [(7, 9, 9), (8, 6, 6)]
    with LocalCollection.open(tmp_path) as reader:
        assert same_but_for_revision(contents(reader), before)
        # FAISS has the regions that it had.
        assert [file.name for file in tmp_path.glob("regions.*")] == ["regions.1.faiss"]


def test_rows_of_gone_photographs_are_dropped(tmp_path):
    with create(tmp_path) as writer:
        root = writer.add_root(tmp_path)
        writer.commit(new=[photo(root, f"{number}.jpg", count=2) for number in range(4)])
        writer.commit(new=[photo(root, "full.jpg", count=10)])
        writer.commit(gone=[1, 3])
        report = compact(writer)
        assert report.rows_dropped == 4
        features = writer.features([2, 4])
        np.testing.assert_array_equal(features.codes[2:], photo(root, "3.jpg", count=2).codes)
    assert segments(tmp_path) == [(2, 10, 10), (3, 4, 4)]


def test_large_segments_stay_and_compacting_twice_is_compacting_once(tmp_path):
    fill(tmp_path, [10, 2, 5, 2, 9, 2])
    with create(tmp_path) as writer:
        compact(writer)
        revision = writer.revision
    assert segments(tmp_path) == [(1, 10, 10), (3, 5, 5), (5, 9, 9), (7, 6, 6)]
    with create(tmp_path) as writer:
        report = compact(writer)
        assert (report.segments_before, report.segments_after) == (4, 4)
        assert writer.revision == revision


def test_the_same_collection_gives_the_same_segments(tmp_path):
    for name in ("one", "other"):
        fill(tmp_path / name, [3, 3, 3, 3, 1, 2])
        with create(tmp_path / name) as writer:
            writer.commit(gone=[2])
            compact(writer)
    files = [{file.name: file.read_bytes() for file in (tmp_path / name / "features").iterdir()} for name in
             ("one", "other")]  # fmt: skip
    assert files[0] == files[1] and len(files[0]) == 2


def test_a_damaged_segment_is_not_merged_into_a_sound_one(tmp_path):
    fill(tmp_path, [3, 3, 3])
    segment = sorted((tmp_path / "features").iterdir())[1]
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with create(tmp_path) as writer, pytest.raises(CollectionDamaged, match=segment.name):
        compact(writer)
    assert [rows for _, rows, _ in segments(tmp_path)] == [3, 3, 3]


def test_checksums_that_an_older_version_did_not_write_are_filled_in(tmp_path):
    fill(tmp_path, [3, 3])
    with create(tmp_path) as writer:
        before = writer.snapshot.extents.checksums.tolist()
        with writer.database.session() as session:
            session.connection().exec_driver_sql("UPDATE photo SET features_crc32 = NULL")
        writer.forget_loaded()
        assert writer.snapshot.extents.checksums.tolist() == [-1, -1]
        compact(writer)
        assert writer.snapshot.extents.checksums.tolist() == before


def test_nothing_to_do(tmp_path):
    with create(tmp_path) as writer:
        assert compact(writer).segments_after == 0
        writer.commit(new=[photo(writer.add_root(tmp_path), "a.jpg", count=1)])
        assert compact(writer).segments_after == 1
    assert segments(tmp_path) == [(1, 1, 1)]


def test_what_was_begun_is_planned_on_as_it_was():
    counts = np.array([4, 3, 4, 4, 2, 4, 4])
    ids = np.cumsum(counts) - counts + 1
    nothing = np.zeros(7, int)
    alone = Extents(np.arange(7), ids, counts, np.arange(7), nothing, nothing)
    stored = {number: SegmentFile(number, rows, 0, "", 0, 0) for number, rows in enumerate(counts.tolist())}
    parts = plan(alone, stored, ROW_SIZE)
    assert [part.photo_ids.tolist() for part in parts] == [[0, 1], [2, 3, 4], [5, 6]]
    # Killed after the first part: its photographs are in segment 7.
    begun = Extents(np.arange(7), ids, counts, np.array([7, 7, 2, 3, 4, 5, 6]), nothing, nothing)
    stored[7] = SegmentFile(7, 7, 0, "", 0, 0)
    assert [part.photo_ids.tolist() for part in plan(begun, stored, ROW_SIZE)] == [[2, 3, 4], [5, 6]]
