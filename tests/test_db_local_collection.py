"""What only a collection in a folder has: files that get lost or damaged, a writer's lock, another place, a schema."""

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from db.errors import (
    CheckpointMismatch,
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionMissing,
    SchemaTooNew,
    UnknownId,
)
from db.local.collection import LocalCollection
from db.local.maintenance.model_switch import open_successor
from helpers.db_photos import MODEL, OTHER_MODEL, contents, create, live, photo


@pytest.fixture
def path(tmp_path):
    return tmp_path / "collection"


@pytest.fixture
def writer(path):
    with create(path) as collection:
        collection.add_root(Path("/photos"))
        yield collection


def test_faiss_finds_each_region_nearest_to_itself(writer):
    live(writer)
    features = writer.features()
    found = writer.nearest(features.embeddings, 100)
    assert [ids[0] for ids, _ in found] == features.region_ids.tolist()
    for (ids, scores), cosines in zip(found, writer.cosines(features.embeddings).scores):
        assert sorted(ids) == features.region_ids.tolist() and (np.diff(scores) <= 0).all()
        np.testing.assert_allclose(scores[np.argsort(ids)], cosines, atol=1e-3)
    ((ids, scores),) = writer.nearest(features.embeddings[:1], 3)
    assert len(ids) == len(scores) == 3


def test_faiss_finds_nothing_in_an_empty_collection(writer):
    ((ids, scores),) = writer.nearest(np.zeros((1, MODEL.embedding_size), np.float32), 10)
    assert len(ids) == len(scores) == 0


def test_the_photographs_of_regions(writer):
    writer.commit(new=[photo(1, "a.jpg"), photo(1, "b.jpg", count=1), photo(1, "c.jpg", count=2)])
    assert writer.reader.photo_ids_of(np.array([5, 1, 4])).tolist() == [3, 1, 2]
    for unknown in (0, 7, -1):
        with pytest.raises(UnknownId):
            writer.reader.photo_ids_of(np.array([1, unknown]))


def test_a_reader_saves_no_index(path, writer):
    with LocalCollection.open(path) as reader, pytest.raises(CollectionError, match="opened for reading"):
        reader.save_index()


@pytest.mark.parametrize("scanned", [0, 1000])
def test_cosines_and_codes_are_those_of_the_features_however_they_are_read(writer, monkeypatch, scanned):
    monkeypatch.setattr("db.local.reader.PART_ROWS", 4)  # a few photographs at a time
    monkeypatch.setattr("db.local.reader.SCANNED_REGIONS", scanned)
    writer.commit(new=[photo(1, f"{number}.jpg", count=1 + number % 3) for number in range(5)])
    writer.commit(new=[photo(1, "last.jpg", count=4)], gone=[2])
    vectors = photo(1, "asked", count=2).embeddings
    for photo_ids in (None, [6, 1, 4], np.array([3]), []):
        features = writer.features(photo_ids)
        scores = writer.cosines(vectors, photo_ids)
        assert scores.region_ids.tolist() == features.region_ids.tolist()
        assert scores.photo_ids.tolist() == features.photo_ids.tolist()
        assert scores.scores.dtype == np.float32
        np.testing.assert_allclose(scores.scores, vectors @ features.embeddings.T, atol=1e-6)
    features = writer.features()
    asked = features.region_ids[[5, 0, 5, 2]]
    np.testing.assert_array_equal(writer.codes(asked), features.codes[[5, 0, 5, 2]])
    assert writer.codes([]).shape == (0, MODEL.code_size)


@pytest.mark.parametrize("scanned", [0, 65_536])
def test_a_flipped_bit_does_not_get_into_a_cosine_or_a_code(path, writer, monkeypatch, scanned):
    monkeypatch.setattr("db.local.reader.SCANNED_REGIONS", scanned)
    writer.commit(new=[photo(1, "a.jpg", count=2)])
    (segment,) = (path / "features").iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1  # of an embedding
    segment.write_bytes(data)
    vector = np.eye(1, 8, dtype=np.float32)
    for ask in (lambda: writer.cosines(vector), lambda: writer.cosines(vector, [1]), lambda: writer.codes([1])):
        with pytest.raises(CollectionDamaged, match=segment.name):
            ask()


