"""A collection on a real server moves to another checkpoint: with readers, with other writers, killed on the way."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from db.collection import open_collection
from db.errors import CheckpointMismatch, CollectionError
from db.maintenance import verify
from db.model_switch import open_successor, switch
from db.postgres import indexes
from helpers.db_photos import MODEL, OTHER_MODEL, contents, live, photo
from helpers.db_server import live_url, new_url

THIRD_MODEL = replace(MODEL, digest="c" * 64)
TESTS = Path(__file__).parent
PHOTOS = ("b.jpg", "f.jpg")
# A process that is killed while the rows are replaced: the trigger of the last statement before the commit waits.
PROGRAM = """
import sys
sys.path[:0] = [{tests!r}, {project!r}]
import os, signal
from db.collection import open_collection
from db.model_switch import moved_by_another, open_successor, switch
from db.postgres import model_switch
from helpers.db_photos import OTHER_MODEL

finish = model_switch.finish
def killed(session, model):
    if {when!r} == "after":
        finish(session, model)
        session.commit()
    os.kill(os.getpid(), signal.SIGKILL)
model_switch.finish = killed
with open_collection({url!r}, write=True) as old, open_successor(old, OTHER_MODEL) as new:
    switch(old, new)
"""


@pytest.fixture
def url():
    """Of a collection of b.jpg and f.jpg; d/e.jpg failed."""
    return live_url()


def describe(successor, *names):
    successor.commit(new=[photo(1, name, version=7) for name in names or PHOTOS])


def schemas(url):
    """Those of a collection: its own, and that of a successor."""
    with open_collection(url) as collection:
        schema = collection.server.address.schema
        return collection.server.read(
            lambda session: set(
                session.scalars(
                    text("SELECT nspname FROM pg_namespace WHERE nspname IN (:name, :next)"),
                    {"name": schema, "next": f"{schema}_next"},
                )
            )
        )


def test_readers_keep_the_old_one_until_they_refresh(url):
    with open_collection(url) as reader:
        before = contents(reader)
        with open_collection(url, write=True) as old:
            revision = old.revision
            for name in PHOTOS:  # in as many runs as it takes
                with open_successor(old, OTHER_MODEL) as new:
                    assert new.model == OTHER_MODEL and new.roots() == old.roots()
                    describe(new, name)
                with open_collection(url, model=MODEL) as meanwhile:
                    assert contents(meanwhile) == before
            with open_successor(old, OTHER_MODEL) as new:
                expected = contents(new)
                switch(old, new)
            assert old.model == OTHER_MODEL and old.revision == revision + 1
            after = contents(old)
            for what in ("known", "photos", "regions", "codes", "embeddings", "cosines"):
                assert after[what] == expected[what]
            old.commit(new=[photo(1, "h.jpg")])  # it is a collection like any other
        assert contents(reader) == before
        with pytest.raises(CheckpointMismatch, match=r"has moved from the checkpoint a{12} to b{12}: open it again"):
            reader.refresh()
    assert len(schemas(url)) == 1
    assert verify(url).holds
    with pytest.raises(CheckpointMismatch):
        open_collection(url, model=MODEL)


def test_writers_of_the_old_checkpoint_commit_nothing_more(url):
    with open_collection(url, write=True) as late, open_collection(url, write=True) as old:
        with open_successor(old, OTHER_MODEL) as new:
            describe(new)
            switch(old, new)
        before = contents(old)
        sentence = r"^The collection has moved from the checkpoint a{12} to b{12} meanwhile: run the command again"
        for change in ({"new": [photo(1, "late.jpg")]}, {"gone": [old.photo_ids()[0]]}):
            with pytest.raises(CheckpointMismatch, match=sentence):
                late.commit(**change)
        queue = late.queue()
        queue.join("key")
        queue.offer([], [])
        with pytest.raises(CheckpointMismatch, match=sentence):
            queue.commit([], {"new": 1}, new=[photo(1, "late.jpg")])
        queue.leave()
        with pytest.raises(CheckpointMismatch, match=sentence):
            late.remove_root(1)
        assert contents(old) == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_the_switch_it_is_the_old_one_or_the_new_one(url, when):
    with open_collection(url, write=True) as old, open_successor(old, OTHER_MODEL) as new:
        describe(new)
        before, expected = contents(old), contents(new)
    code = PROGRAM.format(tests=str(TESTS), project=str(TESTS.parent), url=url, when=when)
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    with open_collection(url, write=True) as collection:
        if when == "before":
            assert collection.model == MODEL and contents(collection) == before
            with open_successor(collection, OTHER_MODEL) as new:
                assert new.photo_count() == 2  # nothing of it is described again
                switch(collection, new)
        assert collection.model == OTHER_MODEL
        found = contents(collection)
        for what in ("known", "photos", "regions", "codes", "embeddings"):
            assert found[what] == expected[what]
    assert verify(url).holds


def test_many_open_and_switch_at_the_same_time(url):
    with open_collection(url, write=True) as old, open_successor(old, OTHER_MODEL) as new:
        describe(new)

    def move(_):
        with open_collection(url, write=True) as collection:
            if collection.model == OTHER_MODEL:
                return "was moved"
            try:
                with open_successor(collection, OTHER_MODEL) as successor:
                    switch(collection, successor)
            except CollectionError:  # its successor is gone: the other one was quicker
                assert collection.server.read(
                    lambda session: session.scalar(text("SELECT model_digest FROM meta"))
                ) == (OTHER_MODEL.digest)
                return "was moved"
            return "moved"

    with ThreadPoolExecutor(4) as pool:
        assert "moved" in list(pool.map(move, range(4)))
    with open_collection(url, model=OTHER_MODEL) as collection:
        assert collection.photo_count() == 2 and collection.region_count() == len(collection.features().region_ids)
    assert len(schemas(url)) == 1


def test_indexes_are_made_of_the_new_vectors_and_dropped_with_the_old(monkeypatch):
    monkeypatch.setattr("db.postgres.migrations.PARTITION_REGIONS", 500)
    monkeypatch.setattr(indexes, "SCANNED_REGIONS", 200)
    monkeypatch.setattr(indexes, "REGIONS_PER_LIST", 20)
    url = new_url()
    photos = [f"{number}.jpg" for number in range(30)]

    def of(collection):
        return {index.partition for index in collection.server.read(indexes.indexes)}

    with open_collection(url, write=True, create=True, model=MODEL) as old:
        old.add_root(Path("/photos"))
        old.commit(new=[photo(1, name, count=20) for name in photos])
        old.record_build({}, seconds=1)
        assert of(old) == {"region_000000"}  # 600 regions: 100 in the other partition
        with open_successor(old, OTHER_MODEL) as new:
            new.commit(new=[photo(1, name, version=7, count=20) for name in photos])
            new.record_build({}, seconds=1)
            assert of(new) == set()  # they would be made twice
            switch(old, new)
        assert of(old) == {"region_000001", "region_000002"}  # 400 and 200
        best = old.candidates(photo(1, photos[3], version=7, count=1).embeddings, 1)
        assert old.photos(best)[0].path.name == photos[3]


def test_another_schema_of_that_name_is_left_alone(url):
    theirs = url + "_next"
    with open_collection(theirs, write=True, create=True, model=OTHER_MODEL) as other:
        other.add_root(Path("/mine"))
    needed = r"_next is needed for .*, and holds other things: .*`ALTER SCHEMA"
    with open_collection(url, write=True) as old, pytest.raises(CollectionError, match=needed):
        open_successor(old, OTHER_MODEL)
    with open_collection(theirs) as other:
        assert other.roots() == {1: Path("/mine")}
    with open_collection(url, write=True) as old:
        old.relocate_root(1, Path("/elsewhere"))
        old.remove_root(1)
    with open_collection(theirs) as other:
        assert other.roots() == {1: Path("/mine")}
    too_long = r"too long for that: give it a shorter one, `ALTER SCHEMA"
    with (
        open_collection(url + "x" * 55, write=True, create=True, model=MODEL) as old,
        pytest.raises(CollectionError, match=too_long),
    ):
        open_successor(old, OTHER_MODEL)


def test_a_third_checkpoint_does_not_take_away_what_others_are_at(url):
    with open_collection(url, write=True) as old:
        with open_successor(old, OTHER_MODEL) as new:
            queue = new.queue()
            queue.join("key")
            with pytest.raises(CollectionError, match=r"^Another build is moving .* to the checkpoint b{12}: wait"):
                open_successor(old, THIRD_MODEL)
            queue.leave()
        with open_successor(old, THIRD_MODEL) as new:
            assert new.model == THIRD_MODEL


def test_a_schema_may_have_any_name():
    url = re.sub(r"schema=.*", "schema=a%3Ab%20%22c%22%20%25d%27", new_url())
    with open_collection(url, write=True, create=True, model=MODEL) as old:
        assert old.server.address.schema == 'a:b "c" %d\''
        live(old)
        with open_successor(old, OTHER_MODEL) as new:
            describe(new)
            switch(old, new)
        assert old.model == OTHER_MODEL and old.photo_count() == 2
