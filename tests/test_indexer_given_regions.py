"""`indexer build --regions`: boxes that somebody has already."""

import json
import shutil
import sys
import unicodedata

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from db.collection import open_collection
from decoding.photos import OpenedPhoto
from fcln.predictor import Predictor
from helpers.small_album import write_noise
from indexer.build.given_regions import GivenBoxes, read_regions
from indexer.cli import main
from indexer.errors import RegionsError
from scripts.torture.tiny_checkpoint import write_tiny_checkpoint
from search.example import find_example
from search.file_description import describe_from_collection


def coco(*images, categories=("person", "dog")):
    """A document. images: (file_name, size or None, [(bbox, category index or None, caption or None)])."""
    document = {"images": [], "annotations": [], "categories": []}
    document["categories"] = [{"id": 10 + i, "name": name} for i, name in enumerate(categories)]
    for number, (name, size, regions) in enumerate(images, 1):
        image = {"id": number, "file_name": name}
        document["images"].append(image | ({"width": size[0], "height": size[1]} if size else {}))
        for box, category, caption in regions:
            annotation = {"id": len(document["annotations"]) + 1, "image_id": number, "bbox": box}
            annotation |= {} if category is None else {"category_id": 10 + category}
            document["annotations"].append(annotation | ({"caption": caption} if caption else {}))
    return document


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    write_noise(folder / "1.jpg", 1)
    write_noise(folder / "sub" / "2.jpg", 2)
    write_noise(folder / "3.jpg", 3)
    return folder


@pytest.fixture
def build(tmp_path, tiny_checkpoint, photos):
    """Run `indexer build` with a document of given regions, or without."""

    def run(document=None, *options, code=0):
        arguments = ["build", str(photos), "--collection", str(tmp_path / "c"), "--weights", str(tiny_checkpoint)]
        if document is not None:
            (tmp_path / "r.json").write_text(json.dumps(document))
            arguments += ["--regions", str(tmp_path / "r.json")]
        result = CliRunner().invoke(main, [*arguments, "--device", "cpu", *options])
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def regions_of(tmp_path):
    """path below the photographs -> rows of its regions, its features."""
    with open_collection(tmp_path / "c") as collection:
        found = {}
        for photo in collection.photos(collection.photo_ids()):
            features = collection.features([photo.photo_id])
            name = photo.path.relative_to(tmp_path / "photos").as_posix()
            found[name] = (collection.regions(features.region_ids), features)
        return found


def boxes_of(rows):
    return [list(row.box) for row in rows]


def test_exactly_these_boxes_are_described_with_their_phrases(build, tmp_path, photos, tiny_predictor):
    given = [([10, 20, 30, 40], 1, "a brown dog"), ([0, 0, 60, 80], 0, None), ([50.5, 10, 20.25, 30], None, None)]
    result = build(coco(("1.jpg", (120, 80), given), ("sub/2.jpg", None, [([5, 5, 50, 50], 1, None)])))
    assert "1 photographs are not in" in result.stderr  # 3.jpg
    assert "1 have no given regions and stay as they are" in result.stdout
    found = regions_of(tmp_path)
    assert set(found) == {"1.jpg", "sub/2.jpg"}
    rows, features = found["1.jpg"]
    assert boxes_of(rows) == [[10, 20, 40, 60], [0, 0, 60, 80], [50.5, 10, 70.75, 40]]
    with open(photos / "1.jpg", "rb") as file:
        decoded = OpenedPhoto(file).decode()
    expected = tiny_predictor.describe_boxes(decoded.image, np.array(boxes_of(rows)))
    assert [row.phrase for row in rows] == ["a brown dog", "person", expected.phrases[2]]
    np.testing.assert_allclose([row.score for row in rows], expected.scores, atol=1e-4)
    np.testing.assert_allclose(features.embeddings, expected.embeddings, atol=2e-3)
    np.testing.assert_allclose(features.codes, expected.codes, atol=2e-2)
    assert [row.phrase for row in found["sub/2.jpg"][0]] == ["dog"]


def test_what_the_network_found_gives_way_and_the_rest_stays(build, tmp_path):
    build()
    before = regions_of(tmp_path)
    result = build(coco(("1.jpg", None, [([10, 20, 30, 40], 1, None)])))
    assert "0 new, 1 changed, 0 moved, 0 gone, 2 unchanged" in result.stdout
    now = regions_of(tmp_path)
    assert boxes_of(now["1.jpg"][0]) == [[10, 20, 40, 60]]
    for name in ("3.jpg", "sub/2.jpg"):
        assert now[name][0] == before[name][0]


