"""Predictor: PIL images in, numpy out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import fcln.predictor
from fcln.checkpoint import load_checkpoint
from fcln.lanes import Lanes
from fcln.modeling.language_model import LanguageModel
from fcln.predictor import Predictor, Regions
from fcln.vocabulary import MAX_PHRASE_WORDS
from fcln.weights_file import checkpoint_digest


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Coloured patches: something for a convolution to see."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def check(regions: Regions, image: Image.Image, predictor: Predictor, most: int) -> None:
    """What the docstring of Regions promises."""
    count = len(regions.boxes)
    assert 1 <= count <= most
    assert regions.boxes.shape == (count, 4) and regions.boxes.dtype == np.float32
    x1, y1, x2, y2 = regions.boxes.T
    assert (x1 >= 0).all() and (x1 < x2).all() and (x2 <= image.width).all()
    assert (y1 >= 0).all() and (y1 < y2).all() and (y2 <= image.height).all()
    assert regions.scores.shape == (count,) and regions.scores.dtype == np.float32
    assert ((regions.scores >= 0) & (regions.scores <= 1)).all() and (np.diff(regions.scores) <= 0).all()
    assert regions.codes.shape == (count, predictor.code_size) and regions.codes.dtype == np.float16
    assert regions.embeddings.shape == (count, predictor.embedding_size) and regions.embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(regions.embeddings, axis=1), 1, atol=1e-5)
    assert len(regions.phrases) == count and all(isinstance(p, str) for p in regions.phrases)
    assert (regions.boxes == np.float32([0, 0, image.width, image.height])).all(1).any()  # the whole photograph


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (96, 96), (1, 1), (2000, 20), (20, 2000), (33, 77)])
def test_regions_keep_their_promises_at_any_size(tiny_predictor, size):
    image = photo(*size)
    (regions,) = tiny_predictor.describe([image], max_regions=12)
    check(regions, image, tiny_predictor, 12)


def test_boxes_never_reach_past_the_photograph(tiny_checkpoint):
    """float32: 1/112 * 112 is not always 1."""
    checkpoint = load_checkpoint(tiny_checkpoint)
    checkpoint.model.config = replace(checkpoint.model.config, image_size=112)
    predictor = Predictor(checkpoint, "", device="cpu")
    widths = [w for w in range(1, 2000) if np.float32(w) / np.float32(112) * np.float32(112) > w][:5]
    assert len(widths) == 5
    for width in widths:
        image = Image.new("RGB", (width, width))
        (regions,) = predictor.describe([image], max_regions=3)
        check(regions, image, predictor, 3)


def test_no_images_no_regions(tiny_predictor):
    assert tiny_predictor.describe([]) == []


@pytest.mark.parametrize("most", [1, 2, 7])
def test_at_most_max_regions(tiny_predictor, most):
    (regions,) = tiny_predictor.describe([photo(400, 300)], max_regions=most)
    assert len(regions.boxes) == most
    if most == 1:
        assert regions.boxes.tolist() == [[0, 0, 400, 300]]


def test_max_regions_below_one_is_refused(tiny_predictor):
    with pytest.raises(ValueError, match="max_regions"):
        tiny_predictor.describe([photo(40, 30)], max_regions=0)


def assert_same(a: Regions, b: Regions) -> None:
    """bfloat16 kernels may round differently in batches of different sizes."""
    np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01 * a.boxes.max())
    np.testing.assert_allclose(a.scores, b.scores, atol=0.01)
    np.testing.assert_allclose(a.codes.astype(np.float32), b.codes.astype(np.float32), atol=0.02)
    np.testing.assert_allclose(a.embeddings, b.embeddings, atol=0.02)


def test_mixed_sizes_in_one_call_equal_single_calls_in_their_order(tiny_predictor):
    images = [photo(400, 300, 1), photo(300, 400, 2), photo(96, 72, 3), photo(200, 200, 4), photo(401, 301, 5)]
    together = tiny_predictor.describe(images, max_regions=8)
    for image, regions in zip(images, together, strict=True):
        check(regions, image, tiny_predictor, 8)
        (alone,) = tiny_predictor.describe([image], max_regions=8)
        assert_same(regions, alone)
        assert regions.phrases == alone.phrases
    assert not np.allclose(together[0].codes[:1], together[3].codes[:1], atol=0.02)  # different photographs differ


def test_photographs_of_one_size_go_through_the_backbone_in_one_call(tiny_predictor, monkeypatch):
    monkeypatch.setattr(tiny_predictor, "_lanes", Lanes(1))
    batches = []
    real = tiny_predictor._model.features
    monkeypatch.setattr(tiny_predictor._model, "features", lambda images: batches.append(len(images)) or real(images))
    tiny_predictor.describe([photo(400, 300, n) for n in range(3)] + [photo(300, 400)], max_regions=3)
    assert sorted(batches) == [1, 3]


def test_threads_share_out_photographs_a_few_at_a_time(tiny_predictor, monkeypatch):
    images = [photo(400, 300, n) for n in range(11)] + [photo(300, 400, n) for n in range(2)]
    monkeypatch.setattr(tiny_predictor, "_lanes", Lanes(1))
    expected = tiny_predictor.describe(images, max_regions=3)
    batches = []
    real = tiny_predictor._model.features

    def features(images):
        batches.append((len(images), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return real(images)

    monkeypatch.setattr(tiny_predictor._model, "features", features)
    monkeypatch.setattr(tiny_predictor, "_lanes", Lanes(3))
    for one, other in zip(tiny_predictor.describe(images, max_regions=3), expected, strict=True):
        assert_same(one, other)
        assert one.phrases == other.phrases
    assert sorted(batches) == [(2, 1, True), (3, 1, True), (4, 1, True), (4, 1, True)]
    batches.clear()
    tiny_predictor.describe(images[:4], max_regions=3)  # fewer than would keep all threads busy in fours
    assert sorted(batches) == [(2, 1, True), (2, 1, True)]


def test_only_what_survives_the_final_suppression_is_put_into_words(tiny_predictor, monkeypatch):
    """The released code writes a phrase for every proposal."""
    monkeypatch.setattr(tiny_predictor, "_lanes", Lanes(1))
    asked = []
    real = LanguageModel.generate

    def generate(self, codes, *, length, neutral=None):
        asked.append(len(codes))
        return real(self, codes, length=length, neutral=neutral)

    monkeypatch.setattr(LanguageModel, "generate", generate)
    found = tiny_predictor.describe([photo(400, 300, 1), photo(400, 300, 2)], max_regions=4)
    assert asked == [sum(len(regions.boxes) for regions in found)] == [8]
    assert tiny_predictor.config.post_nms_top_n > 4


def test_images_of_any_mode(tiny_predictor):
    image = photo(64, 48)
    expected = tiny_predictor.describe([image], max_regions=3)[0]
    assert_same(tiny_predictor.describe([image.convert("RGBA")], max_regions=3)[0], expected)
    for mode in ("L", "P", "CMYK", "1", "I;16"):
        other = Image.new(mode, (64, 48))
        check(tiny_predictor.describe([other], max_regions=3)[0], other, tiny_predictor, 3)


def test_boxes_that_are_given_keep_their_order_and_place(tiny_predictor):
    image = photo(400, 300)
    boxes = np.array([[10, 20, 90, 120], [0, 0, 400, 300], [200.5, 100, 399, 250.25]])
    regions = tiny_predictor.describe_boxes(image, boxes)
    assert regions.boxes.dtype == np.float32
    assert np.array_equal(regions.boxes, boxes)
    assert regions.scores.shape == (3,) and ((regions.scores > 0) & (regions.scores < 1)).all()
    assert regions.codes.shape == (3, tiny_predictor.code_size) and regions.codes.dtype == np.float16
    np.testing.assert_allclose(np.linalg.norm(regions.embeddings, axis=1), 1, atol=1e-5)
    assert len(regions.phrases) == 3 and all(isinstance(phrase, str) for phrase in regions.phrases)
    for number in range(3):
        alone = tiny_predictor.describe_boxes(image, boxes[number : number + 1])
        np.testing.assert_allclose(alone.codes[0], regions.codes[number], atol=0.02)
        assert alone.phrases == regions.phrases[number : number + 1]
    assert not np.allclose(regions.codes[0], regions.codes[2], atol=0.02)  # different places differ


def test_the_whole_photograph_is_the_same_region_given_or_found(tiny_predictor):
    image = photo(333, 250)
    given = tiny_predictor.describe_boxes(image, np.array([[0, 0, 333, 250]]))
    (found,) = tiny_predictor.describe([image], max_regions=1)
    assert_same(given, found)
    assert given.phrases == found.phrases


@pytest.mark.parametrize("shape", [(0, 4), (4,), (2, 5)])
def test_boxes_that_are_none(tiny_predictor, shape):
    with pytest.raises(ValueError, match="boxes"):
        tiny_predictor.describe_boxes(photo(40, 30), np.ones(shape))


@pytest.mark.parametrize("size", [(500, 375), (1, 1), (20, 2000), (33, 77)])
def test_proposals_are_boxes_of_the_photograph_best_first(tiny_predictor, size):
    boxes = tiny_predictor.propose(photo(*size), count=20)
    assert 1 <= len(boxes) <= 20 and boxes.dtype == np.float32
    x1, y1, x2, y2 = boxes.T
    assert (x1 >= 0).all() and (x1 < x2).all() and (x2 <= size[0]).all()
    assert (y1 >= 0).all() and (y1 < y2).all() and (y2 <= size[1]).all()
    np.testing.assert_allclose(tiny_predictor.propose(photo(*size), count=5), boxes[:5], atol=1e-3)


def test_regions_are_proposals_where_nothing_is_refined(tiny_predictor):
    """The tiny network's last offsets are 0, as all begin: what it finds is what it has looked at."""
    image = photo(400, 300, 3)
    looked_at = {
        tuple(box) for box in tiny_predictor.propose(image, count=tiny_predictor.config.post_nms_top_n).round(2)
    }
    (regions,) = tiny_predictor.describe([image], max_regions=50)
    found = {tuple(box) for box in regions.boxes.round(2)} - {(0, 0, 400, 300)}
    assert len(found) > 3
    assert found <= looked_at


