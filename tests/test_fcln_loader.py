"""Batches of annotated photographs: what they hold, in which order, from which data sets."""

import json

import numpy as np
import pytest
import torch

from fcln.training.annotations import load_annotations
from fcln.training.distillation import TeacherVectors
from fcln.training.feature_cache import FeatureCache
from fcln.training.loader import BatchLoader, mirror, pad_stack
from fcln.vocabulary import UNK
from fcln.word_pieces import WordPieces
from helpers.small_world import (
    one_photo,
    region,
    tiny_config,
    vocabulary,
    word_pieces,
    write_json,
    write_photo,
    write_world,
)


def loader(
    photographs, *, batch_size=2, seed=1, flip=False, cache=None, pieces=None, teacher=None, augment=False, **config
) -> BatchLoader:
    return BatchLoader(
        photographs, vocabulary(), pieces or word_pieces(), tiny_config(**config),
        batch_size=batch_size, seed=seed, flip=flip, cache=cache,
        teacher=teacher, augment=augment,
    )  # fmt: skip


def test_augmentation_moves_boxes_with_the_pixels(tmp_path):
    # A red thing on grey: whatever is cut, the pixels inside its box are red and those around it are not.
    write_photo(tmp_path / "photos" / "1.png", (300, 300), [((120, 90, 60, 90), "red")])
    (tmp_path / "photos" / "1.png").rename(tmp_path / "photos" / "1.jpg")  # exact colours under the data set's name
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": 1, "width": 300, "height": 300}],
        region_descriptions=[{"id": 1, "regions": [region((120, 90, 60, 90), "a red square")]}],
    )
    batches = loader(
        load_annotations(tmp_path / "photos", annotations), batch_size=1, augment=True, flip=True, image_size=320
    )
    sizes = set()
    for number in range(30):
        batch = batches.batch([0], (number,))
        (box,) = batch.boxes[0].round().int().tolist()
        sizes.add(box[2] - box[0])
        red = (batch.images[0, 0].float() > 1.8 * batch.images[0, 1].float()).int()
        found = [red.amax(0).nonzero().min(), red.amax(1).nonzero().min(), red.amax(0).nonzero().max() + 1]
        assert all(abs(a - b) <= 2 for a, b in zip(box, found, strict=False))
    assert len(sizes) > 10 and min(sizes) == 64  # 60 of 300 pixels, uncut


def test_the_same_key_gives_the_same_augmented_batch(tmp_path):
    photographs = one_photo(tmp_path, region((10, 10, 15, 20), "a dog"))
    batches = loader(photographs, batch_size=1, augment=True)
    one, again, other = (batches.batch([0], (key,)) for key in (1, 1, 2))
    assert torch.equal(one.images, again.images) and torch.equal(one.boxes[0], again.boxes[0])
    assert not torch.equal(one.images, other.images)


def test_a_teachers_vectors_go_with_the_batch(tmp_path):
    TeacherVectors.write(tmp_path / "t.h5", ["a dog", "dogs"], np.eye(2, dtype=np.float32))
    photographs = one_photo(tmp_path, region((10, 10, 15, 20), "A dog!"), region((20, 10, 15, 20), "a cat"))
    batch = loader(photographs, batch_size=1, teacher=TeacherVectors(tmp_path / "t.h5")).batch([0], (1,))
    found = {tuple(v) for v in batch.phrase_vectors.tolist()}
    assert found == {(1.0, 0.0), (0.0, 0.0)}  # it was never asked about a cat
    assert len(batch.texts) == len(batch.text_vectors) == 256
    assert {tuple(v) for v in batch.text_vectors.tolist()} == {(1.0, 0.0), (0.0, 1.0)}


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("the man on the left", "the man on the right"),
        ("a left hand, right.", "a right hand, left."),
        ("Left of a bright lamp", "right of a bright lamp"),  # "bright" holds a "right" that is none
    ],
)
def test_mirror(text, mirrored):
    assert mirror(text) == mirrored


def test_pad_stack_pads_to_the_right_and_below():
    stacked = pad_stack([torch.ones(1, 1, 2), torch.full((1, 2, 1), 2)])
    assert stacked.tolist() == [[[[1, 1], [0, 0]]], [[[2, 0], [2, 0]]]]


