"""The paper's filters and splits, on handmade files in the old and the new names of Visual Genome's keys."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fcln.errors import DatasetError
from fcln.training.annotations import load_annotations
from scripts.data.visual_genome import (
    Filters,
    cut_opener,
    filter_phrases,
    is_kept,
    read_splits,
    read_visual_genome,
    split_at_random,
)
from scripts.data.visual_genome import main as prepare
from scripts.data.visual_genome_format import AnnotatedImage


def image_of(*phrases: str, image_id: int = 1) -> AnnotatedImage:
    box = {"x": 1, "y": 2, "width": 30, "height": 40}
    regions = [{"region_id": n, **box, "phrase": phrase} for n, phrase in enumerate(phrases, 1)]
    return AnnotatedImage({"image_id": image_id, "width": 100, "height": 80}, regions)


def phrases_of(image: AnnotatedImage) -> list[str]:
    return [region["phrase"] for region in image.regions]


def publish(folder: Path, images: list[AnnotatedImage], *, old: bool = False) -> Path:
    """Write the two files as Visual Genome does, or as its version 1.0 did."""
    data = [{**image.data, "url": "http://there"} for image in images]
    regions = [{"id": i.image_id, "regions": [{**r, "image_id": i.image_id} for r in i.regions]} for i in images]
    if old:
        data = [{"id": entry.pop("image_id"), **entry} for entry in data]
        for entry in regions:
            entry["regions"] = [
                {"id": region.pop("region_id"), "image": region.pop("image_id"), **region}
                for region in entry["regions"]
            ]
    folder.mkdir()
    (folder / "image_data.json").write_text(json.dumps(data))
    (folder / "region_descriptions.json").write_text(json.dumps(regions))
    return folder


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("phrase", "cut"),
    [
        ("There is a dog", "a dog"),
        ("there are two dogs ", "two dogs"),
        ("this seems to be a red lamp", "a red lamp"),
        ("It appears to be night", "night"),
        ("There's a cat", "a cat"),
        ("this man is tall", "this man is tall"),
        ("the dog that is there", "the dog that is there"),
        ("there is no dog", "there is no dog"),
        ("thereis a dog", "thereis a dog"),
        ("there isn't a dog", "there isn't a dog"),
    ],
)
def test_openers_are_cut_off_and_nothing_else(phrase: str, cut: str) -> None:
    assert cut_opener(phrase) == cut


def test_length_is_counted_after_the_opener_is_cut() -> None:
    ten, eleven = " ".join("abcdefghij"), " ".join("abcdefghijk")
    image = image_of(f"there is {ten}", eleven, " ... ", "A dog, running")
    assert phrases_of(filter_phrases(image, Filters())) == [ten, "A dog, running"]
    assert phrases_of(filter_phrases(image, Filters(cut_openers=False))) == ["A dog, running"]
    assert phrases_of(filter_phrases(image, Filters(max_words=None))) == [ten, eleven, "A dog, running"]


@pytest.mark.parametrize(("count", "kept"), [(19, False), (20, True), (50, True), (51, False)])
def test_images_with_too_few_or_too_many_phrases_are_dropped(count: int, kept: bool) -> None:
    image = image_of(*["a dog"] * count)
    assert is_kept(image, Filters()) == kept
    assert is_kept(image, Filters(min_regions=None, max_regions=None))


@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_key_names_are_read_alike(tmp_path: Path, old: bool) -> None:
    images = read_visual_genome(publish(tmp_path / "vg", [image_of("a dog", image_id=5)], old=old))
    assert [(i.data, i.regions) for i in images] == [
        (
            {"image_id": 5, "width": 100, "height": 80, "url": "http://there"},
            [{"region_id": 1, "x": 1, "y": 2, "width": 30, "height": 40, "phrase": "a dog"}],
        )
    ]


def test_random_splits_are_the_same_for_a_seed_whatever_the_order() -> None:
    images = [image_of("a dog", image_id=n) for n in range(20)]
    parts = split_at_random(images, 3, 4, seed=1)
    ids = {name: [image.image_id for image in part] for name, part in parts.items()}
    assert {name: len(part) for name, part in ids.items()} == {"train": 13, "val": 3, "test": 4}
    assert sorted(i for part in ids.values() for i in part) == list(range(20))
    backwards = split_at_random(images[::-1], 3, 4, seed=1)
    assert {name: [i.image_id for i in part][::-1] for name, part in backwards.items()} == ids
    assert [i.image_id for i in split_at_random(images, 3, 4, seed=2)["val"]] != ids["val"]
    with pytest.raises(DatasetError, match="20 images are too few"):
        split_at_random(images, 10, 10, seed=1)


def test_the_command_filters_and_splits_by_the_authors_file(tmp_path: Path) -> None:
    images = [
        image_of(*["there is a dog"] * 20, image_id=1),
        image_of(*["a dog"] * 19, image_id=2),
        image_of(*["a cat"] * 25, image_id=3),
        image_of(*["a cow"] * 25, image_id=4),
        image_of(*["a fox"] * 20, " ".join("abcdefghijk"), image_id=6),
    ]
    vg = publish(tmp_path / "vg", images)
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps({"train": [1, 2, 99], "val": [3], "test": [6]}))
    command = ["--annotations", str(vg), "--out", str(tmp_path / "out"), "--splits", str(splits)]
    result = CliRunner().invoke(prepare, command)
    assert result.exit_code == 0, result.output
    assert "4 of 5 images and 90 of 110 regions pass the filters" in result.output

    kept = {name: read(tmp_path / "out" / name / "region_descriptions.json") for name in ("train", "val", "test")}
    assert {name: [entry["id"] for entry in part] for name, part in kept.items()} == {
        "train": [1], "val": [3], "test": [6],
    }  # fmt: skip
    assert len(kept["test"][0]["regions"]) == 20
    assert kept["train"][0]["regions"][0]["phrase"] == "a dog"

    (tmp_path / "1.jpg").touch()
    (photo,) = load_annotations(tmp_path, tmp_path / "out" / "train")
    assert photo.boxes.tolist() == [[1, 2, 31, 42]] and photo.phrases == (("a dog",) * 20,)


def test_the_command_without_filters_deals_at_random(tmp_path: Path) -> None:
    vg = publish(tmp_path / "vg", [image_of("there is a dog", image_id=n) for n in range(6)], old=True)
    command = (
        f"--annotations {vg} --out {tmp_path / 'out'} --keep-openers --max-words 0 --min-regions 0 --max-regions 0"
    )
    result = CliRunner().invoke(prepare, f"{command} --val-images 2 --test-images 1")
    assert result.exit_code == 0, result.output
    parts = {name: read(tmp_path / "out" / name / "region_descriptions.json") for name in ("train", "val", "test")}
    assert {name: len(part) for name, part in parts.items()} == {"train": 3, "val": 2, "test": 1}
    assert parts["val"][0]["regions"][0]["phrase"] == "there is a dog"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"train": [1], "val": [2]}, "does not list"),
        ({"train": [1], "val": [1], "test": []}, "in two splits"),
        ([1, 2], "does not list"),
    ],
)
def test_a_split_file_that_is_none_is_refused(tmp_path: Path, document: object, sentence: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=sentence):
        read_splits(path)


def test_files_of_another_format_are_refused(tmp_path: Path) -> None:
    vg = publish(tmp_path / "vg", [image_of("a dog")])
    (vg / "region_descriptions.json").write_text('[{"id": 1}]')
    with pytest.raises(DatasetError, match="lacks 'regions'"):
        read_visual_genome(vg)
    (vg / "region_descriptions.json").write_text("[")
    result = CliRunner().invoke(prepare, ["--annotations", str(vg), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1 and "not readable JSON" in result.output
