"""Reading photographs with region phrases, captions and names; parts of photographs."""

import numpy as np
import pytest
from PIL import Image

from fcln.errors import DatasetError
from fcln.training.annotations import WHOLE, cut, load_annotations, read_photo, read_pixels
from helpers.small_world import one_photo, region, write_json, write_photo


@pytest.fixture
def photos(tmp_path):
    for name in ("1", "2"):
        write_photo(tmp_path / "photos" / f"{name}.jpg", (60, 40), [((0, 0, 30, 40), "red")])
    return tmp_path / "photos"


@pytest.mark.parametrize("key", ["id", "image_id"])
def test_both_key_names_of_visual_genome(tmp_path, photos, key):
    annotations = write_json(
        tmp_path / "a",
        image_data=[{key: 1, "width": 60, "height": 40}],
        region_descriptions=[{key: 1, "regions": [region((1, 2, 10, 20), "a dog") | {"region_id": 5, "image_id": 1}]}],
    )
    (photo,) = load_annotations(photos, annotations)
    assert (photo.image_id, photo.path, photo.width, photo.height) == (1, photos / "1.jpg", 60, 40)
    assert photo.boxes.tolist() == [[1, 2, 11, 22]] and photo.boxes.dtype == np.float32
    assert photo.phrases == (("a dog",),) and photo.weak == (False,) and photo.captions == ()


def test_photographs_in_visual_genomes_two_folders(tmp_path):
    root = tmp_path / "vg"
    write_photo(root / "VG_100K" / "1.jpg", (20, 20), [])
    write_photo(root / "VG_100K_2" / "2.jpg", (20, 20), [])
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": i, "width": 20, "height": 20} for i in (2, 1, 3)],  # 3 has no file
        region_descriptions=[{"id": i, "regions": [region((1, 2, 10, 10), "a dog")]} for i in (1, 2, 3)],
    )
    paths = [photo.path for photo in load_annotations(root, annotations)]
    assert paths == [root / "VG_100K_2" / "2.jpg", root / "VG_100K" / "1.jpg"]  # in the order of image_data.json


def test_boxes_are_cut_merged_and_dropped(tmp_path, photos):
    regions = [
        region((-5, 10, 20, 100), "over three borders"),  # 0..15, 10..40
        region((10, 10, 5, 5), "one"),
        region((10, 10, 5, 5), "one again"),
        region((10, 10, 5, 5), "one"),
        region((70, 10, 5, 5), "beside the photograph"),
        region((10, 10, 0.5, 20), "half a pixel wide"),
    ]
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": 1, "width": 60, "height": 40}],
        region_descriptions=[{"id": 1, "regions": regions}],
    )
    (photo,) = load_annotations(photos, annotations)
    assert photo.boxes.tolist() == [[0, 10, 15, 40], [10, 10, 15, 15]]
    assert photo.phrases == (("over three borders",), ("one", "one again", "one"))


def test_captions_and_weak_labels(tmp_path, photos):
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": 1, "width": 60, "height": 40}, {"image_id": 2, "width": 60, "height": 40}],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 20, 20), "a dog")]}],
        captions=[{"image_id": 1, "captions": ["a dog runs"]}],
        objects=[
            {
                "image_id": 1,
                "objects": [
                    {"name": "dog", "score": 0.9, "x": 2, "y": 0, "width": 20, "height": 20},  # IoU 18/22 with a dog
                    {"name": "cat", "score": 0.9, "x": 12, "y": 0, "width": 20, "height": 20},  # 8/32
                ],
            },
            {"image_id": 2, "objects": [{"name": "cup", "score": 0.4, "x": 0, "y": 0, "width": 9, "height": 9}]},
        ],
    )
    (photo,) = load_annotations(photos, annotations)
    assert photo.captions == ("a dog runs",) and photo.phrases == (("a dog",),)
    first, second = load_annotations(photos, annotations, weak_labels=True)
    assert first.phrases == (("a dog",), ("cat",)) and first.weak == (False, True)
    assert first.boxes.tolist() == [[0, 0, 20, 20], [12, 0, 32, 20]]
    assert second.phrases == (("cup",),) and second.weak == (True,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("image_data", None, r"image_data\.json is missing"),
        ("region_descriptions", None, r"region_descriptions\.json is missing"),
        ("region_descriptions", "[{", r"region_descriptions\.json is not readable JSON"),
        ("region_descriptions", '[{"id": 1}]', r"region_descriptions\.json is not in .*'regions'"),
        ("image_data", '{"id": 1}', r"image_data\.json is not in Visual Genome's format"),
        ("image_data", "[{}]", r"image_data\.json is not in .*'id'"),
        ("image_data", '[{"id": 1, "height": 40}]', "image 1 is not in .*'width'"),
        ("region_descriptions", '[{"id": 1, "regions": [{"phrase": "a dog"}]}]', "image 1 is not in .*'x'"),
        ("image_data", '[{"id": 9, "width": 60, "height": 40}]', "holds none of the photographs"),
    ],
)
def test_what_is_missing_or_malformed_is_named(tmp_path, photos, name, content, message):
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"id": 1, "width": 60, "height": 40}],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 20, 20), "a dog")]}],
    )
    (annotations / f"{name}.json").unlink()
    if content is not None:
        (annotations / f"{name}.json").write_text(content)
    with pytest.raises(DatasetError, match=message):
        load_annotations(photos, annotations)