def test_encode_phrases(tiny_predictor):
    found = tiny_predictor.encode_phrases(["a dog", "zebra", "", "狗"])
    assert found.shape == (4, tiny_predictor.embedding_size) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(tiny_predictor.encode_phrases(["zebra"])[0], found[1], atol=1e-5)
    assert tiny_predictor.encode_phrases([]).shape == (0, tiny_predictor.embedding_size)


def test_log_likelihood_is_the_language_models(tiny_predictor):
    (regions,) = tiny_predictor.describe([photo(400, 300)], max_regions=6)
    found = tiny_predictor.log_likelihood(["a red dog", "A red zebra!"], regions.codes)
    assert found.shape == (2, len(regions.codes)) and found.dtype == np.float32
    codes = torch.from_numpy(regions.codes.astype(np.float32))
    # a=4 the=5 dog=6 couch=7 red=8; zebra is UNK=3
    for row, tokens in zip(found, ([4, 8, 6], [4, 8, 3]), strict=True):
        with torch.no_grad():
            expected = tiny_predictor._model.language(codes, torch.tensor([tokens] * len(codes))).sum(1)
        np.testing.assert_allclose(row, expected.numpy(), rtol=1e-5)
    assert (found < 0).all()


def test_log_likelihood_in_chunks(tiny_predictor, monkeypatch):
    codes = np.random.default_rng(0).random((11, tiny_predictor.code_size)).astype(np.float16)
    phrases = ["a dog", "a red dog"]
    whole = tiny_predictor.log_likelihood(phrases, codes)
    monkeypatch.setitem(fcln.predictor._CHUNK, "cpu", 4)
    np.testing.assert_allclose(tiny_predictor.log_likelihood(phrases, codes), whole, rtol=1e-5)


