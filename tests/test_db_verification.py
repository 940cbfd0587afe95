"""A flipped byte, a missing file or a wrong row is found, said in a sentence, and made right where that can be."""

import json
import os
import re
import sqlite3
from contextlib import closing

import numpy as np
import pytest

from db.errors import CollectionDamaged, CollectionError, CollectionLocked, CollectionMissing
from db.local.collection import LocalCollection
from db.local.files import atomic_write
from db.local.maintenance.compaction import compact
from db.local.maintenance.verification import verify
from db.local.vectors.faiss_index import VectorIndex
from helpers.db_photos import contents, create, live, photo


@pytest.fixture
def path(tmp_path):
    """A collection at the end of its LIFE, as a build leaves it, and a photograph of 40 regions in a last segment."""
    path = tmp_path / "collection"
    with create(path) as collection:
        live(collection)
        collection.commit(new=[photo(1, "large.jpg", count=40)])
        collection.record_build({}, seconds=1)
    return path


def flip(file, position=0.5):
    data = bytearray(file.read_bytes())
    data[int(position * len(data))] ^= 4
    file.write_bytes(data)


def sql(path, *statements):
    with closing(sqlite3.connect(path / "photos.db", isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def kinds(report):
    return [problem.kind for problem in report.problems]


def describe_again(path, names):
    """What the next build does with files that it cannot take for unchanged."""
    with create(path) as collection:
        found = {name: stat for name, stat in collection.known(1).items() if stat.failed and stat.size == -1}
        assert set(found) == set(names)
        assert all("the next build describes it again" in stat.reason for stat in found.values())
        counts = {"b.jpg": (1, 4), "f.jpg": (0, 6), "large.jpg": (0, 40)}
        collection.commit(new=[photo(1, name, version=counts[name][0], count=counts[name][1]) for name in names])


def comparable(path):
    """What there is, whatever the ids: photographs and failed files, regions, vectors, and what is found."""
    with LocalCollection.open(path) as reader:
        rows = {row.photo_id: row.path.name for row in reader.photos(reader.photo_ids())}
        features = reader.features()
        regions = [
            (rows[region.photo_id], region.box, region.score, region.phrase, code, embedding)
            for region, code, embedding in zip(
                reader.regions(features.region_ids), features.codes.tolist(), features.embeddings.tolist()
            )
        ]
        nearest = [
            sorted((score, rows[region.photo_id]) for score, region in zip(scores.tolist(), reader.regions(ids)))
            for ids, scores in reader.nearest(np.eye(8, dtype=np.float32), 1000)
        ]
        known = {name: (stat.size, stat.digest, stat.reason) for name, stat in reader.known(1).items()}
        return known, sorted(regions), nearest


@pytest.fixture
def sound(path):
    return comparable(path)


def test_a_collection_that_holds(path):
    files = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    report = verify(path)
    assert report.holds and report.problems == []
    assert (report.counts.photographs, report.counts.regions, report.counts.segments) == (3, 50, 3)
    assert report.counts.index_files == 1
    # Of segment 3, with 6 rows, the 2 of photograph 7 are of no use.
    assert (report.counts.rows_of_gone, report.counts.unsaved_regions, report.counts.without_checksums) == (2, 0, 0)
    assert report.to_describe == 0
    document = json.loads(json.dumps(report.as_dict()))
    assert document["holds"] and document["collection"] == str(path) and document["problems"] == []
    assert {file: file.stat().st_mtime_ns for file in files} == files


def test_faiss_files_that_are_behind_are_no_problem(path):
    with create(path) as writer:
        writer.commit(new=[photo(1, "new.jpg", count=2)], gone=[9])
        report = verify(path)
        assert report.holds and report.counts.unsaved_regions == 2 + 6
    assert verify(path).counts.unsaved_regions == 0


def test_an_empty_collection_holds(tmp_path):
    create(tmp_path).close()
    assert verify(tmp_path).holds
    with pytest.raises(CollectionMissing):
        verify(tmp_path / "nowhere")


def test_repairing_what_holds_changes_nothing(path):
    with LocalCollection.open(path) as reader:
        before = contents(reader)
    assert verify(path, repair=True).problems == []
    with LocalCollection.open(path) as reader:
        assert contents(reader) == before
    with create(path), pytest.raises(CollectionLocked):
        verify(path, repair=True)


# -- segments


SEGMENT_DAMAGES = {
    "missing": (lambda file: file.unlink(), r"\S+, the features of 1 photograph, is missing\.$"),
    "cut off": (lambda file: os.truncate(file, 400), r"is damaged \(400 bytes instead of \d+\)\.$"),
    "flipped": (flip, r"is damaged \(its content does not match its checksum\)\.$"),
}


@pytest.mark.parametrize("faiss", ["faiss as well", "faiss sound"])
@pytest.mark.parametrize("damage", SEGMENT_DAMAGES)
def test_photographs_of_a_damaged_segment_are_described_again(path, sound, damage, faiss):
    do, sentence = SEGMENT_DAMAGES[damage]
    do(max((path / "features").iterdir()))
    if faiss == "faiss as well":  # then a writer cannot even open
        (path / "regions.1.faiss").unlink()
        with pytest.raises(CollectionError):
            create(path)
    report = verify(path)
    assert not report.holds and re.search(sentence, report.problems[0].what) and report.problems[0].repairable
    assert kinds(report) == ["segment", "index"] if faiss == "faiss as well" else ["segment"]
    report = verify(path, repair=True)
    assert report.holds and report.repaired and report.to_describe == 1
    assert verify(path).problems == []
    with LocalCollection.open(path) as reader:
        assert (reader.photo_count(), reader.region_count()) == (2, 10)
        assert all(sorted(ids) == sorted(reader.features().region_ids) for ids, _ in reader.nearest(np.eye(8), 99))
    describe_again(path, ["large.jpg"])
    assert comparable(path) == sound


def test_a_writer_is_told_of_a_missing_segment(path, caplog):
    segment = max((path / "features").iterdir())
    segment.unlink()
    create(path).close()
    assert [record.message for record in caplog.records] == [
        f"{segment} and 0 other segments are missing: run `indexer verify --repair`."
    ]


def test_a_row_that_names_the_wrong_place_is_noticed(path, sound):
    sql(path, "UPDATE photo SET first_row = 1 - 1 WHERE path = CAST('large.jpg' AS BLOB)")
    assert verify(path).holds
    sql(path, "UPDATE photo SET first_row = 1 WHERE path = CAST('large.jpg' AS BLOB)")
    report = verify(path)
    assert (
        kinds(report) == ["segment"]
        and "holds other features of 1 photograph than photos.db says." in report.problems[0].what
    )
    assert verify(path, repair=True).holds
    describe_again(path, ["large.jpg"])
    assert comparable(path) == sound


# -- rows


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE region SET phrase = 'another phrase' WHERE id = 30",
        "UPDATE region SET phrase = CAST(x'ff80' AS TEXT) WHERE id = 30",
        "UPDATE region SET phrase = CAST(phrase AS BLOB) WHERE id = 30",
        "UPDATE region SET x1 = x1 + 0.001 WHERE id = 30",
        "UPDATE region SET score = 'high' WHERE id = 30",
        "UPDATE photo SET digest = replace(digest, '0', '1') WHERE region_count = 40",
        "UPDATE photo SET digest = CAST(digest AS BLOB) WHERE region_count = 40",
        "UPDATE photo SET width = 101 WHERE region_count = 40",
        "UPDATE photo SET regions_crc32 = 1 WHERE region_count = 40",
        "UPDATE photo SET features_crc32 = 1 WHERE region_count = 40",
        "DELETE FROM region WHERE id = 30",
        "UPDATE photo SET region_count = 39 WHERE region_count = 40",
        "UPDATE photo SET first_region_id = 25 WHERE region_count = 40",
        "UPDATE photo SET first_region_id = NULL WHERE region_count = 40",
        "UPDATE segment SET codes_offset = codes_offset + 2 WHERE rows = 40",
        "UPDATE segment SET embeddings_offset = codes_offset WHERE rows = 40",
        "UPDATE segment SET rows = 41 WHERE rows = 40",
        "UPDATE photo SET segment_id = 77 WHERE region_count = 40",
        "UPDATE photo SET segment_id = 3 WHERE region_count = 40",
        "UPDATE region SET photo_id = 999 WHERE id = 30",
        "UPDATE region SET id = 999 WHERE id = 30",
    ],
)
def test_an_altered_row_costs_its_photograph_until_the_next_build(path, sound, statement):
    sql(path, statement)
    report = verify(path)
    assert not report.holds and set(kinds(report)) <= {"rows", "segment", "index"}
    assert all(re.fullmatch(r"(photos\.db|/|[A-Z]).*\.", problem.what) for problem in report.problems)
    report = verify(path, repair=True)
    assert report.holds and report.to_describe >= 1, report
    assert verify(path).problems == []
    describe_again(path, ["large.jpg"])
    assert comparable(path) == sound


