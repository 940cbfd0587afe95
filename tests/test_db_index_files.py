import logging
import os
import re

import numpy as np
import pytest

from db.errors import CollectionDamaged
from db.local.collection import LocalCollection
from db.local.maintenance.reindexing import rebuild_index
from db.local.vectors.faiss_index import VectorIndex
from helpers.db_photos import LIFE, MODEL, contents, create, live, photo


@pytest.fixture
def path(tmp_path):
    """A collection at the end of its LIFE, with a FAISS file of generation 1."""
    path = tmp_path / "collection"
    with create(path) as collection:
        live(collection)
    return path


def faiss_files(path):
    return sorted(file.name for file in path.glob("regions.*"))


def loads_of(monkeypatch):
    """The numbers of vectors that are added to indexes from now on."""
    added = []
    add = VectorIndex.add
    monkeypatch.setattr(VectorIndex, "add", lambda self, ids, some: (added.append(len(ids)), add(self, ids, some))[1])
    return added


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


ALTERED = r"is damaged \(its content does not match its checksum\)"
DAMAGES = {
    "missing": (lambda file: file.unlink(), "is missing"),
    "cut off": (lambda file: os.truncate(file, 100), r"is damaged \(100 bytes instead of"),
    "flipped bit": (flip, ALTERED),
    "of another collection": (lambda file: file.write_bytes(b"x" * file.stat().st_size), ALTERED),
}


def test_an_up_to_date_file_is_all_that_a_reader_needs(path, monkeypatch):
    added = loads_of(monkeypatch)
    with LocalCollection.open(path) as reader:
        segments = list((path / "features").iterdir())
        for segment in segments:
            segment.rename(segment.with_suffix(".away"))
        assert len(reader.nearest(np.eye(8, dtype=np.float32), 3)) == 8
    assert added == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reader_replaces_an_unusable_file_in_memory(path, damage, caplog):
    with LocalCollection.open(path) as before:
        expected = contents(before)
    do, fault = DAMAGES[damage]
    do(path / "regions.1.faiss")
    files = faiss_files(path)
    with LocalCollection.open(path) as reader:
        assert contents(reader) == expected
    assert faiss_files(path) == files
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(f"{path}/regions.1.faiss {fault}.*searching the segments instead", record.message)


def test_a_reader_that_does_not_search_does_not_look_at_the_file(path, caplog):
    (path / "regions.1.faiss").unlink()
    with LocalCollection.open(path) as reader:
        assert len(reader.photos(reader.photo_ids())) == 2
        assert len(reader.features().codes) == 10
    assert not caplog.records


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_writer_sets_an_unusable_file_aside_and_makes_it_anew(path, damage, caplog):
    with LocalCollection.open(path) as before:
        expected = contents(before)
    do, fault = DAMAGES[damage]
    do(path / "regions.1.faiss")
    create(path).close()
    (record,) = caplog.records
    assert re.search(f"{path}/regions.1.faiss {fault}.*rebuilding it from the segments", record.message)
    kept = [] if damage == "missing" else ["regions.1.faiss.damaged"]
    assert faiss_files(path) == [*kept, "regions.2.faiss"]
    caplog.clear()
    with LocalCollection.open(path) as reader:
        assert contents(reader) == expected
    assert not caplog.records


def test_what_is_behind_is_brought_up_to_date(path, monkeypatch):
    with create(path) as writer:
        writer.commit(new=[photo(1, "new.jpg", count=2)], gone=[9])
        with LocalCollection.open(path) as reader:  # while the file still has neither change
            assert faiss_files(path) == ["regions.1.faiss"]
            added = loads_of(monkeypatch)
            nearest = contents(reader)["nearest"]
            assert added == [2]
            assert contents(writer)["nearest"] == nearest
    assert faiss_files(path) == ["regions.2.faiss"]
    with LocalCollection.open(path) as reader:
        assert contents(reader)["nearest"] == nearest


def test_no_file_goes_while_somebody_reads(path):
    first = max((path / "features").iterdir())
    with LocalCollection.open(path) as reader:
        expected = contents(reader)
        reader.forget_loaded()  # as if it had not searched yet
        for number in range(2):
            with create(path) as writer:
                writer.commit(new=[photo(1, f"{number}.jpg")], gone=writer.photo_ids().tolist())
        assert faiss_files(path) == ["regions.1.faiss", "regions.2.faiss", "regions.3.faiss"]
        assert contents(reader) == expected
    assert first.exists()
    create(path).close()
    assert faiss_files(path) == ["regions.3.faiss"]
    assert [file.name[:8] for file in (path / "features").iterdir()] == ["00000006"]