def test_a_disk_that_refuses_loses_nothing(path, writer):
    live(writer, 2)
    before = contents(writer)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = photo(1, "large.jpg", count=5000)
    try:  # no file may grow beyond 100 kB: neither the segment nor the database can be written
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(CollectionError, match=r"^The system refuses \S+/features/\S+: File too large\.$"):
            writer.commit(new=[large])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(writer) == before
    writer.commit(new=[large])
    with LocalCollection.open(path) as reader:
        assert reader.region_count() == 11 + 5000


def test_a_faiss_file_that_cannot_be_written_is_no_loss(path, monkeypatch, caplog):
    def full(self, stream):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("db.local.vectors.faiss_index.VectorIndex.write", full)
    monkeypatch.setattr("db.local.collection.SAVE_AFTER_REGIONS", 20)  # reached once, by the last commit
    with create(path) as writer:
        live(writer)
        expected = contents(writer)
        assert len(caplog.records) == 1
    assert len(caplog.records) == 2  # and when closing
    assert "FAISS files were not saved, the next `indexer build` does it. The system refuses" in caplog.text
    assert "regions.1.faiss: No space left on device." in caplog.text
    assert not list(path.glob("regions.*"))
    with LocalCollection.open(path) as reader:
        assert contents(reader) == expected


def test_no_collection(path):
    for write in (False, True):
        with pytest.raises(
            CollectionMissing, match=f"^There is no collection in {path}: `indexer build FOLDER` makes one.$"
        ):
            LocalCollection.open(path, write=write)
    assert not path.exists()
    path.mkdir()
    (path / "photos.db").touch()  # what a writer leaves that is killed at once
    for write in (False, True):
        with pytest.raises(CollectionMissing):
            LocalCollection.open(path, write=write)
    create(path).close()


@pytest.mark.parametrize("damage", ["empty", "missing"])
@pytest.mark.parametrize("copy", ["a copy", "no copy"])
def test_a_collection_that_lost_its_database_is_not_begun_anew(path, damage, copy):
    """To begin anew would sweep away all features, and the copy with the next build."""
    with create(path) as writer:
        live(writer)
        if copy == "a copy":
            writer.record_build({}, seconds=1)
    files = sorted(file for file in path.rglob("*") if file.name != "photos.db")
    (path / "photos.db").write_bytes(b"") if damage == "empty" else (path / "photos.db").unlink()
    for open_it in (create, LocalCollection.open):
        with pytest.raises(CollectionDamaged, match=rf"photos\.db is {damage}: run `indexer verify --repair`\.$"):
            open_it(path)
    assert sorted(file for file in path.rglob("*") if file.name != "photos.db") == files


def test_two_processes_that_make_a_collection_at_the_same_time(path, monkeypatch):
    """The second finds no database, and then, while it makes the folder, one that the first has just made."""
    first = []
    mkdir = Path.mkdir

    def overtaken(self, *arguments, **options):
        mkdir(self, *arguments, **options)
        if self == path and not first:
            first.append(None)
            first[0] = create(path)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    with pytest.raises(CollectionLocked, match=f"is being written by process {os.getpid()},"):
        create(path)
    first[0].close()
    create(path).close()


def test_a_folder_of_other_things_does_not_become_a_collection(path):
    path.mkdir()
    (path / "holiday.jpg").touch()
    with pytest.raises(CollectionError, match=r"holds other files \(holiday.jpg\) and no collection"):
        create(path)
    assert os.listdir(path) == ["holiday.jpg"]


def test_one_writer(path, writer):
    with pytest.raises(CollectionLocked, match=rf"{path} is being written by process {os.getpid()}, started"):
        create(path)
    writer.close()
    writer.close()  # twice is once
    create(path).close()


