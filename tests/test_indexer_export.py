"""`indexer export`: the real command, and what other programs make of what it writes."""

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from db.collection import open_collection
from fcln.training.annotations import load_annotations
from helpers.db_photos import create, photo
from indexer.cli import main
from indexer.errors import ExportError
from indexer.export.output_file import OutputFile

REPOSITORY = Path(__file__).parents[1]


def export(album, *arguments):
    result = CliRunner().invoke(main, ["export", "--collection", str(album.collection), "-q", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


@pytest.fixture
def known(album):
    """Every region of the collection by its id: its photograph's row, its own, its code and its embedding."""
    with open_collection(album.collection) as collection:
        features = collection.features()
        rows = collection.regions(features.region_ids)
        photos = {row.photo_id: row for row in collection.photos(collection.photo_ids())}
        each = zip(rows, features.codes, features.embeddings, strict=True)
        return {row.region_id: (photos[row.photo_id], row, code, embedding) for row, code, embedding in each}


def box(row):
    x1, y1, x2, y2 = row.box
    return pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.011)


# -- COCO


def test_pycocotools_reads_coco_back(album, known, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    export(album, "--format", "coco", "--out", tmp_path / "a.json")
    with redirect_stdout(io.StringIO()):
        read = coco.COCO(str(tmp_path / "a.json"))
    assert set(read.getAnnIds()) == set(known)
    names = {category["id"]: category["name"] for category in read.loadCats(read.getCatIds())}
    assert len(set(names.values())) == len(names)
    for annotation in read.loadAnns(read.getAnnIds()):
        photo_row, row, *_ = known[annotation["id"]]
        assert annotation["image_id"] == photo_row.photo_id
        assert annotation["bbox"] == box(row)
        assert annotation["area"] == pytest.approx(annotation["bbox"][2] * annotation["bbox"][3], abs=0.01)
        assert annotation["score"] == pytest.approx(row.score, abs=1e-6)
        assert names[annotation["category_id"]] == (row.phrase or "(no words)")
    for image in read.loadImgs(read.getImgIds()):
        assert (album.photos / image["file_name"]).is_file()
    # And as COCO's evaluation does: by image and category.
    some = read.loadAnns(read.getAnnIds(imgIds=[1], catIds=[1]))
    assert some and all(a["image_id"] == 1 and a["category_id"] == 1 for a in some)


def test_dates_places_and_cameras_come_along(album):
    document = json.loads(export(album, "--format", "coco"))
    images = {image["file_name"]: image for image in document["images"]}
    assert set(images) == {"1.jpg", "2.jpg", "sub/3.jpg"}
    first = images["1.jpg"]
    assert first["date_captured"] == "2019-06-23 14:05:06" and first["taken"] == "2019-06-23T14:05:06"
    assert first["latitude"] == pytest.approx(-33.5) and first["longitude"] == pytest.approx(151.25)
    assert (first["make"], first["model"]) == ("Canon", "EOS 5D")
    assert "latitude" not in images["2.jpg"] and "date_captured" not in images["2.jpg"]
    lines = {line["file_name"]: line for line in map(json.loads, export(album, "--format", "jsonl").splitlines())}
    assert lines["1.jpg"]["taken"] == first["taken"] and lines["1.jpg"]["longitude"] == first["longitude"]
    table = list(csv.DictReader(export(album, "--format", "csv").decode().splitlines()))
    assert {(row["latitude"], row["taken"]) for row in table if row["file_name"] == "1.jpg"} == {
        ("-33.5", first["taken"])
    }
    assert {row["latitude"] for row in table if row["file_name"] == "2.jpg"} == {""}


def test_what_fiftyone_asks_of_coco(album):
    """The rules of its COCODetectionDatasetImporter (1.22), which was seen to read such a file."""
    document = json.loads(export(album, "--format", "coco"))
    assert isinstance(document["info"], dict) and document["licenses"] == []
    ids = {image["id"] for image in document["images"]}
    categories = {category["id"]: category for category in document["categories"]}
    for image in document["images"]:
        # Found below data_path by its name, normalized; width and height are taken for granted.
        assert os.path.normpath(image["file_name"]) == image["file_name"] and not os.path.isabs(image["file_name"])
        assert image["width"] > 0 and image["height"] > 0
    for annotation in document["annotations"]:
        assert annotation["image_id"] in ids and annotation["category_id"] in categories
        assert len(annotation["bbox"]) == 4 and annotation["iscrowd"] == 0
        assert 0 <= annotation["score"] <= 1  # becomes its confidence
    assert all({"name", "supercategory"} <= set(category) for category in categories.values())


def test_fiftyone_reads_it_where_it_is_installed(album, known, tmp_path):
    importers = pytest.importorskip("fiftyone.utils.coco")
    export(album, "--format", "coco", "--out", tmp_path / "a.json")
    read = importers.COCODetectionDatasetImporter(
        data_path=str(album.photos), labels_path=str(tmp_path / "a.json"), include_id=True
    )
    with read:
        found = {path: labels for path, _, labels in read}
    assert set(found) == {str(album.photos / name) for name in ("1.jpg", "2.jpg", "sub/3.jpg")}
    assert sum(len(labels["detections"].detections) for labels in found.values()) == len(known)


# -- the other formats


def test_visual_genome_is_read_back_by_training(album, known, tmp_path):
    export(album, "--format", "visual-genome", "--out", tmp_path / "vg")
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = {photo_row.photo_id: photo_row for photo_row, *_ in known.values()}
    for photo_id, row in rows.items():
        (photos / f"{photo_id}.jpg").symlink_to(row.path)
    images = load_annotations(photos, tmp_path / "vg")
    told = {
        (image.image_id, tuple(np.round(b, 1).tolist()), phrase)
        for image in images
        for b, phrases in zip(image.boxes, image.phrases, strict=True)
        for phrase in phrases
    }
    expected = {
        (row.photo_id, tuple(np.round(np.float32(row.box), 1).tolist()), row.phrase)
        for _, row, *_ in known.values()
        if row.phrase and min(row.box[2] - row.box[0], row.box[3] - row.box[1]) >= 1.1
    }
    assert expected and {key[::2] for key in expected} <= {key[::2] for key in told}
    assert len(told) >= 0.95 * len(expected)
    (first,) = [image for image in images if rows[image.image_id].path.name == "1.jpg"]
    assert (first.width, first.height) == (120, 80)


@pytest.mark.parametrize("features", [False, True])
def test_lines_hold_everything(album, known, features):
    out = export(album, "--format", "jsonl", *(["--features"] if features else []))
    lines = [json.loads(line) for line in out.splitlines()]
    assert sorted(line["file_name"] for line in lines) == ["1.jpg", "2.jpg", "sub/3.jpg"]
    regions = {region["region_id"]: region for line in lines for region in line["regions"]}
    assert set(regions) == set(known)
    for region_id, region in regions.items():
        _, row, code, embedding = known[region_id]
        assert region["box"] == box(row) and region["phrase"] == row.phrase
        if features:
            assert region["code"] == code.astype(float).tolist()
            np.testing.assert_allclose(region["embedding"], embedding, atol=1e-6)
        else:
            assert set(region) == {"region_id", "box", "score", "phrase"}
    for line in lines:
        scores = [region["score"] for region in line["regions"]]
        assert scores == sorted(scores, reverse=True)


def test_coco_holds_features_if_they_are_asked_for(album, known):
    plain, full = (json.loads(export(album, "--format", "coco", *more)) for more in ([], ["--features"]))
    assert {annotation["id"] for annotation in full["annotations"]} == set(known)
    for annotation, without in zip(full["annotations"], plain["annotations"], strict=True):
        _, _, code, embedding = known[annotation["id"]]
        assert annotation.pop("code") == code.astype(float).tolist()
        np.testing.assert_allclose(annotation.pop("embedding"), embedding, atol=1e-6)
        assert annotation == without


def test_csv_and_lines_say_the_same_of_a_photograph(album, known):
    rows = list(csv.DictReader(io.StringIO(export(album, "--format", "csv").decode())))
    by_id = {row.photo_id: row for row, *_ in known.values()}
    for line in map(json.loads, export(album, "--format", "jsonl").splitlines()):
        photo = by_id[line["photo_id"]]
        told = (photo.photo_id, str(photo.path), photo.width, photo.height, photo.digest)
        assert (line["photo_id"], line["path"], line["width"], line["height"], line["sha256"]) == told
        names = ("photo_id", "path", "file_name", "width", "height", "sha256")
        of_photo = {tuple(row[name] for name in names) for row in rows if row["photo_id"] == str(photo.photo_id)}
        assert of_photo == {tuple(str(line[name]) for name in names)}


def test_csv_has_a_line_a_region(album, known):
    rows = list(csv.DictReader(io.StringIO(export(album, "--format", "csv").decode())))
    assert len(rows) == len(known)
    for row in rows:
        photo_row, region, *_ = known[int(row["region_id"])]
        assert row["path"] == str(photo_row.path) and row["phrase"] == region.phrase
        assert [float(row[name]) for name in ("x", "y", "region_width", "region_height")] == box(region)


def test_parquet_is_typed_and_holds_the_vectors(album, known, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    export(album, "--format", "parquet", "--features", "--out", tmp_path / "a.parquet")
    rows = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert {row["region_id"] for row in rows} == set(known)
    for row in rows:
        photo_row, region, code, embedding = known[row["region_id"]]
        assert row["path"] == str(photo_row.path)
        assert np.array_equal(np.array(row["code"], np.float16), code)
        assert np.array_equal(np.array(row["embedding"], np.float32), embedding)
        assert [row[name] for name in ("x", "y", "region_width", "region_height")] == box(region)
    (first, *_) = [row for row in rows if row["file_name"] == "1.jpg"]
    assert first["taken"].isoformat() == "2019-06-23T14:05:06" and first["latitude"] == pytest.approx(-33.5)
    out = export(album, "--format", "parquet")
    assert parquet.read_table(io.BytesIO(out)).num_rows == len(known)


def test_parquet_without_pyarrow_is_one_sentence(album, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    arguments = [
        "export",
        "--collection",
        str(album.collection),
        "--format",
        "parquet",
        "--out",
        str(tmp_path / "a.parquet"),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "`pip install pyarrow`" in result.stderr
    assert list(tmp_path.iterdir()) == []


# -- names, and where it is written


@pytest.fixture
def odd(tmp_path):
    """A collection of two roots and of names that are no text."""
    names = ["line\nbreak \udcff.jpg", 'comma, "quote".jpg']
    with create(tmp_path / "odd") as collection:
        for root, name in zip(("a", "b"), names, strict=True):
            (tmp_path / root).mkdir()
            collection.commit(new=[photo(collection.add_root(tmp_path / root), name)])
    return tmp_path / "odd", [f"{tmp_path}/a/{names[0]}", f"{tmp_path}/b/{names[1]}"]


def test_names_of_any_bytes_come_back(odd):
    location, paths = odd

    def run(form):
        result = CliRunner().invoke(main, ["export", "--collection", str(location), "--format", form])
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    assert [json.loads(line)["path"] for line in run("jsonl").splitlines()] == paths
    # Of several roots, names relative to each could be the same.
    assert [image["file_name"] for image in json.loads(run("coco"))["images"]] == paths
    rows = list(csv.DictReader(io.StringIO(run("csv").decode(), newline="")))
    assert {row["path"] for row in rows} == {paths[0].replace("\udcff", "\\xff"), paths[1]}


def test_an_empty_collection_is_a_whole_document(tmp_path):
    with create(tmp_path / "empty"):
        pass
    for form in ("coco", "jsonl", "csv"):
        result = CliRunner().invoke(main, ["export", "--collection", str(tmp_path / "empty"), "--format", form])
        assert result.exit_code == 0
        if form == "coco":
            assert json.loads(result.stdout)["images"] == []
    arguments = [
        "export",
        "--collection",
        str(tmp_path / "empty"),
        "--format",
        "visual-genome",
        "--out",
        str(tmp_path / "v"),
    ]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert json.loads((tmp_path / "v" / "image_data.json").read_text()) == []
    assert json.loads((tmp_path / "v" / "region_descriptions.json").read_text()) == []


def test_an_earlier_export_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("before")
    with pytest.raises(RuntimeError), OutputFile(target) as file:
        file.write(b"half")
        raise RuntimeError("killed")
    assert target.read_text() == "before"
    with OutputFile(target) as file:
        file.write(b"after")
        assert target.read_text() == "before"
    assert target.read_text() == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    with pytest.raises(ExportError, match=r"cannot be written to .*a\.json: No space left"), OutputFile(target) as file:
        raise OSError(28, "No space left on device")  # as what writes into `file` itself has it
    assert target.read_text() == "after"
    with pytest.raises(ExportError, match=r"there is no folder .*no\."):
        OutputFile(tmp_path / "no" / "a.json")


@pytest.mark.skipif(os.name == "nt", reason="modes and links are others there")
def test_a_link_and_who_may_read_stay(tmp_path):
    kept = tmp_path / "kept.csv"
    kept.write_text("before")
    kept.chmod(0o600)
    (tmp_path / "link.csv").symlink_to(kept)
    with OutputFile(tmp_path / "link.csv") as file:
        file.write(b"after")
        (part,) = {path.name for path in tmp_path.iterdir()} - {"kept.csv", "link.csv"}
        assert (tmp_path / part).stat().st_mode & 0o777 == 0o600  # nobody else reads it meanwhile
    assert (tmp_path / "link.csv").is_symlink() and kept.read_text() == "after"
    assert kept.stat().st_mode & 0o777 == 0o600


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    target = tmp_path / ("a" * 250 + ".json")
    with OutputFile(target) as file, OutputFile(tmp_path / ("b" * 250 + ".json")) as other:
        file.write(b"a")
        other.write(b"b")
    assert target.read_text() == "a" and len(os.listdir(tmp_path)) == 2


def test_visual_genome_appears_with_both_files_or_not_at_all(album, tmp_path, monkeypatch):
    synced = []

    def full(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    arguments = ["export", "--collection", str(album.collection), "--format", "visual-genome"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "v")])
    assert result.exit_code == 2 and "No space left" in result.stderr
    assert os.listdir(tmp_path / "v") == []


def test_visual_genome_tells_which_regions_it_writes(tmp_path):
    with create(tmp_path / "c") as collection:
        collection.add_root(tmp_path / "photos")
        collection.commit(new=[replace(photo(1, "a.jpg", count=3), phrases=["a dog", "", "a cat"])])
    arguments = [
        "export",
        "--collection",
        str(tmp_path / "c"),
        "--format",
        "visual-genome",
        "--out",
        str(tmp_path / "v"),
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.stderr.endswith(f"Wrote 1 photographs, 2 regions (1 without words are left out): {tmp_path / 'v'}\n")
    (entry,) = json.loads((tmp_path / "v" / "region_descriptions.json").read_text())
    assert [region["phrase"] for region in entry["regions"]] == ["a dog", "a cat"]


def test_what_is_in_the_database_is_exported_though_features_are_damaged(tmp_path):
    with create(tmp_path / "c") as collection:
        collection.add_root(tmp_path / "photos")
        collection.commit(new=[photo(1, "a.jpg", count=3)])
    (segment,) = (tmp_path / "c" / "features").iterdir()
    whole = segment.read_bytes()
    segment.chmod(0o600)
    segment.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    arguments = ["export", "--collection", str(tmp_path / "c"), "--format", "jsonl"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and len(json.loads(result.stdout)["regions"]) == 3
    assert CliRunner().invoke(main, [*arguments, "--features"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "coco", "--out", "photo.jpg"], "ends in .json, not as photo.jpg"),
        (["--format", "coco", "--out", "."], "is a folder: name a file in it, regions.json"),
        (["--format", "csv", "--features"], "csv has no place for --features"),
        (["--format", "visual-genome"], "--out FOLDER"),
        (["--format", "coco", "--out", "no/a.json"], "The export cannot be written: there is no folder no."),
        ([], "Missing option '--format'"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(album, arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["export", "--collection", str(album.collection), *arguments])
    assert result.exit_code == 2 and sentence in result.stderr, result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_read_enough_ends_it_quietly(album):
    command = [sys.executable, "-m", "indexer", "export", "--format", "jsonl", "--collection", str(album.collection)]
    with subprocess.Popen(
        [*command, "--features"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)