def test_read_photo_gives_rgb_of_the_size_asked(tmp_path):
    Image.new("L", (100, 50), 200).save(tmp_path / "grey.jpg")
    pixels = read_photo(tmp_path / "grey.jpg", (64, 32))
    assert pixels.shape == (32, 64, 3) and pixels.dtype == np.uint8
    assert (abs(pixels.astype(int) - 200) < 3).all()


def test_read_photo_sees_the_window_asked(tmp_path):
    write_photo(tmp_path / "1.png", (100, 50), [((50, 0, 50, 50), "red")])
    right = read_photo(tmp_path / "1.png", (64, 32), window=(0.6, 0.2, 1.0, 0.6))
    assert (right[..., 0] > 200).all() and (right[..., 1] < 60).all()
    left = read_photo(tmp_path / "1.png", (64, 32), window=(0.0, 0.2, 0.4, 0.6))
    assert (abs(left.astype(int) - 128) < 5).all()


def test_pixels_are_the_photograph_as_the_network_sees_it(tmp_path):
    """Half as large as the annotations' frame, channels first, sides in multiples of the stride."""
    photos, annotations = tmp_path / "photos", tmp_path / "annotations"
    write_photo(photos / "1.jpg", (128, 90), [((0, 0, 64, 90), "red"), ((64, 0, 64, 90), "blue")])
    write_json(
        annotations,
        image_data=[{"image_id": 1, "width": 128, "height": 90}],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 64, 90), "red")]}],
    )
    (photo,) = load_annotations(photos, annotations)
    pixels, size = read_pixels(photo, 64)
    assert size == (64, 48) and pixels.shape == (3, 48, 64)
    np.testing.assert_array_equal(pixels, read_photo(photo.path, size).transpose(2, 0, 1))
    right, size = read_pixels(photo, 64, window=(0.5, 0.0, 1.0, 1.0))
    assert size == (64, 48)  # what the network sees has the shape of the photograph, whatever part it is
    np.testing.assert_array_equal(right, read_photo(photo.path, size, window=(0.5, 0.0, 1.0, 1.0)).transpose(2, 0, 1))
    assert right[2, 24, 32] > 200 > right[0, 24, 32]  # blue


def test_a_cut_keeps_what_is_mostly_inside(tmp_path):
    (photo,) = one_photo(
        tmp_path, region((10, 10, 10, 10), "inside"), region((0, 0, 10, 10), "half outside"),
        region((48, 10, 10, 10), "beyond the border by a fifth"), captions=[{"image_id": 1, "captions": ["squares"]}],
        size=(100, 50),
    )  # fmt: skip
    small = cut(photo, (0.05, 0.1, 0.56, 0.9))  # 5..56 by 5..45 pixels
    assert (small.width, small.height) == (51, 40)
    assert small.phrases == (("inside",), ("beyond the border by a fifth",)) and small.weak == (False, False)
    np.testing.assert_allclose(small.boxes, [[5, 5, 15, 15], [43, 5, 51, 15]], atol=1e-4)
    assert small.captions == ()  # of half of the photograph they may not be true
    assert cut(photo, (0.0, 0.0, 0.9, 0.9)).captions == ("squares",)
    assert small.window == (0.05, 0.1, 0.56, 0.9) and photo.window == (0, 0, 1, 1)


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path):
    write_photo(tmp_path / "1.jpg", (60, 40), [])
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:300])
    with pytest.raises(DatasetError, match=r"1\.jpg cannot be decoded"):
        read_photo(tmp_path / "1.jpg", (64, 32))