def test_a_row_that_changed_hands_costs_both_photographs(path, sound):
    sql(path, "UPDATE region SET photo_id = 9 WHERE id = 30")
    assert verify(path, repair=True).holds
    describe_again(path, ["large.jpg"])
    assert comparable(path) == sound


def test_rows_of_nobody_are_removed(path, sound):
    sql(
        path,
        "INSERT INTO region SELECT 5000, 9999, x1, y1, x2, y2, score, phrase FROM region WHERE id = 30",
        "INSERT INTO photo (root_id, path, size, mtime_ns, reason) VALUES (88, x'41', 1, 1, 'of no root')",
    )
    report = verify(path)
    sentences = {problem.what for problem in report.problems}
    assert sentences == {"photos.db holds 1 photo without root.", "photos.db holds 1 region without photo."}
    assert verify(path, repair=True).holds
    assert comparable(path) == sound


def test_a_file_name_that_is_damaged_costs_its_photograph(path, sound):
    sql(path, "UPDATE photo SET path = CAST(path AS TEXT) WHERE region_count = 40")
    with LocalCollection.open(path) as reader:
        for ask in (lambda: reader.known(1), lambda: reader.photos(reader.photo_ids())):
            with pytest.raises(CollectionDamaged, match=r"A file name in photos\.db is damaged"):
                ask()
    assert {problem.what for problem in verify(path).problems} == {"photos.db holds 1 photo without a name."}
    assert verify(path, repair=True).holds and verify(path).problems == []
    with create(path) as writer:  # the next build finds a new file
        writer.commit(new=[photo(1, "large.jpg", count=40)])
    assert comparable(path) == sound