def test_the_same_file_again_does_nothing_and_another_one_does(build, tmp_path):
    document = coco(("1.jpg", (120, 80), [([10, 20, 30, 40], 1, None)]), ("3.jpg", None, [([1, 1, 9, 9], 0, None)]))
    build(document)
    again = build(document)
    assert "0 new, 0 changed, 0 moved, 0 gone, 2 unchanged" in again.stdout
    document["annotations"][0]["caption"] = "my dog"
    assert "0 new, 1 changed, 0 moved, 0 gone, 1 unchanged" in build(document).stdout
    assert regions_of(tmp_path)["1.jpg"][0][0].phrase == "my dog"
    # A build without the file leaves them as they were given, and describes the third photograph.
    plain = build()
    assert "1 new, 0 changed" in plain.stdout
    assert len(regions_of(tmp_path)["1.jpg"][0]) == 1


def test_copies_have_each_their_own_regions(build, tmp_path, photos):
    shutil.copy(photos / "1.jpg", photos / "copy.jpg")
    document = coco(("1.jpg", None, [([10, 20, 30, 40], 1, None)]), ("copy.jpg", None, [([1, 2, 30, 40], 0, None)]))
    build(document)
    found = regions_of(tmp_path)
    assert boxes_of(found["1.jpg"][0]) == [[10, 20, 40, 60]]
    assert boxes_of(found["copy.jpg"][0]) == [[1, 2, 31, 42]]