def test_nothing_new_no_new_file(path):
    with create(path) as writer:
        writer.commit(touched={9: (1, 2)})
        writer.save_index()
        writer.save_index()
    assert faiss_files(path) == ["regions.1.faiss"]
    with LocalCollection.open(path) as reader:
        assert reader.revision == len(LIFE) + 1
        assert reader.snapshot.saved


def test_when_everything_is_gone_so_is_the_file(path):
    with create(path) as writer:
        writer.commit(gone=writer.photo_ids().tolist())
    assert faiss_files(path) == []
    with create(path) as writer:
        assert [len(ids) for ids, _ in writer.nearest(np.eye(8, dtype=np.float32), 3)] == [0] * 8
        writer.commit(new=[photo(1, "new.jpg")])
    assert len(faiss_files(path)) == 1


def test_a_damaged_segment_does_not_get_into_the_index(path):
    segment = max((path / "features").iterdir())
    flip(segment)
    (path / "regions.1.faiss").unlink()
    with LocalCollection.open(path) as reader, pytest.raises(CollectionDamaged, match=segment.name):
        reader.nearest(np.eye(8, dtype=np.float32), 1)
    with pytest.raises(CollectionDamaged, match=f"{segment.name}.*: run `indexer verify --repair`.$"):
        create(path)
    LocalCollection.open(path, write=True, clean_up=False).close()


def test_a_large_file_is_mapped_and_its_checksum_left_to_others(path, monkeypatch, caplog):
    monkeypatch.setattr("db.local.vectors.index_files.READ_BYTES", 0)
    with LocalCollection.open(path) as before:
        expected = contents(before)
    monkeypatch.setattr(
        "db.local.vectors.index_files.file_fault", lambda path, size, sha256: None if sha256 is None else "is hashed"
    )
    create(path).close()
    with LocalCollection.open(path) as reader:
        assert contents(reader) == expected
    assert not caplog.records
    with create(path) as writer, LocalCollection.open(path) as reader:
        writer.commit(gone=[9])  # a file to be changed is read, and hashed
        reader.refresh()
        reader.nearest(np.eye(8, dtype=np.float32), 1)
        assert "regions.1.faiss is hashed: searching" in caplog.text


def test_a_long_build_saves_now_and_then(path, monkeypatch):
    monkeypatch.setattr("db.local.collection.SAVE_AFTER_REGIONS", 8)
    with create(path) as writer:
        writer.commit(new=[photo(1, "1.jpg", count=7)])
        assert faiss_files(path) == ["regions.1.faiss"]
        writer.commit(new=[photo(1, "2.jpg", count=1)])
        assert faiss_files(path) == ["regions.2.faiss"]
        writer.commit(new=[photo(1, "3.jpg", count=7)])
        assert faiss_files(path) == ["regions.2.faiss"]