def test_a_failed_opening_lets_go_of_the_lock(path):
    create(path).close()
    with pytest.raises(CheckpointMismatch):
        LocalCollection.open(path, write=True, model=OTHER_MODEL)
    create(path).close()


def test_a_collection_that_moved_is_the_same(path, tmp_path):
    with create(path) as writer:
        live(writer)
        expected = contents(writer)
    moved = shutil.move(path, tmp_path / "elsewhere #2?")
    with LocalCollection.open(moved) as reader:
        assert contents(reader) == expected
    with LocalCollection.open(moved, write=True) as writer:
        writer.commit(new=[photo(1, "g.jpg")])
        assert writer.photo_count() == 3


def test_a_newer_schema_is_refused(path):
    with create(path) as writer, writer.database.session() as session:
        session.connection().exec_driver_sql("PRAGMA user_version = 99")
    for write in (False, True):
        with pytest.raises(SchemaTooNew, match="schema 99"):
            LocalCollection.open(path, write=write)


def test_damage_is_told_in_one_sentence(path):
    with create(path) as writer:
        live(writer)
    segment = max((path / "features").iterdir())
    os.truncate(segment, 500)
    with LocalCollection.open(path) as reader:
        with pytest.raises(CollectionDamaged, match=rf"{segment.name}, .* is damaged \(500 bytes instead of \d+\)"):
            reader.features()
        assert reader.features([6]).codes.shape == (4, MODEL.code_size)  # other segments are as good as ever
        reader.nearest(np.eye(8, dtype=np.float32), 1)
    (path / "photos.db").write_bytes(b"this was a database once" * 1000)
    for write in (False, True):
        with pytest.raises(CollectionDamaged, match=r"photos\.db is damaged \(file is not a database\): run"):
            LocalCollection.open(path, write=write)


def test_nothing_heavy_is_loaded_before_it_is_needed(path):
    with create(path) as writer:
        live(writer)
    program = """
import json, sys
heavy = ("torch", "sqlalchemy", "faiss", "h5py")
loaded = lambda: [name for name in heavy if name in sys.modules]
import db.collection, db.errors, db.location, db.records
steps = [loaded()]
with db.collection.open_collection(sys.argv[1]) as reader:
    reader.features()
    steps.append(loaded())
    reader.nearest(reader.features().embeddings, 1)
    steps.append(loaded())
print(json.dumps(steps))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", program, str(path)], env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout) == [[], ["sqlalchemy"], ["sqlalchemy", "faiss"]]


def test_a_root_is_relocated_with_all_that_is_in_it(writer):
    other = writer.add_root(Path("/elsewhere"))
    writer.commit(new=[photo(1, "a.jpg")])
    (before,) = writer.photos([1])
    with open_successor(writer, OTHER_MODEL):
        pass
    writer.relocate_root(1, Path("/new/place"))
    assert writer.roots() == {1: Path("/new/place"), other: Path("/elsewhere")}
    (after,) = writer.photos([1])
    assert (after.photo_id, after.path) == (before.photo_id, Path("/new/place/a.jpg"))
    with open_successor(writer, OTHER_MODEL) as successor:
        assert set(successor.roots().values()) == {Path("/new/place"), Path("/elsewhere")}
    with pytest.raises(ValueError, match="is a root already"):
        writer.relocate_root(1, Path("/elsewhere"))


def test_a_reader_finds_photographs_where_their_folder_moved_once_it_refreshes(path, writer):
    writer.commit(new=[photo(1, "a.jpg")])
    (before,) = writer.photos([1])
    with LocalCollection.open(path) as reader:
        assert reader.photos([1]) == [before]
        writer.relocate_root(1, Path("/new/place"))
        assert reader.photos([1]) == [before]  # its snapshot
        reader.refresh()
        (after,) = reader.photos([1])
        assert after.path == Path("/new/place/a.jpg")
    other = writer.add_root(Path("/elsewhere"))
    writer.commit(new=[photo(other, "b.jpg")])
    assert [row.path.name for row in writer.photos([1, 2])] == ["a.jpg", "b.jpg"]  # of a folder added since