def test_a_folder_whose_path_is_damaged_is_known_to_the_copy(path, sound):
    sql(path, "UPDATE root SET path = 7")
    assert kinds(verify(path)) == ["database"]
    assert verify(path, repair=True).holds
    assert comparable(path) == sound


# -- FAISS


INDEX_DAMAGES = {
    "missing": lambda file: file.unlink(),
    "cut off": lambda file: os.truncate(file, 100),
    "flipped": flip,
}


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_a_damaged_faiss_file_is_made_anew(path, sound, damage):
    INDEX_DAMAGES[damage](path / "regions.1.faiss")
    assert kinds(verify(path)) == ["index"]
    report = verify(path, repair=True)
    assert report.holds and report.to_describe == 0 and verify(path).problems == []
    assert comparable(path) == sound


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE index_file SET first_region_id = 14",
        "UPDATE index_file SET last_region_id = 30",
        "UPDATE index_file SET region_count = 49",
        "UPDATE index_file SET sha256 = 'nonsense'",
        "DELETE FROM photo WHERE path = CAST('f.jpg' AS BLOB); UPDATE index_file SET region_count = 44",
    ],
)
def test_a_faiss_file_of_other_regions_is_made_anew(path, statement):
    sql(path, *statement.split(";"))
    assert "index" in kinds(verify(path))
    assert verify(path, repair=True).holds and verify(path).problems == []
    with LocalCollection.open(path) as reader:
        assert all(sorted(ids) == sorted(reader.features().region_ids) for ids, _ in reader.nearest(np.eye(8), 99))


def test_a_whole_faiss_file_of_the_wrong_regions_is_made_anew(path, sound):
    index = VectorIndex.exact(8)
    with LocalCollection.open(path) as reader:
        features = reader.features()
    ids = features.region_ids.copy()
    ids[:3] = [4, ids[3], ids[3]]  # one that it should not hold, and one three times
    index.add(ids, features.embeddings)
    with atomic_write(path / "regions.1.faiss") as stream:
        index.write(stream)
    sql(path, f"UPDATE index_file SET size = {stream.size}, sha256 = '{stream.sha256}'")
    (problem,) = verify(path).problems
    assert problem.what.endswith("3 are missing, 1 are not of its range, 2 are there twice.")
    assert verify(path, repair=True).holds and verify(path).problems == []
    assert comparable(path) == sound


