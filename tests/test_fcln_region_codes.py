"""Region codes with what is said of the regions: which ones, what words, and that they are those of test time."""

import numpy as np
import pytest
import torch
from PIL import Image

from fcln.boxes import iou
from fcln.checkpoint import Checkpoint, new_model
from fcln.errors import DatasetError
from fcln.predictor import Predictor
from fcln.scoring import Scoring
from fcln.training.annotations import load_annotations
from fcln.training.region_codes import DETECTOR, NAME, PEOPLE, CodeReader, RegionCodes, View, network_digest
from helpers.small_world import one_photo, region, tiny_config, tiny_network, vocabulary, word_pieces, write_json
from helpers.terms_world import CAT, COUCH, DOG, write_terms

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = tiny_network()
    return Checkpoint(model.eval(), vocabulary(), word_pieces(), {}, Scoring())


def of_kind(found: RegionCodes, kind: int, *, exact: bool = True) -> list[int]:
    return [n for n in range(len(found)) if found.kinds[n] == kind and (found.overlaps[n] == 1) == exact]


def test_labelled_boxes_have_the_codes_of_test_time(checkpoint, tmp_path):
    (photo,) = one_photo(tmp_path, region((0, 0, 30, 40), "a red half"), region((10, 5, 30, 20), "a square"))
    found = CodeReader(checkpoint, CPU)(photo, View())
    expected = Predictor(checkpoint, "d").describe_boxes(Image.open(photo.path), photo.boxes)
    rows = of_kind(found, PEOPLE)
    assert [found.phrases[n] for n in rows] == [["a red half"], ["a square"]]
    np.testing.assert_array_equal(found.codes[rows], expected.codes)
    assert found.network == network_digest(checkpoint.model)


def test_found_regions_say_what_the_nearest_labelled_box_says(checkpoint, tmp_path):
    """The whole photograph is always found: a label of it has its region, one of a quarter has not."""
    (photo,) = one_photo(tmp_path, region((0, 0, 60, 40), "all of it"), region((0, 0, 12, 10), "a corner"))
    found = CodeReader(checkpoint, CPU)(photo, View())
    regions = Predictor(checkpoint, "d").describe([Image.open(photo.path)], max_regions=100)[0]
    overlap = iou(regions.boxes, photo.boxes)
    near = overlap.max(1) >= 0.5
    assert near.any() and len(found) == 2 + near.sum()
    np.testing.assert_allclose(found.overlaps[2:], overlap.max(1)[near], atol=1e-3)
    assert [said[0] for said in found.phrases[2:]] == [("all of it", "a corner")[n] for n in overlap.argmax(1)[near]]
    np.testing.assert_array_equal(found.codes[2:], regions.codes[near])


def test_a_mirror_image_swaps_boxes_and_sides(checkpoint, tmp_path):
    (photo,) = one_photo(tmp_path, region((0, 0, 30, 40), "the left half"))
    seen = CodeReader(checkpoint, CPU)(photo, View(mirrored=True))
    assert seen.phrases[0] == ["the right half"]
    mirrored = Image.open(photo.path).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    expected = Predictor(checkpoint, "d").describe_boxes(mirrored, np.array([[30, 0, 60, 40]]))
    # Resized before or after it is mirrored: not the same bits.
    np.testing.assert_allclose(seen.codes[0].astype(float), expected.codes[0].astype(float), atol=0.02)
    plain = CodeReader(checkpoint, CPU)(photo, View())
    assert np.abs(seen.codes[0].astype(float) - plain.codes[0].astype(float)).max() > 0.02


def test_a_window_keeps_the_boxes_inside(checkpoint, tmp_path):
    (photo,) = one_photo(tmp_path, region((0, 0, 30, 40), "a red half"), region((31, 0, 20, 20), "grey"))
    found = CodeReader(checkpoint, CPU)(photo, View(window=(0.0, 0.0, 0.5, 1.0)))
    assert {said[0] for said in found.phrases} == {"a red half"}