def test_boxes_and_pixels_share_the_networks_frame(tmp_path):
    # 1098x686 is 2.499 cells high. Decoded at a quarter, as large JPEGs are, it is 275x172: 2.502.
    photographs = one_photo(tmp_path, region((0, 0, 549, 686), "a red square"), size=(1098, 686))
    batch = loader(photographs, batch_size=1).batch([0], (1,))
    assert batch.images.shape == (1, 3, 32, 64) and batch.images.dtype == torch.uint8
    assert batch.sizes.tolist() == [[64, 32]]
    assert batch.boxes[0].tolist() == [[0, 0, 32, 32]]
    red, grey = batch.images[0, :, 16, 8], batch.images[0, :, 16, 56]
    assert red[0] > 200 and red[1] < 60 and (abs(grey.int() - 128) < 5).all()


def test_an_annotation_frame_of_another_size_is_scaled(tmp_path):
    write_photo(tmp_path / "photos" / "1.jpg", (120, 80), [])
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": 1, "width": 60, "height": 40}],
        region_descriptions=[{"id": 1, "regions": [region((30, 20, 30, 20), "a dog")]}],
    )
    batch = loader(load_annotations(tmp_path / "photos", annotations), batch_size=1).batch([0], (1,))
    assert batch.images.shape[2:] == (48, 64)  # 40 * 64/60 = 42.7, 2.7 cells
    assert batch.boxes[0].tolist() == [[32, 24, 64, 48]]


def test_a_mirrored_photograph_has_mirrored_boxes_and_phrases(tmp_path):
    pieces = WordPieces(["[PAD]", "[UNK]", "left", "right"])
    photographs = one_photo(tmp_path, region((0, 10, 15, 20), "left"), size=(60, 45))
    batches = loader(photographs, batch_size=1, flip=True, pieces=pieces)
    seen = {}
    for number in range(20):
        batch = batches.batch([0], (number,))
        seen[batch.phrases.item()] = batch
    assert set(seen) == {2, 3}  # both happen
    plain, mirrored = seen[2], seen[3]
    assert torch.equal(mirrored.images, plain.images.flip(3))
    assert torch.allclose(plain.boxes[0], torch.tensor([[0, 10, 15, 30]]) * torch.tensor(64 / 60 * 1.0), atol=0.1)
    assert torch.allclose(mirrored.boxes[0][:, [2, 0]], 64 - plain.boxes[0][:, [0, 2]])
    assert torch.equal(mirrored.boxes[0][:, [1, 3]], plain.boxes[0][:, [1, 3]])


def test_captions_of_boxes(tmp_path):
    photographs = one_photo(
        tmp_path,
        region((0, 0, 20, 20), "A red zebra!"),
        region((30, 0, 20, 20), "a very very long red phrase"),
        region((30, 20, 20, 20), "square"),
    )
    (captions,) = loader(photographs, batch_size=1).batch([0], (1,)).captions
    assert captions.tolist() == [[4, 6, UNK], [0, 0, 0], [5, 0, 0]]  # six words are more than max_words


def test_phrases_name_their_photograph_and_box(tmp_path):
    regions = [region((5 * i, 0, 4, 20), f"a {'xyzwvuts'[i]}") for i in range(8)]
    photographs = one_photo(
        tmp_path,
        *regions,
        captions=[{"image_id": 1, "captions": ["a red square"]}],
        objects=[{"image_id": 1, "objects": [{"name": "blue", "score": 1, "x": 0, "y": 25, "width": 9, "height": 9}]}],
    )
    batch = loader(photographs, batch_size=1).batch([0], (1,))
    assert batch.phrase_photo.tolist() == [0] * 8  # seven of the eight, and the caption
    assert batch.phrase_group.tolist() == [True] * 4 + [False] * 4  # a query of four, as in the paper
    assert not batch.phrase_boxes[-1].any()  # the caption is of the whole photograph
    assert batch.phrase_whole.tolist() == [False] * 7 + [True]
    letters = [PIECE_OF[i] for i in batch.phrases[:7, 1].tolist()]
    boxes = batch.phrase_boxes[:7].int().argmax(1)
    assert [f"a {letter}" for letter in letters] == [photographs[0].phrases[box][0] for box in boxes]
    assert len(set(letters)) == 7


PIECE_OF = dict(enumerate(word_pieces().pieces))


