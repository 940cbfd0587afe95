"""`indexer verify` and `indexer compact` of a collection on a real server: damage done behind its back."""

import pytest
from sqlalchemy import text

from db import maintenance
from db.collection import open_collection
from db.postgres import indexes
from helpers.db_photos import contents
from helpers.db_server import live_url

EMBEDDING = "'[1,0,0,0,0,0,0,0]'"
DAMAGE = {
    "a box": ("UPDATE region SET x1 = x1 + 1 WHERE id = 13", [6], "1 photograph whose rows do not match"),
    "a phrase": ("UPDATE region SET phrase = 'no' WHERE id = 20", [9], "1 photograph whose rows do not match"),
    "an embedding": (f"UPDATE region SET embedding = {EMBEDDING} WHERE id = 13", [6], "whose rows do not match"),
    "a code": ("UPDATE region_code SET code = '[1,2,3,4,5]' WHERE id = 13", [6], "whose rows do not match"),
    "a digest": ("UPDATE photo SET digest = 'ff' WHERE id = 9", [9], "whose rows do not match"),
    "a region is missing": ("DELETE FROM region WHERE id = 13", [6], "whose rows do not match"),
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


def test_compacting_is_vacuum(url):
    with open_collection(url) as reader:
        before = contents(reader)
    report = maintenance.compact(url)
    assert report.segments_before is None and report.bytes_before > 0
    with open_collection(url) as reader:
        assert contents(reader) == before