class TestLargeCollection:
    """Several files, of which full ones get inverted lists, with limits low enough for a hundred photographs."""

    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.setattr("db.local.vectors.index_files.FILE_REGIONS", 100)
        monkeypatch.setattr("db.local.vectors.index_files.EXACT_LIMIT", 310)
        monkeypatch.setattr("db.local.vectors.faiss_index.TRAINING_VECTORS_PER_LIST", 2)
        # All lists: what is found must be what is there.
        monkeypatch.setattr("db.local.vectors.faiss_index.NPROBE", 10**6)
        with create(tmp_path) as writer:
            root = writer.add_root(tmp_path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(100)])
        return tmp_path

    def files(self, path):
        """Of each file: its id, its range, the regions in it, whether it has lists."""
        with LocalCollection.open(path) as reader:
            assert reader.snapshot.saved
            vectors = reader.nearest(np.zeros((1, MODEL.embedding_size), np.float32), 1) and reader.reader.vectors
            ids = np.concatenate([index.ids() for index in vectors.indexes])
            assert sorted(ids) == sorted(reader.features().region_ids)
            files = reader.snapshot.files
            assert faiss_files(path) == sorted(file.name for file in files)
            assert [len(index) for index in vectors.indexes] == [file.region_count for file in files]
            assert [index.nlist for index in vectors.indexes] == [file.nlist for file in files]
            return [(f.id, f.first_region_id, f.last_region_id, f.region_count, f.nlist > 0) for f in files]

    def test_regions_are_cut_into_files_between_photographs(self, path):
        assert self.files(path) == [
            (1, 1, 99, 99, False), (2, 100, 198, 99, False), (3, 199, 297, 99, False), (4, 298, 300, 3, False),
        ]  # fmt: skip

    def test_new_regions_go_into_the_last_file_until_it_is_full(self, path):
        with create(path) as writer:
            writer.commit(new=[photo(1, "7.png", count=7)])
        assert self.files(path)[2:] == [(3, 199, 297, 99, False), (5, 298, 307, 10, False)]

    def test_beyond_the_limit_full_files_get_lists_and_the_last_one_does_not(self, path, monkeypatch):
        with create(path) as writer:
            writer.commit(new=[photo(1, f"{number}.png", count=9) for number in range(11)])
            expected = dict(enumerate(writer.features().embeddings, 1))
        assert self.files(path) == [
            (5, 1, 99, 99, True), (6, 100, 198, 99, True), (7, 199, 297, 99, True), (8, 298, 390, 93, True),
            (9, 391, 399, 9, False),
        ]  # fmt: skip
        with LocalCollection.open(path) as reader:
            for region_id in (1, 99, 100, 300, 391, 399):
                ((ids, _),) = reader.nearest(expected[region_id][None], 5)
                assert region_id in ids  # a scalar quantizer may confuse a region with its neighbours
        added = loads_of(monkeypatch)
        with create(path) as writer:
            writer.commit(new=[photo(1, "one more.png", count=2)])
        assert self.files(path)[3:] == [(8, 298, 390, 93, True), (10, 391, 401, 11, False)]
        assert added == [2]

    def test_only_files_with_regions_that_are_gone_are_written_again(self, path, monkeypatch):
        with create(path) as writer:
            writer.commit(gone=[1, 40, 41, 100])
            with LocalCollection.open(path) as reader:
                found = [ids.tolist() for ids, _ in reader.nearest(np.eye(8, dtype=np.float32), 1000)]
                assert all(sorted(ids) == sorted(writer.features().region_ids) for ids in found)
            added = loads_of(monkeypatch)
        assert added == []  # what is left is taken from the files
        assert self.files(path) == [
            (5, 4, 99, 96, False), (6, 100, 198, 93, False), (3, 199, 297, 99, False),
        ]  # fmt: skip

    def test_files_of_which_nothing_is_left_are_dropped(self, path):
        with create(path) as writer:
            writer.commit(gone=list(range(34, 67)))
        assert [file[:3] for file in self.files(path)] == [(1, 1, 99), (3, 199, 297), (4, 298, 300)]

    def test_a_damaged_file_among_several_is_made_anew_alone(self, path, caplog):
        os.truncate(path / "regions.2.faiss", 50)
        with LocalCollection.open(path) as reader:
            found = [ids.tolist() for ids, _ in reader.nearest(np.eye(8, dtype=np.float32), 1000)]
        assert all(sorted(ids) == list(range(1, 301)) for ids in found)
        assert "regions.2.faiss is damaged (50 bytes instead of" in caplog.text
        create(path).close()
        (path / "regions.2.faiss.damaged").unlink()
        assert [file[0] for file in self.files(path)] == [1, 5, 3, 4]

    def test_rebuilt_files_are_the_same_however_the_collection_came_about(self, path, tmp_path_factory):
        with create(path) as writer:
            for number in range(40):  # in many commits and savings
                writer.commit(new=[photo(1, f"{number}.png")])
                if number % 7 == 0:
                    writer.save_index()
            report = rebuild_index(writer)
        files = self.files(path)
        assert (report.regions, report.files, report.queries) == (420, len(files), 100)
        assert [file[1:] for file in files] == [
            (1, 99, 99, True), (100, 198, 99, True), (199, 297, 99, True), (298, 396, 99, True), (397, 420, 24, False),
        ]  # fmt: skip
        assert report.lists == 4 * 32
        content = [(path / f"regions.{file[0]}.faiss").read_bytes() for file in files]
        assert report.bytes == sum(map(len, content))
        other = tmp_path_factory.mktemp("other")
        with create(other) as writer:
            root = writer.add_root(path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(100)])
            writer.commit(new=[photo(root, f"{number}.png") for number in range(40)])
            assert rebuild_index(writer) == report
        assert [(other / f"regions.{number}.faiss").read_bytes() for number in range(1, 6)] == content
