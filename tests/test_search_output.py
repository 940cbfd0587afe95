import csv
import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from db.records import PhotoHeaders
from search.grounding import PhotoRegions
from search.hits import DescribedPhoto, Hit, HitRegion
from search.output import as_csv, as_json, as_json_lines, as_paths, as_paths0, as_table, descriptions_as_table
from search.searcher import Answer

DOG = HitRegion(11, (1.5, 2.0, 31.75, 42.0), 0.81, "brown dog", "a dog")
COUCH = HitRegion(12, (0.0, 20.0, 100.0, 75.0), 0.64, "a red, soft couch", "a couch")


def hit(rank, path, *regions, score=0.7255):
    return Hit(rank, 40 + rank, Path(path), score, 100, 75, list(regions))


ODD_PATHS = [b"/photos/line\nbreak \xff.jpg", "/photos/\x1b[31mchien é.jpg".encode()]

ANSWER = Answer(
    ["dog on couch"],
    "embedding",
    [hit(1, "/photos/a.jpg", DOG, COUCH), hit(2, "/photos/b.jpg", DOG, score=-1.5)],
    ["zorblax"],
    {"cuoch": "couch"},
)
ODD = Answer(["dog"], "fused", [hit(rank, os.fsdecode(path), DOG) for rank, path in enumerate(ODD_PATHS, 1)])


def test_json_is_the_promised_document():
    dog = {"region_id": 11, "box": [1.5, 2.0, 30.25, 40.0], "score": 0.81, "phrase": "brown dog", "for": "a dog"}
    couch = {"region_id": 12, "box": [0, 20, 100, 55], "score": 0.64, "phrase": "a red, soft couch", "for": "a couch"}
    size = {"width": 100, "height": 75, "copies": [], "similar": []}
    assert json.loads(as_json(ANSWER)) == {
        "query": ["dog on couch"],
        "readings": {"cuoch": "couch"},
        "unknown_words": ["zorblax"],
        "scoring": "embedding",
        "hits": [
            {"rank": 1, "path": "/photos/a.jpg", "score": 0.7255, **size, "regions": [dog, couch]},
            {"rank": 2, "path": "/photos/b.jpg", "score": -1.5, **size, "regions": [dog]},
        ],
    }


def test_what_headers_tell_is_in_the_json_of_a_hit():
    all_of_them = PhotoHeaders(
        "2019-06-23T14:05:06", 120, "Canon", "Canon EOS 5D", "EF50mm", 41.5, -2.25, 0, ("Anna", "beach")
    )
    for headers, told in (
        (all_of_them, {**asdict(all_of_them), "keywords": ["Anna", "beach"]}),
        (PhotoHeaders(make="Canon"), {"make": "Canon"}),
        (PhotoHeaders(), {}),
    ):
        shown = replace(hit(1, "/photos/a.jpg", DOG), headers=headers)
        (found,) = json.loads(as_json(Answer(["dog"], "fused", [shown])))["hits"]
        (plain,) = json.loads(as_json(Answer(["dog"], "fused", [hit(1, "/photos/a.jpg", DOG)])))["hits"]
        assert found == {**plain, **told}


def test_json_without_hits():
    document = json.loads(as_json(Answer(["dog"], "fused", [])))
    assert document == {"query": ["dog"], "readings": {}, "unknown_words": [], "scoring": "fused", "hits": []}


def test_json_lines_are_the_hits_with_the_scoring():
    lines = as_json_lines(ANSWER).splitlines()
    hits = json.loads(as_json(ANSWER))["hits"]
    assert [json.loads(line) for line in lines] == [{**each, "scoring": "embedding"} for each in hits]


def test_csv_has_a_line_a_region():
    rows = list(csv.DictReader(io.StringIO(as_csv(ANSWER).decode())))
    assert [(row["rank"], row["region_id"], row["phrase"], row["for"]) for row in rows] == [
        ("1", "11", "brown dog", "a dog"),
        ("1", "12", "a red, soft couch", "a couch"),
        ("2", "11", "brown dog", "a dog"),
    ]
    box = [float(rows[1][side]) for side in ("x", "y", "region_width", "region_height")]
    assert box == [0.0, 20.0, 100.0, 55.0]
    assert rows[0]["path"] == "/photos/a.jpg"
    assert rows[0]["scoring"] == "embedding"
    assert (rows[2]["score"], rows[2]["region_score"]) == ("-1.5", "0.81")


def test_odd_paths_come_through_json():
    paths = [each["path"] for each in json.loads(as_json(ODD))["hits"]]
    assert [os.fsencode(path) for path in paths] == ODD_PATHS


def test_odd_paths_come_through_zero_bytes_as_they_are():
    assert as_paths0(ODD).split(b"\0") == [*ODD_PATHS, b""]


def test_a_line_is_one_path_whatever_its_name():
    assert as_paths(ANSWER) == b"/photos/a.jpg\n/photos/b.jpg\n"
    assert as_paths(ODD).split(b"\n")[0] == b"/photos/line\\nbreak \xff.jpg"
    assert len(as_paths(ODD).splitlines()) == 2


def test_a_table_for_people():
    table = as_table(ANSWER, color=False).decode()
    assert table.splitlines() == [
        '"dog on couch": 2 photographs, embedding scoring',
        "   1    0.726  /photos/a.jpg",
        "        0.810  a dog    brown dog              30x40 at 2,2",
        "        0.640  a couch  a red, soft couch     100x55 at 0,20",
        "   2   -1.500  /photos/b.jpg",
        "        0.810  a dog    brown dog              30x40 at 2,2",
    ]


def test_a_table_has_colors_if_wanted():
    assert b"\x1b[" in as_table(ANSWER, color=True)
    assert b"\x1b" not in as_table(ANSWER, color=False)


def test_a_table_never_holds_control_characters():
    table = as_table(ODD, color=False).decode()
    assert "/photos/line\\nbreak \\xff.jpg" in table
    assert "/photos/\\x1b[31mchien é.jpg" in table
    assert len(table.splitlines()) == 5
    # Of boxes that somebody gave, the phrases are theirs.
    told = replace(DOG, phrase="a dog\n\x1b[31mred")
    table = as_table(Answer(["dog"], "fused", [hit(1, "/photos/a.jpg", told)]), color=True).decode()
    assert "a dog\\n\\x1b[31mred" in table and len(table.splitlines()) == 3
    boxes = PhotoRegions(np.array([[0.0, 0, 10, 10]], np.float32), np.array([0.5], np.float32))
    described = DescribedPhoto(1, Path("/photos/a.jpg"), 100, 75, boxes, [11], [told.phrase])
    table = descriptions_as_table([described], None).decode()
    assert "a dog\\n\\x1b[31mred" in table and len(table.splitlines()) == 2


def test_a_table_in_a_terminal_that_is_not_unicode():
    assert b"chien \\xe9.jpg" in as_table(ODD, color=False, encoding="ascii")


def test_paths_below_the_current_folder_are_shown_from_there(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    answer = Answer(["dog"], "fused", [hit(1, tmp_path / "holiday" / "a.jpg", DOG)])
    assert b"  holiday/a.jpg\n" in as_table(answer, color=False)
    assert as_paths(answer) == os.fsencode(tmp_path) + b"/holiday/a.jpg\n"