def test_weak_labels_are_asked_for_but_not_in_the_query(tmp_path):
    photographs = one_photo(
        tmp_path,
        region((0, 0, 20, 20), "a red square"),
        objects=[{"image_id": 1, "objects": [{"name": "blue", "score": 1, "x": 30, "y": 5, "width": 9, "height": 9}]}],
    )
    photographs = load_annotations(tmp_path / "photos", tmp_path / "annotations", weak_labels=True)
    batch = loader(photographs, batch_size=1).batch([0], (1,))
    assert batch.phrase_boxes.tolist() == [[True, False], [False, True]] and batch.phrase_group.tolist() == [
        True,
        False,
    ]


def test_a_phrase_has_all_of_its_boxes(tmp_path):
    photographs = one_photo(
        tmp_path,
        region((0, 0, 20, 20), "Two squares"),
        region((0, 0, 20, 20), "a red square"),
        region((30, 0, 20, 20), "two squares"),
    )
    batch = loader(photographs, batch_size=1).batch([0], (1,))
    assert sorted(batch.phrase_boxes.tolist()) == [[True, False], [True, True]]


def test_phrases_that_hold_for_other_photographs_too(tmp_path):
    for image_id in (1, 2, 3):
        write_photo(tmp_path / "photos" / f"{image_id}.jpg", (64, 64), [])
    said = {1: "A dog!", 2: "a dog", 3: "a cat"}
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": i, "width": 64, "height": 64} for i in said],
        region_descriptions=[{"id": i, "regions": [region((0, 0, 20, 20), text)]} for i, text in said.items()],
    )
    batch = loader(load_annotations(tmp_path / "photos", annotations)).batch([0, 1, 2], (1,))
    assert batch.also_true.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_a_mirrored_photograph_holds_the_mirrored_phrase(tmp_path):
    for image_id in (1, 2):
        write_photo(tmp_path / "photos" / f"{image_id}.jpg", (64, 64), [])
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": i, "width": 64, "height": 64} for i in (1, 2)],
        region_descriptions=[{"id": i, "regions": [region((0, 0, 20, 20), "left")]} for i in (1, 2)],
    )
    pieces = WordPieces(["[PAD]", "[UNK]", "left", "right"])
    batches = loader(load_annotations(tmp_path / "photos", annotations), flip=True, pieces=pieces)
    kinds = set()
    for number in range(30):
        batch = batches.batch([0, 1], (number,))
        same = batch.phrases[0].item() == batch.phrases[1].item()
        assert batch.also_true.any().item() == same
        kinds.add(same)
    assert kinds == {True, False}


def snapshot(batch) -> tuple:
    return (batch.names, batch.images.sum().item(), batch.phrases.tolist(), [c.tolist() for c in batch.captions])


def test_batches_depend_on_seed_and_epoch_alone(tmp_path):
    photographs = load_annotations(*write_world(tmp_path, 9))
    first = [snapshot(b) for b in loader(photographs, flip=True).epoch(0)]
    assert len(first) == len(loader(photographs)) == 4  # the odd one out is left for another epoch
    assert [snapshot(b) for b in loader(photographs, flip=True).epoch(0)] == first
    assert [snapshot(b) for b in loader(photographs, flip=True).epoch(0, start=2)] == first[2:]
    assert [snapshot(b) for b in loader(photographs, flip=True).epoch(1)] != first
    assert [snapshot(b) for b in loader(photographs, flip=True, seed=2).epoch(0)] != first
    names = [name for batch in first for name in batch[0]]
    assert len(set(names)) == 8


def test_a_batch_is_mostly_of_one_shape(tmp_path):
    photographs = load_annotations(*write_world(tmp_path, 8))  # four of 64x64, four of 64x48
    shapes = [batch.sizes.tolist() for batch in loader(photographs).epoch(0)]
    assert all(shape[0] == shape[1] for shape in shapes)


def test_cached_features_stand_in_for_pixels(tmp_path):
    photographs = one_photo(tmp_path, region((0, 0, 20, 20), "a red square"), size=(64, 64))
    cache = FeatureCache(tmp_path / "f.h5", "x")
    maps = [np.arange(side**2 * 2, dtype=np.float16).reshape(2, side, side) for side in (8, 4)]
    cache.write(1, maps)
    batches = loader(photographs, batch_size=1, flip=True, cache=cache)
    seen = {json.dumps([m[0].tolist() for m in batches.batch([0], (n,)).features]) for n in range(20)}
    assert seen == {json.dumps([m.tolist() for m in maps]), json.dumps([m[:, :, ::-1].tolist() for m in maps])}
    assert batches.batch([0], (0,)).images is None
