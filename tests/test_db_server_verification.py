"""`indexer verify` and `indexer compact` of a collection on a real server: damage done behind its back."""

import re
import shlex

import pytest
from sqlalchemy import text

from db import maintenance
from db.collection import open_collection
from db.model_switch import open_successor, switch
from db.postgres import indexes
from db.postgres.address import Address
from helpers.db_photos import OTHER_MODEL, contents, photo
from helpers.db_server import live_url

EMBEDDING = "'[1,0,0,0,0,0,0,0]'"
GROUPS = ", ".join(f"embedding_{number} = {EMBEDDING}" for number in range(1, 8))
DAMAGE = {
    "a box": ("UPDATE region SET x1 = x1 + 1 WHERE id = 13", [6], "1 photograph whose rows do not match"),
    "a phrase": ("UPDATE region SET phrase = 'no' WHERE id = 20", [9], "1 photograph whose rows do not match"),
    "an embedding": (f"UPDATE region SET embedding = {EMBEDDING} WHERE id = 13", [6], "whose rows do not match"),
    "a code": ("UPDATE region_code SET code = '[1,2,3,4,5]' WHERE id = 13", [6], "whose rows do not match"),
    "a digest": ("UPDATE photo SET digest = 'ff' WHERE id = 9", [9], "whose rows do not match"),
    "a region is missing": ("DELETE FROM region WHERE id = 13", [6], "whose rows do not match"),
    "all of its regions are missing": ("DELETE FROM region WHERE photo_id = 6", [6], "whose rows do not match"),
    "a code is missing": ("DELETE FROM region_code WHERE id = 13", [6], "whose rows do not match"),
    "another photo's region": ("UPDATE region SET photo_id = 9 WHERE id = 13", [6], "whose rows do not match"),
    "regions of two photos": (
        "UPDATE photo SET first_region_id = 12 WHERE id = 9",
        [9],
        "1 photograph whose rows do not match their checksums or each other; the lowest id is 9.",
    ),
    "an orphan": (
        f"INSERT INTO region VALUES (17, 8, 0, 0, 1, 1, 1, {EMBEDDING}, 'x'), (30, 6, 0, 0, 1, 1, 1, {EMBEDDING}, 'x')",
        [],
        "2 regions of no photograph; the lowest id is 17.",
    ),
    "a mean": (f"UPDATE photo_mean SET embedding = {EMBEDDING} WHERE id = 12", [6], "whose rows do not match"),
    "a mean of another photo": ("UPDATE photo_mean SET photo_id = 9 WHERE id = 12", [6], "whose rows do not match"),
    "a mean is missing": ("DELETE FROM photo_mean WHERE id = 18", [9], "whose rows do not match"),
    "groups": (f"UPDATE photo_group SET {GROUPS} WHERE id = 18", [9], "1 photograph whose rows do not match"),
    "groups are missing": ("DELETE FROM photo_group", [6, 9], "2 photographs whose rows do not match"),
    "an orphaned mean": (f"INSERT INTO photo_mean VALUES (30, 6, {EMBEDDING})", [], "1 summary of no photograph"),
    "orphaned groups": (
        f"INSERT INTO photo_group SELECT n{7 * f', {EMBEDDING}'} FROM generate_series(13, 14) AS n",
        [],
        "2 summaries of no photograph; the lowest id is 13.",
    ),
    "an orphaned code": ("INSERT INTO region_code VALUES (99, '[1,2,3,4,5]')", [], "1 code of no region"),
}


@pytest.fixture
def url():
    return live_url()


def execute(url, statement):
    with open_collection(url, write=True) as collection, collection.server.session() as session:
        session.execute(text(statement))


def test_what_holds_is_counted(url):
    report = maintenance.verify(url)
    assert report.holds and not report.problems
    assert report.summary() | {"collection": ""} == {
        "collection": "",
        "photographs": "2",
        "regions": "10 in 1 partition",
        "index": "0 indexed, the others are scanned",
    }
    assert report.as_dict()["holds"] is True


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_and_repaired(url, damage):
    statement, damaged, sentence = DAMAGE[damage]
    execute(url, statement)
    report = maintenance.verify(url)
    assert not report.holds and any(sentence in problem.what for problem in report.problems)
    assert maintenance.verify(url).problems == report.problems  # looking changes nothing
    repaired = maintenance.verify(url, repair=True)
    assert repaired.holds and repaired.problems == report.problems and repaired.to_describe == len(damaged)
    assert maintenance.verify(url).problems == []
    with open_collection(url) as reader:
        known = {stat.photo_id: stat for stat in reader.known(1).values()}
        assert [photo_id for photo_id, stat in known.items() if stat.size == -1] == damaged
        assert set(reader.photo_ids().tolist()) == {6, 9} - set(damaged)