def test_a_detector_says_nothing_where_people_boxed(checkpoint, tmp_path):
    objects = [{"image_id": 1, "objects": [{"name": "dog", "x": 40, "y": 20, "width": 15, "height": 15}]}]
    one_photo(tmp_path, region((0, 0, 30, 40), "a red half"), objects=objects)
    photos, annotations = tmp_path / "photos", tmp_path / "annotations"
    terms = write_terms(tmp_path / "terms.json", {1: []})
    reader = CodeReader(checkpoint, CPU, terms)
    (photo,) = load_annotations(photos, annotations, weak_labels=True)
    assert DETECTOR not in reader(photo, View()).kinds
    write_json(annotations, region_descriptions=[])
    (photo,) = load_annotations(photos, annotations, weak_labels=True)
    found = reader(photo, View())
    assert [found.phrases[n] for n in of_kind(found, DETECTOR)] == [["a dog"]]  # with its article
    assert PEOPLE not in found.kinds


@pytest.mark.parametrize(
    ("names", "window", "said"),
    [
        ([CAT], (0, 0, 1, 1), "a cat"),
        ([CAT, DOG], (0, 0, 1, 1), "a cat"),
        ([CAT, DOG, COUCH], (0, 0, 1, 1), None),
        ([CAT, DOG], (0, 0, 0.8, 0.8), None),  # it may show the dog alone
        ([CAT], (0, 0, 0.8, 0.8), "a cat"),
    ],
)
def test_a_name_is_said_of_the_whole_and_of_the_region_that_answers(checkpoint, tmp_path, names, window, said):
    one_photo(
        tmp_path, region((0, 0, 9, 9), "x"), names=[{"image_id": 1, "names": ["cat", "dog", "couch"][: len(names)]}]
    )
    write_json(tmp_path / "annotations", region_descriptions=[])
    (photo,) = load_annotations(tmp_path / "photos", tmp_path / "annotations", names=True)
    reader = CodeReader(checkpoint, CPU, write_terms(tmp_path / "terms.json", {1: names}))
    found = reader(photo, View(window=window))
    rows = of_kind(found, NAME)
    assert [found.phrases[n] for n in rows] == ([] if said is None else [[said], [said]])
    assert len(found) == len(rows)
    if said and window == (0, 0, 1, 1):
        predictor = Predictor(checkpoint, "d")
        regions = predictor.describe([Image.open(photo.path)], max_regions=100)[0]
        answer = (regions.embeddings @ predictor.encode_phrases([said])[0]).argmax()
        np.testing.assert_array_equal(found.codes[rows[1]], regions.codes[answer])
        whole = predictor.describe_boxes(Image.open(photo.path), np.array([[0, 0, 60, 40]]))
        np.testing.assert_array_equal(found.codes[rows[0]], whole.codes[0])


def test_the_file(tmp_path):
    codes = RegionCodes(
        np.array([[1, 2], [3, 4]], np.float16), [["a", "ä"], ["b"]], np.array([PEOPLE, NAME], np.uint8),
        np.array([1, 0.5], np.float16), "digest",
    )  # fmt: skip
    codes.write(tmp_path / "runs" / "codes.h5")
    read = RegionCodes.read(tmp_path / "runs" / "codes.h5")
    np.testing.assert_array_equal(read.codes, codes.codes)
    assert read.phrases == [["a", "ä"], ["b"]] and read.network == "digest"
    assert read.kinds.tolist() == [PEOPLE, NAME] and read.overlaps.tolist() == [1, 0.5]
    assert RegionCodes.joined([read, codes]).phrases == [["a", "ä"], ["b"]] * 2


@pytest.mark.parametrize("content", [b"", b"not HDF5"])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(DatasetError, match=r"x.h5 is not a file of scripts.train.region_codes"):
        RegionCodes.read(tmp_path / "x.h5")


def test_the_digest_tells_networks_apart_but_not_their_language_models(checkpoint):
    model = new_model(tiny_config(), vocabulary(), word_pieces())
    model.load_state_dict(checkpoint.model.state_dict())
    before = network_digest(model)
    assert before == network_digest(checkpoint.model)
    with torch.no_grad():
        model.language.output.bias.add_(1)
    assert network_digest(model) == before
    with torch.no_grad():
        model.embedding.bias.add_(1)
    assert network_digest(model) != before