# -- photos.db and its copy


def test_a_damaged_database_gives_way_to_the_copy_of_the_last_build(path, sound):
    with create(path) as writer:  # a build that did not end: of it, the copy knows nothing
        writer.commit(new=[photo(1, "later.jpg", count=5)], gone=[9])
    (path / "photos.db").write_bytes(b"this was a database once" * 1000)
    damaged = (path / "photos.db").read_bytes()
    with pytest.raises(CollectionError, match=r"photos.db is damaged .*: run `indexer verify --repair`\.$"):
        create(path)
    report = verify(path)
    assert kinds(report) == ["database"] and not report.holds and report.problems[0].repairable
    assert re.match(r".*photos\.db is damaged \(.*\)\. There is a sound copy of 20\d\d-", report.problems[0].what)
    report = verify(path, repair=True)
    # The copy knows photograph 9, whose segment is swept.
    assert report.holds and kinds(report) == ["database", "segment"] and report.to_describe == 1
    assert (path / "photos.db.damaged").read_bytes() == damaged
    assert verify(path).problems == []
    describe_again(path, ["f.jpg"])
    assert comparable(path) == sound
    with create(path) as writer:
        assert "later.jpg" not in writer.known(1)


def test_segments_that_the_copy_does_not_know_any_more_are_described_again(path, sound, monkeypatch):
    monkeypatch.setattr(LocalCollection, "keep_copy", lambda self, always=False: None)
    with create(path) as writer:
        compact(writer)  # as if killed before it kept a copy
    monkeypatch.undo()
    (path / "photos.db").unlink()
    with pytest.raises(CollectionError, match=r"photos.db is missing: run `indexer verify --repair`\.$"):
        create(path)
    report = verify(path, repair=True)
    assert report.holds and kinds(report)[0] == "database" and report.to_describe == 3
    describe_again(path, ["b.jpg", "f.jpg", "large.jpg"])
    assert comparable(path) == sound


def test_nobody_may_read_while_a_database_is_restored(path):
    with LocalCollection.open(path):
        (path / "photos.db").unlink()
        with pytest.raises(CollectionError, match=r"^Somebody reads .*: end every search"):
            verify(path, repair=True)
        assert not (path / "photos.db").exists()
    assert verify(path, repair=True).holds


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE photo RENAME COLUMN size TO sise",
        "DELETE FROM meta",
    ],
)
def test_a_database_that_lacks_what_every_one_has_is_damaged(path, sound, statement):
    sql(path, statement)
    report = verify(path)
    assert kinds(report) == ["database"] and "photos.db is damaged (" in report.problems[0].what
    assert verify(path, repair=True).holds
    assert comparable(path) == sound


@pytest.mark.parametrize("copy", ["no copy", "a damaged copy"])
def test_without_a_sound_copy_there_is_nothing_to_be_done(path, copy):
    (path / "photos.db").write_bytes(b"this was a database once" * 1000)
    if copy == "no copy":
        (path / "photos.copy.db").unlink()
    else:
        (path / "photos.copy.db").write_bytes(b"so was this" * 1000)
    for repair in (False, True):
        report = verify(path, repair=repair)
        (problem,) = report.problems
        assert not report.holds and (problem.kind, problem.repairable) == ("database", False)
        assert "there is no sound copy of it" in problem.what and "build it again" in problem.what
    assert (path / "photos.db").read_bytes()[:4] == b"this"


def test_a_damaged_copy_is_made_anew(path):
    (path / "photos.copy.db").write_bytes(b"so was this" * 1000)
    report = verify(path)
    assert kinds(report) == ["copy"] and report.problems[0].repairable
    assert verify(path, repair=True).holds and verify(path).problems == []


def test_hardly_a_flipped_bit_of_a_database_escapes(path, sound):
    """Every 61st byte of photos.db with a bit flipped: found, or of no consequence for what was described."""
    whole = (path / "photos.db").read_bytes()
    found = 0
    positions = range(17, len(whole), 61 * 16)
    for position in positions:
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        (path / "photos.db").write_bytes(data)
        try:
            report = verify(path)
        except CollectionError as error:  # not even opened: another schema, another checkpoint's sizes
            assert str(error).endswith(".")
            found += 1
            continue
        found += not report.holds
        if report.holds:
            assert comparable(path)[1:] == sound[1:], position
    assert found > len(positions) / 10
