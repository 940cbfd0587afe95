import logging
import os
import re

import numpy as np
import pytest
from db_photos import LIFE, MODEL, contents, create, live, photo

from db import vectors
from db.collection import Collection
from db.errors import CollectionDamaged
from db.vectors import VectorIndex


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
    with Collection.open(path) as reader:
        segments = list((path / "features").iterdir())
        for segment in segments:
            segment.rename(segment.with_suffix(".away"))
        assert len(reader.nearest(np.eye(8, dtype=np.float32), 3)) == 8
    assert added == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_reader_replaces_an_unusable_file_in_memory(path, damage, caplog):
    with Collection.open(path) as before:
        expected = contents(before)
    do, fault = DAMAGES[damage]
    do(path / "regions.1.faiss")
    files = faiss_files(path)
    with Collection.open(path) as reader:
        assert contents(reader) == expected
    assert faiss_files(path) == files
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(f"{path}/regions.1.faiss {fault}.*searching the segments instead", record.message)


def test_a_reader_that_does_not_search_does_not_look_at_the_file(path, caplog):
    (path / "regions.1.faiss").unlink()
    with Collection.open(path) as reader:
        assert len(reader.photos(reader.photo_ids())) == 2
        assert len(reader.features().codes) == 10
    assert not caplog.records


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_writer_sets_an_unusable_file_aside_and_makes_it_anew(path, damage, caplog):
    with Collection.open(path) as before:
        expected = contents(before)
    do, fault = DAMAGES[damage]
    do(path / "regions.1.faiss")
    create(path).close()
    (record,) = caplog.records
    assert re.search(f"{path}/regions.1.faiss {fault}.*making it anew from the segments", record.message)
    kept = [] if damage == "missing" else ["regions.1.faiss.damaged"]
    assert faiss_files(path) == [*kept, "regions.2.faiss"]
    caplog.clear()
    with Collection.open(path) as reader:
        assert contents(reader) == expected
    assert not caplog.records


def test_what_is_behind_is_brought_up_to_date(path, monkeypatch):
    with create(path) as writer:
        writer.commit(new=[photo(1, "new.jpg", count=2)], gone=[9])
        with Collection.open(path) as reader:  # while the file still has neither change
            assert faiss_files(path) == ["regions.1.faiss"]
            added = loads_of(monkeypatch)
            nearest = contents(reader)["nearest"]
            assert added == [2]
            assert contents(writer)["nearest"] == nearest
    assert faiss_files(path) == ["regions.2.faiss"]
    with Collection.open(path) as reader:
        assert contents(reader)["nearest"] == nearest


def test_no_file_goes_while_somebody_reads(path):
    first = max((path / "features").iterdir())
    with Collection.open(path) as reader:
        expected = contents(reader)
        reader._index = None  # as if it had not searched yet
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
    with Collection.open(path) as reader:
        assert reader.revision == len(LIFE) + 1
        assert reader._meta().index_revision == reader.revision


def test_a_damaged_segment_does_not_get_into_the_index(path):
    segment = max((path / "features").iterdir())
    flip(segment)
    (path / "regions.1.faiss").unlink()
    with Collection.open(path) as reader, pytest.raises(CollectionDamaged, match=segment.name):
        reader.nearest(np.eye(8, dtype=np.float32), 1)
    with pytest.raises(CollectionDamaged, match=segment.name):
        create(path)


def test_a_long_build_saves_now_and_then(path, monkeypatch):
    monkeypatch.setattr("db.collection.SAVE_AFTER_REGIONS", 8)
    with create(path) as writer:
        writer.commit(new=[photo(1, "1.jpg", count=7)])
        assert faiss_files(path) == ["regions.1.faiss"]
        writer.commit(new=[photo(1, "2.jpg", count=1)])
        assert faiss_files(path) == ["regions.2.faiss"]
        writer.commit(new=[photo(1, "3.jpg", count=7)])
        assert faiss_files(path) == ["regions.2.faiss"]


class TestLargeCollection:
    """Inverted lists, with the limit low enough for a hundred photographs."""

    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        monkeypatch.setattr(vectors, "EXACT_LIMIT", 300)
        monkeypatch.setattr(vectors, "TRAINING_VECTORS_PER_LIST", 3)
        with create(tmp_path) as writer:
            root = writer.add_root(tmp_path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(100)])
        with create(tmp_path) as writer:
            assert writer._meta().index_lists == 0
            writer.commit(new=[photo(root, f"more {number}.jpg", count=4) for number in range(25)])
        return tmp_path

    def index(self, path):
        with Collection.open(path) as reader:
            reader.nearest(np.zeros((1, MODEL.embedding_size), np.float32), 1)
            return reader._index

    def test_a_collection_that_outgrows_the_exact_scan_gets_lists(self, path, monkeypatch):
        added = loads_of(monkeypatch)
        index = self.index(path)
        assert (index.lists, len(index), added) == (64, 400, [])
        assert sorted(index.ids()) == list(range(1, 401))

    def test_lists_follow_the_regions_and_grow_when_there_are_four_times_as_many(self, path):
        with create(path) as writer:
            writer.commit(new=[photo(1, "one more.jpg")], gone=[1])
        index = self.index(path)
        assert (index.lists, sorted(index.ids())) == (64, list(range(4, 404)))
        with create(path) as writer:
            writer.commit(new=[photo(1, f"many {number}.jpg", count=30) for number in range(40)])
        assert self.index(path).lists == 128

    def test_made_anew_it_is_the_same_file(self, path):
        before = (path / "regions.2.faiss").read_bytes()
        (path / "regions.2.faiss").unlink()
        create(path).close()
        assert (path / "regions.3.faiss").read_bytes() == before

    def test_a_damaged_file_is_replaced_by_looking_at_all(self, path, caplog):
        os.truncate(path / "regions.2.faiss", 50)
        index = self.index(path)
        assert (index.lists, len(index)) == (0, 400)
        assert "is damaged (50 bytes" in caplog.records[0].message