# -- names


@pytest.fixture
def with_names(tmp_path):
    """Photograph 1 has a box and names, 2 a name alone, 3 a caption alone, 4 nothing, 5 an empty list of names."""
    for number in range(1, 6):
        write_photo(tmp_path / "photos" / f"{number}.jpg", (60, 40), [])
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": n, "width": 60, "height": 40} for n in range(1, 6)],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 20, 20), "a dog")]}],
        captions=[{"image_id": 3, "captions": ["a lake"]}],
        names=[
            {"image_id": 1, "names": ["dog", "couch"]},
            {"image_id": 2, "names": ["iguana"]},
            {"image_id": 5, "names": []},
        ],
        objects=[
            {"image_id": 2, "objects": [{"name": "rock", "score": 1, "x": 5, "y": 5, "width": 9, "height": 9}]},
        ],
    )
    return tmp_path / "photos", annotations


def test_photographs_that_have_only_a_name_or_a_caption(with_names):
    assert [p.image_id for p in load_annotations(*with_names)] == [1]  # as ever
    boxed, named, captioned = load_annotations(*with_names, names=True)
    assert (boxed.image_id, boxed.names, len(boxed.boxes)) == (1, ("dog", "couch"), 1)
    assert (named.image_id, named.names, named.phrases, named.weak) == (2, ("iguana",), (), ())
    assert (captioned.image_id, captioned.names, captioned.captions) == (3, (), ("a lake",))
    assert named.boxes.shape == captioned.boxes.shape == (0, 4) and named.boxes.dtype == np.float32
    assert [photo.complete for photo in (boxed, named, captioned)] == [True, False, False]


def test_a_detectors_boxes_do_not_make_a_photograph_complete(with_names):
    _, named, _ = load_annotations(*with_names, names=True, weak_labels=True)
    assert named.phrases == (("rock",),) and named.weak == (True,) and not named.complete


def test_malformed_names_are_named(with_names):
    (with_names[1] / "names.json").write_text('[{"image_id": 1}]')
    with pytest.raises(DatasetError, match=r"names\.json is not in .*'names'"):
        load_annotations(*with_names, names=True)
    (with_names[1] / "names.json").unlink()
    assert [p.image_id for p in load_annotations(*with_names, names=True)] == [1, 3]  # there may be none


def test_weak_labels_that_overlap_one_before_them_say_nothing_new(tmp_path):
    def thing(x: int, name: str) -> dict:
        return {"name": name, "score": 1, "x": x, "y": 0, "width": 20, "height": 20}

    one_photo(
        tmp_path,
        region((0, 0, 20, 20), "a dog"),
        objects=[{"image_id": 1, "objects": [thing(30, "cup"), thing(32, "mug"), thing(5, "cat"), thing(7, "rat")]}],
    )
    (photo,) = load_annotations(tmp_path / "photos", tmp_path / "annotations", weak_labels=True)
    # mug: IoU 18/22 with the cup. cat: 15/25 with the dog, more than half. rat: 13/27, and 18/22 with a cat left out.
    assert photo.phrases == (("a dog",), ("cup",), ("rat",))


def test_boxes_remember_their_place_in_the_file(tmp_path):
    (photo,) = one_photo(
        tmp_path, region((0, 0, 10, 10), "left"), region((80, 10, 10, 10), "right"), size=(100, 50)
    )  # fmt: skip
    assert photo.numbers == (0, 1)
    right = cut(photo, (0.5, 0.0, 1.0, 1.0))
    assert right.phrases == (("right",),) and right.numbers == (1,)


def test_a_cut_may_hold_no_box(tmp_path):
    (photo,) = one_photo(tmp_path, region((0, 0, 10, 10), "left"), size=(100, 50))
    empty = cut(photo, (0.5, 0.0, 1.0, 1.0))
    assert empty.boxes.shape == (0, 4) and empty.phrases == () and empty.numbers == () and not empty.complete
    assert cut(photo, WHOLE).boxes.tolist() == photo.boxes.tolist()