def test_codes_of_images_are_those_of_the_regions_that_are_all_of_them(tiny_predictor, monkeypatch):
    sizes = [(96, 64), (50, 80), (96, 64), (192, 128), (20, 20)]
    images = [photo(*size, seed) for seed, size in enumerate(sizes)]
    whole = [tiny_predictor.describe_boxes(image, [[0, 0, *image.size]]).codes[0] for image in images]
    monkeypatch.setattr(fcln.predictor, "_IMAGES", {"cpu": 2})  # of the three of one size
    codes = tiny_predictor.image_codes(images)
    assert codes.dtype == np.float16
    np.testing.assert_allclose(codes, np.stack(whole), atol=0.01, rtol=0.02)  # bfloat16 sums differ with the batch
    assert tiny_predictor.image_codes([]).shape == (0, tiny_predictor.code_size)


def test_log_likelihood_of_nothing(tiny_predictor):
    none = np.zeros((0, tiny_predictor.code_size), np.float16)
    assert tiny_predictor.log_likelihood(["a dog"], none).shape == (1, 0)
    assert tiny_predictor.log_likelihood([], none).shape == (0, 0)


@pytest.mark.parametrize(
    ("phrase", "message"), [("", "holds no word"), ("?!", "holds no word"), ("a " * 500, "500 words")]
)
def test_phrases_that_cannot_be_scored(tiny_predictor, phrase, message):
    codes = np.zeros((2, tiny_predictor.code_size), np.float16)
    with pytest.raises(ValueError, match=message):
        tiny_predictor.log_likelihood([phrase], codes)


def test_the_longest_phrase_is_scored(tiny_predictor):
    codes = np.zeros((2, tiny_predictor.code_size), np.float16)
    longest = "a " * MAX_PHRASE_WORDS
    assert np.isfinite(tiny_predictor.log_likelihood([longest], codes)).all()
    with pytest.raises(ValueError):
        tiny_predictor.log_likelihood([longest + "dog"], codes)


def test_what_a_checkpoint_says_is_what_the_predictor_has(tiny_predictor, tiny_checkpoint):
    checkpoint = load_checkpoint(tiny_checkpoint)
    assert tiny_predictor.digest == checkpoint_digest(tiny_checkpoint)
    assert tiny_predictor.code_size == checkpoint.model.config.code_size
    assert tiny_predictor.embedding_size == checkpoint.model.config.embedding_size
    assert tiny_predictor.scoring == checkpoint.scoring
    assert tiny_predictor.word_uses == checkpoint.word_uses


def test_one_that_only_answers_needs_no_backbone(tiny_checkpoint, tiny_predictor):
    asked = Predictor.load(tiny_checkpoint, device="cpu", describes=False)
    phrases, codes = ["a red dog", "couch"], np.random.default_rng(1).random((5, 24), dtype=np.float32)
    assert np.array_equal(asked.encode_phrases(phrases), tiny_predictor.encode_phrases(phrases))
    assert np.array_equal(asked.log_likelihood(phrases, codes), tiny_predictor.log_likelihood(phrases, codes))
    assert not list(asked._model.backbone.parameters())
