"""A collection moves to another checkpoint, photograph by photograph, and is searchable all the while."""

import os
from pathlib import Path

import numpy as np
import pytest

from db.collection import open_collection
from db.errors import CheckpointMismatch, CollectionError, CollectionLocked
from db.local.collection import LocalCollection
from db.local.maintenance.verification import verify
from db.local.sqlite.connection import Database
from db.model_switch import open_successor, pending_photos, switch
from db.records import FailedFile, ModelIdentity, NewPath
from helpers.db_photos import MODEL, OTHER_MODEL, contents, live, photo
from helpers.db_server import new_url

LARGER_MODEL = ModelIdentity(digest="c" * 64, embedding_size=6, code_size=4)


def larger(root_id, path, count=3):
    """A photograph as LARGER_MODEL, whose vectors are shorter in spite of its name, describes it."""
    embeddings = np.eye(count, 6, dtype=np.float32)
    changes = {"codes": np.full((count, 4), count, np.float16), "embeddings": embeddings}
    return photo(root_id, path, version=7, count=count, **changes)


@pytest.fixture(params=["folder", "server"])
def place(request, tmp_path):
    """Where a collection is that does not exist yet."""
    return tmp_path / "collection" if request.param == "folder" else new_url()


def fill(place):
    """Photographs b.jpg, f.jpg and, in another root, g.jpg; d/e.jpg failed."""
    with open_collection(place, write=True, create=True, model=MODEL) as collection:
        live(collection)
        other = collection.add_root(Path("/more photos"))
        collection.commit(new=[photo(other, "g.jpg")])
        collection.record_build({"new": 1}, seconds=1)
    return place


@pytest.fixture
def path(tmp_path):
    """Of a collection in a folder."""
    return fill(tmp_path / "collection")


@pytest.fixture
def filled(place):
    """Of a collection of either kind."""
    return fill(place)


def describe_everything(successor):
    successor.commit(
        new=[larger(1, "b.jpg"), larger(1, "f.jpg", count=2), larger(2, "g.jpg", count=1)],
        failed=[FailedFile(1, "d/e.jpg", 5, 6, None, "not an image")],
    )
    successor.record_build({"new": 3}, seconds=2)


def test_in_small_steps_and_then_at_once(path):
    with LocalCollection.open(path) as reader:
        before = contents(reader)
        revision = reader.revision
        for names in (["b.jpg"], ["f.jpg"], []):
            with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
                assert new.model == LARGER_MODEL and new.roots() == old.roots()
                new.commit(new=[larger(1, name) for name in names])
            with LocalCollection.open(path) as meanwhile:
                assert contents(meanwhile) == before
        with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
            assert set(new.known(1)) == {"b.jpg", "f.jpg"}
            new.commit(new=[larger(2, "g.jpg", count=1)])
            expected = contents(new, LARGER_MODEL)
            switch(old, new)
            assert old.model == LARGER_MODEL and old.revision == revision + 1
            after = contents(old, LARGER_MODEL)
            for what in ("known", "photos", "regions", "codes", "embeddings", "nearest"):
                assert after[what] == expected[what]
            old.commit(new=[larger(1, "h.jpg")])  # it is a collection like any other
        assert contents(reader) == before
        with pytest.raises(CheckpointMismatch, match=r"has moved from the checkpoint a{12} to c{12}: open it again"):
            reader.refresh()
    assert not (path / "next").exists()
    with LocalCollection.open(path, write=True, model=LARGER_MODEL) as collection:
        assert (collection.photo_count(), collection.region_count()) == (4, 3 + 3 + 1 + 3)
        assert len(list((path / "features").iterdir())) == 4
    assert verify(path).problems == []
    with pytest.raises(CheckpointMismatch):
        LocalCollection.open(path, model=MODEL)


def test_ids_of_the_old_collection_do_not_come_again(filled):
    with open_collection(filled, write=True) as old:
        last_region, last_photo = old.features().region_ids[-1], old.photo_ids()[-1]
        with open_successor(old, LARGER_MODEL) as new:
            describe_everything(new)
            switch(old, new)
        assert old.features().region_ids.min() > last_region and old.photo_ids().min() > last_photo


