import hashlib
import logging
import os
import re
import sqlite3

import faiss
import numpy as np
import pytest

from db.errors import CollectionDamaged
from db.local.collection import LocalCollection
from db.local.files import atomic_write
from db.local.maintenance.model_switch import open_successor, switch
from db.local.maintenance.reindexing import rebuild_index
from db.local.maintenance.verification import verify
from db.local.vectors.faiss_index import VectorIndex
from db.local.vectors.recall import probes_and_recall
from helpers.db_photos import LIFE, MODEL, OTHER_MODEL, contents, create, live, photo


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
        assert report.lists == 4 * 64  # as many as suit 420 regions, in each file
        content = [(path / f"regions.{file[0]}.faiss").read_bytes() for file in files]
        assert report.bytes == sum(map(len, content))
        other = tmp_path_factory.mktemp("other")
        with create(other) as writer:
            root = writer.add_root(path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(100)])
            writer.commit(new=[photo(root, f"{number}.png") for number in range(40)])
            assert rebuild_index(writer) == report
        assert [(other / f"regions.{number}.faiss").read_bytes() for number in range(1, 6)] == content


class TestLists:
    """Centres of lists that all files of a collection share; limits low enough for a hundred photographs."""

    @pytest.fixture
    def path(self, tmp_path, monkeypatch):
        for name, value in {"FILE_REGIONS": 100, "EXACT_LIMIT": 50, "SCANNED_TAIL": 20, "OUTGROWN": 1000}.items():
            monkeypatch.setattr(f"db.local.vectors.index_files.{name}", value)
        monkeypatch.setattr("db.local.vectors.faiss_index.TRAINING_VECTORS_PER_LIST", 2)
        with create(tmp_path) as writer:
            root = writer.add_root(tmp_path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(80)])
        return tmp_path

    def state(self, path):
        """(quantizers by id, the quantizer of each file, the files of lists on the disk)."""
        with LocalCollection.open(path) as reader:
            snapshot = reader.snapshot
            assert snapshot.saved
            names = sorted(file.name for file in path.glob("lists.*"))
            assert names == sorted(quantizer.name for quantizer in snapshot.quantizers.values())
            return snapshot.quantizers, [file.quantizer_id for file in snapshot.files], names

    def finds_all(self, path):
        """Whether each region is found by its embedding, and nothing else is."""
        with LocalCollection.open(path) as reader:
            features = reader.features()
            vectors = reader.reader.vectors
            for index in vectors._searched:
                index.nprobe = 1000
            found = reader.nearest(features.embeddings, 3)
            assert all(set(ids) <= set(features.region_ids.tolist()) for ids, _ in found)
            return np.mean([region_id in ids for region_id, (ids, _) in zip(features.region_ids, found)]) > 0.99

    def sql(self, path, statement):
        with sqlite3.connect(path / "photos.db") as database:
            database.execute(statement)
        database.close()

    def add(self, path, name, count=90):
        with create(path) as writer:
            writer.commit(new=[photo(1, f"{name}.png", count=count)])

    def test_files_share_centres_that_are_stored_once(self, path):
        quantizers, owners, (name,) = self.state(path)
        ((number, quantizer),) = quantizers.items()
        assert owners == [number] * 3 and (quantizer.regions, quantizer.nlist) == (240, 64)
        content = (path / name).read_bytes()
        assert name == f"lists.{hashlib.sha256(content).hexdigest()[:16]}.faiss" and len(content) == quantizer.size
        centre = content[-4 * MODEL.embedding_size :]
        assert all(centre not in file.read_bytes() for file in path.glob("regions.*"))
        with LocalCollection.open(path) as reader:
            assert len(reader.reader.vectors._searched) == 1  # a list is visited once, not once a file
            assert len({index.quantizer for index in reader.reader.vectors.indexes}) == 1
        assert self.finds_all(path)

    def test_so_many_lists_are_searched_as_find_what_there_is(self, path):
        with LocalCollection.open(path) as reader:
            (quantizer,) = reader.snapshot.quantizers.values()
            recalls = [file.recall for file in reader.snapshot.files]
            assert all(0.98 <= recall <= 1 for recall in recalls)
            probes = quantizer.nprobe
            assert 1 < probes <= quantizer.nlist
            assert [index.nprobe for index in reader.reader.vectors.indexes] == [probes] * 3
            segments = reader.segments
            index, file = reader.reader.vectors.indexes[0], reader.snapshot.files[0]
            extents = reader.snapshot.extents.between(file.first_region_id, file.last_region_id)
            measured = probes_and_recall(index, extents, reader.snapshot, segments, probes)
            assert measured == (probes, file.recall)
            # Half as many find too little: else they would have been chosen.
            assert probes_and_recall(index, extents, reader.snapshot, segments, probes // 2)[1] < 0.99

    def test_new_regions_get_the_lists_that_there_are(self, path):
        before, _, names = self.state(path)
        self.add(path, "new", count=95)
        after, owners, names_after = self.state(path)
        assert (after, names_after) == (before, names) and set(owners) == set(before)
        assert self.finds_all(path)

    def test_a_short_last_file_is_scanned(self, path):
        with create(path) as writer:
            writer.commit(gone=list(range(70, 81)))
        with LocalCollection.open(path) as reader:
            assert [file.nlist > 0 for file in reader.snapshot.files] == [True, True, True]  # it had lists already
        other = path / "other"
        with create(other) as writer:
            root = writer.add_root(path)
            writer.commit(new=[photo(root, f"{number}.jpg") for number in range(70)])
        with LocalCollection.open(other) as reader:
            assert [file.nlist > 0 for file in reader.snapshot.files] == [True, True, False]
        assert self.finds_all(other)

    def test_a_collection_that_outgrows_its_lists_gets_others_a_few_files_at_a_time(self, path, monkeypatch):
        (old,), _, _ = self.state(path)
        monkeypatch.setattr("db.local.vectors.index_files.OUTGROWN", 2)
        monkeypatch.setattr("db.local.vectors.index_files.RENEWED_AT_ONCE", 1)
        with create(path) as writer:
            writer.commit(new=[photo(1, f"{number}.png", count=9) for number in range(60)])
        quantizers, owners, names = self.state(path)
        (new,) = quantizers.keys() - {old}
        assert quantizers[new].nlist == 2 * quantizers[old].nlist and len(names) == 2
        # The last file was written again, those after it are new, and one older file was renewed.
        assert owners.count(old) == 1 and owners[2:] == [new] * (len(owners) - 2)
        assert self.finds_all(path)
        self.add(path, "more")
        assert set(self.state(path)[1]) == {new} and list(self.state(path)[0]) == [new]
        assert self.finds_all(path)

    def test_lists_that_find_too_little_are_trained_again_once_the_collection_has_changed(self, path):
        (old,), _, _ = self.state(path)
        self.sql(path, "UPDATE index_file SET recall = 0.97 WHERE id = 1")
        report = verify(path)
        assert report.holds and not report.counts.index_stale and report.counts.index_recall == 0.97
        assert "find at least 97.0%" in report.summary()["index"] and "rebuild" not in report.summary()["index"]
        self.add(path, "little", count=5)
        assert list(self.state(path)[0]) == [old]  # to train for nearly the same regions would not help
        self.sql(path, "UPDATE quantizer SET regions = 100")
        report = verify(path)
        assert report.holds and report.counts.index_stale and "`indexer rebuild`" in report.summary()["index"]
        self.add(path, "much")
        assert max(self.state(path)[0]) > old and self.finds_all(path)

    def test_files_with_lists_of_their_own_are_searched_and_renewed_later(self, path, tmp_path_factory):
        """As version 0.2 wrote them."""
        with LocalCollection.open(path) as reader:
            files, features = reader.snapshot.files, reader.features()
        for file in files[:2]:
            these = (features.region_ids >= file.first_region_id) & (features.region_ids <= file.last_region_id)
            index = faiss.index_factory(MODEL.embedding_size, "IVF8,RaBitQ2", faiss.METRIC_INNER_PRODUCT)
            index.train(features.embeddings)
            index.add_with_ids(features.embeddings[these], features.region_ids[these])
            with atomic_write(path / file.name) as stream:
                faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))
            changes = f"size = {stream.size}, sha256 = '{stream.sha256}', lists = 8, quantizer_id = NULL, recall = NULL"
            self.sql(path, f"UPDATE index_file SET {changes} WHERE id = {file.id}")
        (number,), owners, _ = self.state(path)
        assert owners == [None, None, number] and not verify(path).problems
        before = [(path / file.name).read_bytes() for file in files[:2]]
        assert self.finds_all(path)
        create(path).close()  # a writer that adds nothing
        assert [(path / file.name).read_bytes() for file in files[:2]] == before
        with create(path) as writer:
            writer.commit(gone=[1])  # a part of one
        assert self.finds_all(path)
        self.add(path, "new")
        assert set(self.state(path)[1]) == {number} and self.finds_all(path)

    @pytest.mark.parametrize(
        "target", ["db.local.vectors.index_files.IndexFiles._build", "db.local.collection.replace_indexes"]
    )
    def test_a_writer_that_is_killed_once_it_has_trained_loses_nothing(self, path, monkeypatch, target):
        before = self.state(path)
        monkeypatch.setattr("db.local.vectors.index_files.OUTGROWN", 1)

        def killed(*arguments):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(target, killed)
            writer = create(path)
            writer.commit(new=[photo(1, "new.png", count=95)])
            with pytest.raises(KeyboardInterrupt):
                writer.save_index()
            assert len(list(path.glob("lists.*"))) == 2  # the new one is an orphan
            writer.database.close()
            writer._lock.release()
        with LocalCollection.open(path) as reader:
            assert reader.snapshot.quantizers == before[0] and not reader.snapshot.saved
        assert self.finds_all(path)
        monkeypatch.setattr("db.local.vectors.index_files.OUTGROWN", 1000)
        create(path).close()
        assert self.state(path)[0] == before[0] and self.finds_all(path) and not verify(path).problems

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_damaged_centres(self, path, damage, caplog):
        (old,), _, (name,) = self.state(path)
        do, fault = DAMAGES[damage]
        do(path / name)
        with LocalCollection.open(path) as reader:
            ids = {int(ids[0]) for ids, _ in reader.nearest(reader.features().embeddings, 1)}
        assert len(ids) > 235  # from the segments
        assert re.search(rf"regions\.1\.faiss is of no use, for {name} {fault}.*searching the segments", caplog.text)
        report = verify(path)
        assert [problem.kind for problem in report.problems] == ["index"] * 3
        caplog.clear()
        create(path).close()
        assert re.search(rf"{name} {fault}.*: training it again", caplog.text)
        kept = path / f"{name}.damaged"
        assert kept.exists() == (damage != "missing")
        kept.unlink(missing_ok=True)
        (new,), owners, _ = self.state(path)
        assert new > old and owners == [new] * 3 and self.finds_all(path) and not verify(path).problems

    def test_rebuilding_trains_again_and_gives_the_same(self, path):
        _, _, before = self.state(path)
        with create(path) as writer:
            report = rebuild_index(writer)
        assert report.recall_at_100 > 0.98 and self.state(path)[2] == before  # the same regions, the same centres
        assert self.finds_all(path) and not verify(path).problems

    def test_a_restored_database_and_another_checkpoint_have_lists_too(self, path):
        with create(path) as writer:
            writer.keep_copy()
        (path / "photos.db").write_bytes(b"nothing")
        assert verify(path, repair=True).holds
        create(path).close()
        assert self.finds_all(path)
        with create(path) as writer, open_successor(writer, OTHER_MODEL) as successor:
            successor.commit(new=[photo(1, f"{number}.jpg") for number in range(80)])
            successor.save_index()
            switch(writer, successor)
        assert len(self.state(path)[0]) == 1
        with LocalCollection.open(path) as reader:
            assert reader.model == OTHER_MODEL and len(reader.reader.vectors._searched) == 1