def test_boxes_are_of_the_upright_photograph_in_any_size(build, tmp_path, photos):
    """Drawn in a frame of half the size; the file is stored on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    write_noise(photos / "turned.jpg", 9, (120, 80), exif=exif)  # upright 80 x 120
    result = build(
        coco(
            ("turned.jpg", (40, 60), [([10, 20, 15, 30], 1, None)]),
            ("1.jpg", (80, 120), [([1, 1, 20, 20], 1, None)]),
        )
    )
    assert boxes_of(regions_of(tmp_path)["turned.jpg"][0]) == [[20, 40, 50, 100]]
    assert "the photograph is 120x80 upright, its regions were drawn in 80x120; left as it is" in result.stderr
    assert "1.jpg" not in regions_of(tmp_path)


def test_an_export_can_be_given_back(build, tmp_path):
    build()
    before = regions_of(tmp_path)
    export = ["export", "--format", "coco", "--collection", str(tmp_path / "c"), "--out", str(tmp_path / "e.json")]
    assert CliRunner().invoke(main, export).exit_code == 0
    shutil.rmtree(tmp_path / "c")
    build(json.loads((tmp_path / "e.json").read_text()))
    now = regions_of(tmp_path)
    assert set(now) == set(before)
    for name, (rows, _) in now.items():
        order = sorted(before[name][0], key=lambda row: -row.score)
        kept = [row for row in order if min(row.box[2] - row.box[0], row.box[3] - row.box[1]) >= 1.02]
        assert len(rows) >= len(kept)
        by_box = {tuple(round(side) for side in row.box): row.phrase for row in rows}
        assert all(by_box.get(tuple(round(s) for s in row.box), row.phrase) == row.phrase for row in kept if row.phrase)


def test_verify_does_not_take_given_boxes_for_drift(build, tmp_path, tiny_checkpoint):
    build(coco(("1.jpg", None, [([10, 20, 30, 40], 1, None)])))
    options = ["--collection", str(tmp_path / "c"), "--weights", str(tiny_checkpoint), "--device", "cpu", "--deep"]
    result = CliRunner().invoke(main, ["verify", *options])
    assert result.exit_code == 0, result.output
    assert "All holds." in result.stdout


def test_what_is_not_there_and_what_has_no_box_is_told(build):
    document = coco(("1.jpg", None, [([10, 20, 30, 40], 1, None)]), ("gone.jpg", None, [([1, 1, 9, 9], 0, None)]))
    document["annotations"].append({"id": 99, "image_id": 1, "caption": "words only"})
    result = build(document)
    assert "has regions of photographs that are not there: gone.jpg" in result.stderr
    assert "1 annotations of" in result.stderr and "have no box" in result.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "There is no file"),
        ("not json", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        (
            '{"images": [{"id": 1, "file_name": "a", "width": Infinity, "height": 2}], '
            '"annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            r"\(an image of infx2\)",
        ),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [%s, 2, 3, 4]}]}'
            % ("9" * 400),
            "not in COCO's format",
        ),
        ("[1, 2]", r"is not in COCO's format \(a part of it has another form\): it has"),
        ('{"images": []}', r"is not in COCO's format \('annotations' is missing\)"),
        ('{"images": [], "annotations": []}', "has no box of any photograph"),
        (
            '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [1, 2]}]}',
            r"not in COCO's format \(a bbox of \[1, 2\]\)",
        ),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "bbox": [1, 2, NaN, 3]}]}', "bbox"),
        (
            '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": [1, 2, 3, 4]}]}',
            r"\('file_name' is missing\)",
        ),
    ],
)
def test_a_file_that_is_not_in_the_format_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "a.json").write_text(text)
    with pytest.raises(RegionsError, match=sentence):
        read_regions(tmp_path / "a.json")


def test_a_broken_file_leaves_no_collection(build, tmp_path):
    result = build({"images": []}, code=2)
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert not (tmp_path / "c").exists()
    assert "give one of them" in build(coco(), "--redescribe", code=2).stderr


@pytest.mark.parametrize("before", [False, True], ids=["first build", "known collection"])
def test_regions_of_no_photograph_here_are_an_error_and_change_nothing(build, tmp_path, before):
    if before:
        build()
    state = regions_of(tmp_path) if before else None
    result = build(coco(("other/1.jpg", None, [([10, 20, 30, 40], 1, None)])), code=2)
    assert "has regions of no photograph in" in result.stderr and "such as other/1.jpg" in result.stderr
    if state is None:
        assert not (tmp_path / "c").exists()
    else:
        assert {name: rows for name, (rows, _) in regions_of(tmp_path).items()} == {n: r for n, (r, _) in state.items()}


def test_names_with_umlauts_of_one_letter_or_two(build, tmp_path, photos):
    (photos / "1.jpg").rename(photos / "u\u0308ber.jpg")
    build(coco(("\u00fcber.jpg", None, [([10, 20, 30, 40], 1, None)])))
    assert boxes_of(regions_of(tmp_path)["u\u0308ber.jpg"][0]) == [[10, 20, 40, 60]]


def test_boxes_are_cut_at_the_border():
    given = GivenBoxes(np.array([[-10, -10, 20, 20], [90, 70, 300, 300], [200, 10, 210, 20.0]]), ["a", "b", "c"], None)
    boxes, phrases = given.fitted(100, 80)
    assert boxes.tolist() == [[0, 0, 20, 20], [90, 70, 100, 80]] and phrases == ["a", "b"]
    with pytest.raises(RegionsError, match="none of its regions"):
        GivenBoxes(np.array([[200, 10, 210, 20.0]]), ["c"], None).fitted(100, 80)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_boxes_of_a_photograph_and_of_its_image_are_each_others(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    write_noise(tmp_path / "large.jpg", 5, (4001, 3003), exif=exif)
    with open(tmp_path / "large.jpg", "rb") as file:
        photo = OpenedPhoto(file).decode()
    assert photo.scale > 1
    boxes = np.array([[0, 0, photo.width, photo.height], [100, 200, 1500, 900], [5, 5, 9, 9]], np.float64)
    image = photo.image_boxes(boxes)
    assert (image >= 0).all() and (image[:, 2:] > image[:, :2]).all()
    assert (image[:, [0, 2]] <= photo.image.width).all() and (image[:, [1, 3]] <= photo.image.height).all()
    np.testing.assert_allclose(photo.full_boxes(image), boxes, atol=1.01)
    sliver = photo.image_boxes(np.array([[photo.width - 0.5, 0, photo.width, 0.5]]))
    assert (sliver[:, 2:] > sliver[:, :2]).all()


@pytest.mark.skipif(sys.platform == "darwin", reason="both names are one file there")
def test_names_that_are_written_nearly_alike_keep_their_own_boxes(build, tmp_path, photos):
    one, other = (unicodedata.normalize(form, "\u00fc.jpg") for form in ("NFC", "NFD"))
    write_noise(photos / one, 4)
    write_noise(photos / other, 5)
    write_noise(photos / "x\\y.jpg", 6)
    write_noise(photos / "x" / "y.jpg", 7)
    names = [other, one, "x\\y.jpg", "x/y.jpg"]
    build(coco(*((name, None, [([n, 0, 50, 50], None, name)]) for n, name in enumerate(names))))
    for n, name in enumerate(names):
        assert boxes_of(regions_of(tmp_path)[name][0]) == [[n, 0, n + 50, 50]]


def test_a_name_may_be_written_as_another_system_writes_it(build, tmp_path, photos):
    write_noise(photos / "\u00fc.jpg", 4)
    decomposed = unicodedata.normalize("NFD", "\u00fc.jpg")
    box = [([1, 2, 30, 40], 1, None)]
    build(coco((decomposed, None, box), ("sub\\2.jpg", None, box), ("./1.jpg", None, box)))
    assert sorted(regions_of(tmp_path)) == ["1.jpg", "sub/2.jpg", "\u00fc.jpg"]


def test_a_photograph_that_is_listed_twice_has_both_boxes(build, tmp_path):
    both = [("1.jpg", (120, 80), [([1, 2, 30, 40], 1, None)]), ("1.jpg", (120, 80), [([5, 6, 70, 20], 0, "a man")])]
    build(coco(*both))
    rows, _ = regions_of(tmp_path)["1.jpg"]
    assert boxes_of(rows) == [[1, 2, 31, 42], [5, 6, 75, 26]]
    assert [row.phrase for row in rows] == ["dog", "a man"]
    result = build(coco(both[0], ("1.jpg", (60, 40), both[1][2])), code=2)
    assert "two images 1.jpg of different sizes" in result.stderr


def test_a_name_that_is_in_two_folders_is_refused(tmp_path, tiny_checkpoint):
    for folder in ("a", "b"):
        write_noise(tmp_path / folder / "1.jpg", 1)
    (tmp_path / "r.json").write_text(json.dumps(coco(("1.jpg", None, [([1, 2, 30, 40], 1, None)]))))
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    arguments = ["--collection", str(tmp_path / "c"), "--weights", str(tiny_checkpoint), "--device", "cpu"]
    arguments += ["--regions", str(tmp_path / "r.json")]
    result = CliRunner().invoke(main, ["build", *folders, *arguments])
    assert result.exit_code == 2 and "has regions of 1.jpg, which several photographs may be" in result.stderr
    absolute = [(str(tmp_path / folder / "1.jpg"), None, [([1, 2, 30, 40], 1, folder)]) for folder in ("a", "b")]
    (tmp_path / "r.json").write_text(json.dumps(coco(*absolute)))
    assert CliRunner().invoke(main, ["build", *folders, *arguments]).exit_code == 0
    with open_collection(tmp_path / "c") as collection:
        named = {row.path.parent.name: row.photo_id for row in collection.photos(collection.photo_ids())}
        assert [collection.regions_of([named[folder]])[0][0].phrase for folder in ("a", "b")] == ["a", "b"]
        # The files are one content: what is asked for is the photograph of this path.
        for folder in ("a", "b"):
            path = tmp_path / folder / "1.jpg"
            described = describe_from_collection(collection, path)
            assert described is not None and (described.photo_id, described.phrases) == (named[folder], [folder])
            assert find_example(collection, pytest.fail, path=path).phrases == [folder]
        (tmp_path / "elsewhere").mkdir()
        shutil.copy(tmp_path / "a" / "1.jpg", tmp_path / "elsewhere" / "1.jpg")
        described = describe_from_collection(collection, tmp_path / "elsewhere" / "1.jpg")
        assert described is not None and described.phrases == ["a"]


def test_frames_may_be_of_any_unit():
    given = GivenBoxes(np.array([[0.25, 0.25, 0.75, 0.5]]), [""], (1.0, 0.5))
    assert given.fitted(400, 200)[0].tolist() == [[100, 100, 300, 200]]


def test_what_becomes_of_given_regions_without_their_file_is_told(build, tmp_path, photos):
    build(coco(("1.jpg", None, [([10, 20, 30, 40], 1, None)])))
    assert "given regions" not in build().stdout  # 3.jpg and sub/2.jpg are new, 1.jpg did not change
    with open(photos / "1.jpg", "ab") as file:
        file.write(b"more")
    with open(photos / "3.jpg", "ab") as file:
        file.write(b"more")
    told = "1 changed that had given regions, and have the network's now (`indexer build FOLDER --regions FILE "
    assert told in build().stdout
    assert len(regions_of(tmp_path)["1.jpg"][0]) > 1


def test_other_weights_describe_the_same_given_boxes(build, tmp_path, photos):
    shutil.copy(photos / "1.jpg", photos / "copy.jpg")
    given = coco(
        ("1.jpg", None, [([10, 20, 30, 40], 1, "my dog"), ([50.5, 10, 20.25, 30], None, "a lamp")]),
        ("copy.jpg", None, [([10, 20, 30, 40], 1, "my dog"), ([50.5, 10, 20.25, 30], None, "a lamp")]),
    )
    build(given)
    build()
    before = regions_of(tmp_path)
    other = tmp_path / "other.safetensors"
    write_tiny_checkpoint(other, seed=1)
    arguments = ["build", "--redescribe", "--collection", str(tmp_path / "c"), "--weights", str(other)]
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    now = regions_of(tmp_path)
    predictor = Predictor.load(other, device="cpu")
    for name in ("1.jpg", "copy.jpg"):
        rows, features = now[name]
        assert boxes_of(rows) == boxes_of(before[name][0]) == [[10, 20, 40, 60], [50.5, 10, 70.75, 40]]
        assert [row.phrase for row in rows] == ["my dog", "a lamp"]
        with open(photos / name, "rb") as file:
            expected = predictor.describe_boxes(OpenedPhoto(file).decode().image, np.array(boxes_of(rows)))
        np.testing.assert_allclose(features.embeddings, expected.embeddings, atol=2e-3)
    assert boxes_of(now["3.jpg"][0]) != boxes_of(before["3.jpg"][0])  # which other weights find elsewhere
