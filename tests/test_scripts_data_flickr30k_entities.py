"""The converter, on a handmade image and, where the sample is at hand, on a hundred official files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fcln.training.annotations import load_annotations
from helpers.data_set import DATA_SET
from scripts.data.flickr30k_entities import main, read_boxes, read_sentences

ANNOTATION = """<annotation>
  <filename>7.jpg</filename>
  <size><width>100</width><height>50</height><depth>3</depth></size>
  <object><name>3</name><bndbox><xmin>11</xmin><ymin>1</ymin><xmax>30</xmax><ymax>50</ymax></bndbox></object>
  <object>
    <name>2</name><name>3</name>
    <bndbox><xmin>1</xmin><ymin>21</ymin><xmax>100</xmax><ymax>40</ymax></bndbox>
  </object>
  <object><name>5</name><scene>1</scene><nobndbox>1</nobndbox></object>
</annotation>"""
SENTENCES = (
    "[/EN#3/people Two men] with [/EN#2/other/vehicles a café 's cart] in [/EN#5/scene a street] .\n"
    "[/EN#3/people They] push [/EN#0/notvisual it] past [/EN#9/other a wall]\n"
)


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    folder = tmp_path / "entities"
    for name, text in {"Annotations/7.xml": ANNOTATION, "Sentences/7.txt": SENTENCES}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def convert(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_boxes_count_from_zero_and_a_box_of_several_chains_belongs_to_each(entities: Path) -> None:
    # xmin 11, xmax 30 inclusive from 1: pixels 10 to 29 from 0, 20 of them.
    assert read_boxes(entities / "Annotations" / "7.xml") == (
        100,
        50,
        [(3, (10, 0, 20, 50)), (3, (0, 20, 100, 20)), (2, (0, 20, 100, 20))],
    )


def test_sentences_lose_their_marks_and_give_the_visible_phrases(entities: Path) -> None:
    captions, phrases = read_sentences(entities / "Sentences" / "7.txt")
    assert captions == ["Two men with a café 's cart in a street .", "They push it past a wall"]
    assert phrases == [(3, "Two men"), (2, "a café 's cart"), (5, "a street"), (3, "They"), (9, "a wall")]


def test_a_chain_repeats_each_phrase_for_each_of_its_boxes(entities: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "1 images, 5 regions" in convert("--entities", entities, "--out", out)
    men, both = {"x": 10, "y": 0, "width": 20, "height": 50}, {"x": 0, "y": 20, "width": 100, "height": 20}
    expected = [
        {**men, "phrase": "Two men", "chain": 3},
        {**men, "phrase": "They", "chain": 3},
        {**both, "phrase": "Two men", "chain": 3},
        {**both, "phrase": "They", "chain": 3},
        {**both, "phrase": "a café 's cart", "chain": 2},
    ]
    assert read(out / "region_descriptions.json") == [
        {"id": 7, "regions": [{"image_id": 7, "region_id": n, **region} for n, region in enumerate(expected, 1)]}
    ]
    image = {"image_id": 7, "width": 100, "height": 50, "url": None, "coco_id": None, "flickr_id": 7}
    assert read(out / "image_data.json") == [image]
    assert read(out / "captions.json") == [
        {"image_id": 7, "captions": ["Two men with a café 's cart in a street .", "They push it past a wall"]}
    ]


def test_training_reads_what_is_written(entities: Path, tmp_path: Path) -> None:
    convert("--entities", entities, "--out", tmp_path / "out")
    (tmp_path / "7.jpg").touch()
    (photo,) = load_annotations(tmp_path, tmp_path / "out")
    assert photo.boxes.tolist() == [[10, 0, 30, 50], [0, 20, 100, 40]]
    assert photo.phrases == (("Two men", "They"), ("Two men", "They", "a café 's cart"))
    assert photo.captions[1] == "They push it past a wall"


def test_only_the_images_asked_for(entities: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("8\n9\n")
    result = CliRunner().invoke(main, ["--entities", str(entities), "--out", str(tmp_path / "o"), "--ids", str(ids)])
    assert result.exit_code == 1 and "none of the .xml files that are wanted" in result.output
    ids.write_text("8\n7\n")
    assert "1 images" in convert("--entities", entities, "--out", tmp_path / "o", "--ids", ids)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("Annotations/7.xml", "<annotation>", "7.xml is not an annotation of Flickr30k Entities"),
        ("Annotations/7.xml", ANNOTATION.replace("<ymin>1</ymin>", ""), "no ymin"),
        ("Annotations/7.xml", ANNOTATION.replace("<xmax>30</xmax>", "<xmax>wide</xmax>"), "'wide'"),
        ("Sentences/7.txt", None, "7.txt cannot be read"),
    ],
)
def test_a_broken_file_is_named(entities: Path, tmp_path: Path, name: str, text: str | None, sentence: str) -> None:
    (entities / name).unlink()
    if text is not None:
        (entities / name).write_text(text)
    result = CliRunner().invoke(main, ["--entities", str(entities), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and sentence in result.output


@pytest.mark.skipif(DATA_SET is None, reason="the sample of official files is not at hand")
def test_a_hundred_official_files_give_the_regions_of_the_prepared_data(tmp_path: Path) -> None:
    convert("--entities", DATA_SET / "flickr30k_entities_sample", "--out", tmp_path)
    ours = {entry["id"]: entry["regions"] for entry in read(tmp_path / "region_descriptions.json")}
    theirs = {entry["id"]: entry["regions"] for entry in read(DATA_SET / "train" / "region_descriptions.json")}
    assert len(ours) == 100
    for image_id, regions in ours.items():
        # Theirs are numbered through all 6,091 images.
        assert [{**r, "region_id": 0} for r in regions] == [{**r, "region_id": 0} for r in theirs[image_id]]
    sizes = {e["image_id"]: (e["width"], e["height"]) for e in read(DATA_SET / "train" / "image_data.json")}
    assert all(sizes[e["image_id"]] == (e["width"], e["height"]) for e in read(tmp_path / "image_data.json"))