def test_a_photo_can_be_described_again_by_hand(url):
    maintenance.describe_again(url, {6: "why not"})
    with open_collection(url) as reader:
        assert reader.known(1)["b.jpg"].reason == "why not" and reader.photo_ids().tolist() == [9]
    assert maintenance.verify(url).holds


def test_an_index_that_was_cut_off_is_a_problem_and_one_to_be_made_is_none(url, monkeypatch):
    monkeypatch.setattr(indexes, "SCANNED_REGIONS", 5)
    report = maintenance.verify(url)
    assert report.holds and report.summary()["index"].endswith("1 to be made (`indexer rebuild`)")
    assert maintenance.rebuild(url).files == 1
    assert maintenance.verify(url).summary()["index"].startswith("1 indexed, the others are scanned; recall@10 1.0")
    execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('region_000000_ivf_0')")
    report = maintenance.verify(url)
    assert [problem.what for problem in report.problems] == [
        "The index region_000000_ivf_0 was not finished: `indexer rebuild` makes it again."
    ]
    assert maintenance.verify(url, repair=True).holds and maintenance.verify(url).problems == []


def test_what_is_to_take_its_place_is_said_and_looked_at_too(url):
    with open_collection(url, write=True) as collection:
        schema = collection.server.address.schema
        with open_successor(collection, OTHER_MODEL) as successor:
            successor.commit(new=[photo(1, "b.jpg")])
            queue = successor.queue()
            queue.join("key")  # as a build that is at work
            report = maintenance.verify(url)
            queue.leave()
    assert report.holds and report.photographs == 2
    begun = report.successor
    assert (begun.schema, begun.checkpoint, begun.photographs) == (f"{schema}_next", OTHER_MODEL.digest, 1)
    *command, location = shlex.split(begun.go_on)
    assert begun.builds == 1 and command == ["indexer", "build", "--redescribe", "--collection"]
    assert Address.parse(location).schema == schema
    said = report.summary()["beside it"]
    assert re.match(
        rf"the schema {schema}_next, begun 20\d\d-\d\d-\d\d \d\d:\d\d UTC, 1 photograph described by the checkpoint "
        rf"b{{12}}, 1 build at work on it: `indexer build --redescribe ", said
    )  # fmt: skip
    assert f"DROP SCHEMA {schema}_next CASCADE" in begun.drop
    assert report.as_dict()["successor"]["photographs"] == 1

    execute(url, f"DELETE FROM {schema}_next.region")
    (problem,) = maintenance.verify(url).problems
    assert problem.kind == "successor"
    assert problem.what.startswith(f"Schema {schema}_next: 1 photograph whose rows do not match")
    repaired = maintenance.verify(url, repair=True)
    assert repaired.holds and repaired.to_describe == 1
    report = maintenance.verify(url)
    assert report.holds and not report.problems and report.successor.photographs == 0
    with open_collection(url, write=True) as collection, open_successor(collection, OTHER_MODEL) as successor:
        successor.commit(new=[photo(1, name) for name in ("b.jpg", "f.jpg")])
        switch(collection, successor)
    report = maintenance.verify(url)
    assert report.holds and report.successor is None and "beside it" not in report.summary()


def test_what_has_only_been_begun_to_take_its_place_and_what_others_call_so(url):
    with open_collection(url) as reader:
        schema = reader.server.address.schema
    comment = f"COMMENT ON SCHEMA {schema}_next IS"
    execute(url, f"CREATE SCHEMA {schema}_next")
    assert maintenance.verify(url).successor is None  # somebody's own
    execute(url, f"{comment} 'densecap-search: takes the place of {schema}_other'")
    assert maintenance.verify(url).successor is None
    execute(url, f"{comment} 'densecap-search: takes the place of {schema}'")  # as it was before it said since when
    report = maintenance.verify(url)
    assert report.holds and report.successor.checkpoint is None
    assert ", begun some time ago, with nothing in it yet, 0 builds at work on it: " in report.summary()["beside it"]
    with open_collection(url, write=True) as collection, open_successor(collection, OTHER_MODEL) as successor:
        assert successor.photo_count() == 0  # and is gone on with
    assert maintenance.verify(url).successor.checkpoint == OTHER_MODEL.digest


def test_compacting_is_vacuum(url):
    with open_collection(url) as reader:
        before = contents(reader)
    report = maintenance.compact(url)
    assert report.segments_before is None and report.bytes_before > 0
    with open_collection(url) as reader:
        assert contents(reader) == before