def test_what_was_built_is_remembered(path):
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        switch(old, new)
        assert old.last_build().counts == {"new": 3}
        with old.database.session() as session:
            assert session.connection().exec_driver_sql("SELECT seconds FROM build ORDER BY id").all() == [(1,), (2,)]


def test_the_copy_that_is_kept_is_of_the_new_collection(path):
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        switch(old, new)
        expected = contents(old, LARGER_MODEL)
    (path / "photos.db").unlink()
    assert verify(path, repair=True).to_describe == 0
    with LocalCollection.open(path, model=LARGER_MODEL) as collection:
        restored = contents(collection, LARGER_MODEL)
        assert {**restored, "revision": 0} == {**expected, "revision": 0}


def test_no_photograph_is_lost_on_the_way(filled):
    with open_collection(filled, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        new.commit(new=[larger(1, "b.jpg"), larger(1, "f.jpg")])  # /more photos was not to be seen
        (missing,) = pending_photos(old, new)
        assert pending_photos(old, new) == {missing: Path("/more photos/g.jpg")}
        before = contents(old)
        with pytest.raises(
            CollectionError, match=r"c{12} has not described 1 of its photographs yet: the collection .* stays"
        ):
            switch(old, new)
        assert contents(old) == before and new.photo_count() == 2
        switch(old, new, gone=[missing])
        assert old.photo_count() == 2


def test_a_photograph_that_moved_or_failed_is_not_lost(filled):
    with open_collection(filled, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        new.commit(
            moved={new.known(1)["b.jpg"].photo_id: NewPath(2, "somewhere else.jpg", 1, 1)},
            failed=[FailedFile(1, "f.jpg", 1, 1, "f" * 64, "broken by now")],
        )
        # What /more photos/somewhere else.jpg holds, the old collection knows as b.jpg.
        old.commit(new=[photo(1, "b.jpg", version=7)])
        assert pending_photos(old, new) == {}


def test_a_photograph_that_could_not_be_read_is_waited_for(filled):
    with open_collection(filled, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        new.commit(failed=[FailedFile(1, "f.jpg", -1, 1, None, "cannot be read")])
        assert list(pending_photos(old, new).values()) == [Path("/photos/f.jpg")]


def test_photographs_added_meanwhile_are_waited_for(path):
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        third = old.add_root(Path("/third"))
        old.commit(new=[photo(third, "new.jpg", count=9)])
        assert list(pending_photos(old, new).values()) == [Path("/third/new.jpg")]
        new.commit(new=[larger(new.add_root(Path("/third")), "new.jpg", count=4)])
        switch(old, new)
        assert (old.photo_count(), old.region_count()) == (4, 3 + 2 + 1 + 4)
        names = [file.name for file in path.glob("regions.*")]
    with LocalCollection.open(path) as collection:
        ids = collection.features().region_ids
        assert all(set(found) == set(ids) for found, _ in collection.nearest(np.eye(6, dtype=np.float32), 99))
        assert len(names) == 1


def test_a_third_checkpoint_starts_anew(filled, caplog):
    with open_collection(filled, write=True) as old:
        with open_successor(old, LARGER_MODEL) as new:
            describe_everything(new)
        with open_successor(old, OTHER_MODEL) as new:
            assert new.model == OTHER_MODEL and new.photo_count() == 0 and new.roots() == old.roots()
        assert [record.message for record in caplog.records] == [
            "What was described by the checkpoint cccccccccccc is deleted."
        ]


def test_a_root_that_is_removed_meanwhile_does_not_come_back(filled):
    with open_collection(filled, write=True) as old:
        with open_successor(old, LARGER_MODEL) as new:
            describe_everything(new)
            new.add_root(Path("/only there"))
        old.remove_root(2)
        with open_successor(old, LARGER_MODEL) as new:
            assert list(new.roots().values()) == [Path("/photos"), Path("/only there")]
            assert new.known(2) == {} and set(new.known(1)) == {"b.jpg", "f.jpg", "d/e.jpg"}
            switch(old, new)
        assert old.photo_count() == 2


@pytest.mark.parametrize("deletions", range(4))
def test_of_a_successor_that_was_half_deleted_nothing_is_left(path, monkeypatch, deletions):
    """As if killed after so many files."""
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
    left = [deletions]
    unlink = os.unlink

    def killed(name, *, dir_fd=None):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        unlink(name, dir_fd=dir_fd)

    with LocalCollection.open(path, write=True) as old:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "unlink", killed)
            open_successor(old, OTHER_MODEL)
        assert (path / "discarded").exists()
    with LocalCollection.open(path, write=True) as old:
        assert not (path / "discarded").exists()
        with open_successor(old, OTHER_MODEL) as new:
            assert new.photo_count() == 0


def test_a_damaged_successor_is_said_and_begun_anew(path, caplog):
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
    (path / "next" / "photos.db").write_bytes(b"this was a database once" * 1000)
    before = verify(path)
    assert [problem.kind for problem in before.problems] == ["successor"] and not before.holds
    with LocalCollection.open(path, write=True) as old:
        assert old.photo_count() == 3 and caplog.records == []
        old.remove_root(2)
        with open_successor(old, LARGER_MODEL) as new:
            assert new.photo_count() == 0
    (warning,) = caplog.records
    assert f"{path / 'next' / 'photos.db'} is damaged (" in warning.message
    assert warning.message.endswith("what was described there is described again.")


def test_verify_looks_at_a_successor_too(path):
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
    assert verify(path).problems == []
    segment = next((path / "next" / "features").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    report = verify(path)
    assert not report.holds and [problem.kind for problem in report.problems] == ["successor"]
    assert str(segment) in report.problems[0].what
    assert verify(path, repair=True).holds and verify(path).problems == []
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        assert new.photo_count() == 0 and len(new.known(1)) == 3  # to be described again
    (path / "next" / "photos.db").write_bytes(b"this was a database once" * 1000)
    (path / "next" / "photos.copy.db").unlink()
    assert verify(path, repair=True).holds and not (path / "next").exists()


def test_verify_minds_no_successor_that_was_killed_before_its_first_commit(path):
    (path / "next").mkdir()
    store = Database(path / "next" / "photos.db", write=True)
    with store.session() as session:
        session.connection()
    store.close()
    assert (path / "next" / "photos.db").exists()
    assert verify(path).problems == [] and verify(path).counts.photographs > 0
    assert verify(path, repair=True).holds
    with LocalCollection.open(path, write=True) as old, open_successor(old, OTHER_MODEL) as new:
        assert new.photo_count() == 0
    assert verify(path).problems == []


def test_a_collection_does_not_succeed_itself_and_only_one_writer_makes_a_successor(path):
    with LocalCollection.open(path, write=True) as old:
        with pytest.raises(ValueError, match="succeed itself"):
            open_successor(old, MODEL)
        with open_successor(old, LARGER_MODEL), pytest.raises(CollectionLocked):
            open_successor(old, LARGER_MODEL)
    with LocalCollection.open(path) as reader, pytest.raises(CollectionError, match="opened for reading"):
        open_successor(reader, LARGER_MODEL)


def test_on_a_file_system_without_links_files_are_copied(path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with LocalCollection.open(path, write=True) as old, open_successor(old, LARGER_MODEL) as new:
        describe_everything(new)
        switch(old, new)
    assert verify(path).problems == []
    with LocalCollection.open(path) as collection:
        assert collection.features().codes.tolist()[0] == [3, 3, 3, 3]


def test_an_empty_collection_moves_too(place):
    with (
        open_collection(place, write=True, create=True, model=MODEL) as old,
        open_successor(old, LARGER_MODEL) as new,
    ):
        old.note_precision("in float32")
        new.note_precision("in bfloat16")
        switch(old, new)
    with open_collection(place, model=LARGER_MODEL) as collection:
        assert collection.photo_count() == 0
        assert collection.precisions() == ["in bfloat16"]
