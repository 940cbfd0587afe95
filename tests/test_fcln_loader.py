"""Batches of annotated photographs: what they hold, in which order, from which data sets."""

import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fcln.errors import DatasetError
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.training.batch import Batch
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
from helpers.terms_world import ANIMAL, CAT, COUCH, DOG, FURNITURE, RICE, write_targets, write_terms


def loader(
    photographs, *, batch_size=2, seed=1, flip=False, pieces=None, options: dict | None = None, cache=None,
    teacher=None, augment=False, **config,
) -> BatchLoader:  # fmt: skip
    return BatchLoader(
        photographs, vocabulary(), pieces or word_pieces(), tiny_config(**config),
        batch_size=batch_size, seed=seed, flip=flip, cache=cache,
        teacher=teacher, augment=augment, **(options or {}),
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


@pytest.mark.parametrize("smallest", [0.25, 0.55, 0.9])
def test_windows_are_as_small_as_they_may_be_and_no_smaller(tmp_path, smallest):
    photographs = one_photo(tmp_path, region((140, 140, 20, 20), "a dog"), size=(300, 300))
    batches = loader(photographs, batch_size=1, augment=True, image_size=320, options={"smallest_window": smallest})
    boxes = [batches.batch([0], (number,)).boxes[0, 0].tolist() for number in range(80)]
    # 20 of 300 pixels are 21.3 of 320, and larger by as much as the window is smaller.
    largest = max(x2 - x1 for x1, _, x2, _ in boxes)
    assert 320 / 15 / (smallest + 0.1) < largest <= 320 / 15 / smallest + 1e-3


def test_the_same_key_gives_the_same_augmented_batch(tmp_path):
    photographs = one_photo(tmp_path, region((10, 10, 15, 20), "a dog"))
    batches = loader(photographs, batch_size=1, augment=True)
    one, again, other = (batches.batch([0], (key,)) for key in (1, 1, 2))
    assert torch.equal(one.images, again.images) and torch.equal(one.boxes[0], again.boxes[0])
    assert torch.equal(one.tints, again.tints) and not torch.equal(one.tints, other.tints)
    assert one.tints.shape == (1, 3) and ((one.tints >= 0.65) & (one.tints <= 1.35)).all()
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


def test_a_detectors_words_train_captions_only_where_people_said_nothing_and_not_always(tmp_path):
    thing = {"name": "blue", "score": 1, "x": 30, "y": 5, "width": 9, "height": 9}
    one_photo(tmp_path, region((0, 0, 20, 20), "a red square"), objects=[{"image_id": 1, "objects": [thing]}])
    photographs = load_annotations(tmp_path / "photos", tmp_path / "annotations", weak_labels=True)
    batches = loader(photographs, batch_size=1)
    for key in range(20):
        batch = batches.batch([0], (key,))
        assert batch.is_weak.tolist() == [[False, True]]
        assert (batch.captions[0] > 0).any(1).tolist() == [True, False]
    alone = [replace(photo, weak=(True,), boxes=photo.boxes[1:], phrases=photo.phrases[1:]) for photo in photographs]
    spoken = [(loader(alone, batch_size=1).batch([0], (key,)).captions > 0).any().item() for key in range(60)]
    assert 10 < sum(spoken) < 40


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


# -- several data sets


def made_up(first: int, count: int, **changes) -> list[AnnotatedImage]:
    """Photographs without files, for the order alone. Every third is upright."""
    return [
        AnnotatedImage(
            image_id,
            Path(f"{image_id}.jpg"),
            64,
            48 if image_id % 3 else 96,
            np.array([[0, 0, 9, 9]], np.float32),
            (("a square",),),
            (),
            (False,),
            numbers=(0,),
            **changes,
        )
        for image_id in range(first, first + count)
    ]


def epoch_of(batches: BatchLoader, epoch: int = 0) -> list[list[int]]:
    """The image ids of each batch of an epoch."""
    return [[batches.photographs[n].image_id for n in batch] for batch in batches._order(epoch)]


def test_every_batch_has_its_share_of_each_data_set():
    sets = [made_up(100, 8), made_up(200, 24)]
    batches = loader(sets, batch_size=4, options={"weights": (3.0, 1.0)})
    epoch = epoch_of(batches)
    assert len(epoch) == len(batches) == 12  # 3 x 8 + 24 photographs
    assert [sorted(image // 100 for image in batch) for batch in epoch] == [[1, 1, 2, 2]] * 12
    shown = Counter(image for batch in epoch for image in batch)
    assert {shown[image] for image in range(100, 108)} == {3} and {shown[image] for image in range(200, 224)} == {1}
    assert [photo.image_id for photo in batches.photographs] == [*range(100, 108), *range(200, 224)]


def test_without_weights_each_photograph_is_shown_once():
    epoch = epoch_of(loader([made_up(100, 9), made_up(200, 27)], batch_size=4))
    assert [sorted(image // 100 for image in batch) for batch in epoch] == [[1, 2, 2, 2]] * 9
    assert Counter(image for batch in epoch for image in batch) == dict.fromkeys(
        [*range(100, 109), *range(200, 227)], 1
    )


@pytest.mark.parametrize(("counts", "weights", "size"), [((7, 11, 5), (1, 1, 1), 4), ((30, 3), (0.5, 2.0), 5)])
def test_batches_are_full_whatever_the_shares(counts, weights, size):
    sets = [made_up(100 * (n + 1), count) for n, count in enumerate(counts)]
    batches = loader(sets, batch_size=size, options={"weights": weights})
    total = sum(count * weight for count, weight in zip(counts, weights, strict=True))
    epoch = epoch_of(batches)
    assert len(epoch) == int(total) // size and {len(batch) for batch in epoch} == {size}
    assert epoch == epoch_of(batches) and epoch != epoch_of(batches, 1)
    for batch in epoch:
        for n, (count, weight) in enumerate(zip(counts, weights, strict=True)):
            assert abs(sum(image // 100 == n + 1 for image in batch) - size * count * weight / total) <= 1


def test_no_photograph_is_shown_twice_before_all_were_once():
    batches = loader([made_up(100, 10), made_up(200, 30)], batch_size=4, options={"weights": (2.5, 0.5)})
    shown = Counter(image for batch in epoch_of(batches) for image in batch)
    first = [shown[image] for image in range(100, 110)]
    second = [shown[image] for image in range(200, 230)]
    assert set(first) <= {2, 3} and set(second) <= {0, 1}


def test_fewer_photographs_than_a_batch_are_one_batch():
    batches = loader([made_up(100, 2), made_up(200, 1)], batch_size=8)
    assert len(batches) == 1 and epoch_of(batches) == [[100, 101, 200]]


def test_shapes_meet_within_each_data_sets_share():
    batches = loader([made_up(100, 60), made_up(400, 60)], batch_size=4)
    by_id = {photo.image_id: photo for photo in batches.photographs}
    mixed = 0
    for batch in epoch_of(batches):
        for part in (1, 4):
            shapes = {by_id[image].height for image in batch if image // 100 == part}
            mixed += len(shapes) > 1
    assert mixed <= 2  # where one shape ends and the next begins


def test_batches_go_on_across_epochs(tmp_path):
    photographs = load_annotations(*write_world(tmp_path, 5))
    batches = loader(photographs)  # two an epoch
    steps = [snapshot(batch) for batch in batches.batches(1, 5)]
    assert steps == [
        snapshot(batch) for batch in [*batches.epoch(0, start=1), *batches.epoch(1), *batches.epoch(2)][:4]
    ]


def equal_batches(one: Batch, other: Batch) -> bool:
    for field in fields(Batch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            if a.dtype != b.dtype or not torch.equal(a, b):
                return False
        elif a != b:
            return False
    return True


# -- names and a classifier's targets


@pytest.fixture
def named_world(tmp_path) -> list[AnnotatedImage]:
    """1: a dog boxed by people, named dog and couch. 2: named dog alone. 3: a detector's box. 4: a caption."""
    for number in range(1, 5):
        write_photo(tmp_path / "photos" / f"{number}.jpg", (64, 64), [((0, 0, 32, 32), "red")])
    annotations = write_json(
        tmp_path / "a",
        image_data=[{"image_id": n, "width": 64, "height": 64} for n in range(1, 5)],
        region_descriptions=[{"id": 1, "regions": [region((0, 0, 20, 20), "a brown dog")]}],
        captions=[{"image_id": 4, "captions": ["two cats eat rice"]}],
        names=[{"image_id": 1, "names": ["dog", "couch", "rug"]}, {"image_id": 2, "names": ["dog"]}],
        objects=[{"image_id": 3, "objects": [{"name": "cat", "score": 1, "x": 40, "y": 40, "width": 9, "height": 9}]}],
    )
    return load_annotations(tmp_path / "photos", annotations, weak_labels=True, names=True)


def named_loader(tmp_path, photographs, *, rows=None, names=None, **options) -> BatchLoader:
    terms = write_terms(tmp_path / "terms.json", {1: [DOG, COUCH], 2: [DOG]} if names is None else names)
    options |= {"terms": terms, "terms_per_batch": options.get("terms_per_batch", 6)}
    if rows:
        options["targets"] = write_targets(tmp_path / "targets.h5", rows)
    augment = options.pop("augment", False)
    return loader(photographs, batch_size=1, augment=augment, options=options)


def of_terms(batches: BatchLoader, batch: Batch) -> list[int]:
    """Which term each of a batch's terms is."""
    return [int((batches._term_pieces == row).all(2).any(1).nonzero()[0, 0]) for row in batch.terms]


def test_what_photographs_show_and_may_show(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world)
    batch = batches.batch([0, 1, 2, 3], (1,))
    order = of_terms(batches, batch)
    assert sorted(order) == list(range(6))
    values = {photo: dict(zip(order, row, strict=True)) for photo, row in enumerate(batch.photo_terms.tolist())}
    nothing = dict.fromkeys(range(6), 0)
    assert values[0] == nothing | {DOG: 1, ANIMAL: 1, COUCH: 1, FURNITURE: 1}
    assert values[1] == nothing | {DOG: 1, ANIMAL: 1}
    assert values[2] == nothing | {CAT: 1, ANIMAL: 1}  # a detector named a box of it
    assert values[3] == nothing | {CAT: -1, ANIMAL: -1, RICE: -1}  # captions may be of things that are not seen
    assert batch.complete.tolist() == [True, False, False, False]
    boxes = [[order[n] for n in row if n >= 0] for row in batch.box_terms[:, 0].tolist()]
    assert boxes == [[DOG, ANIMAL], [], [CAT, ANIMAL], []]
    assert [order[n] if n >= 0 else None for n in batch.main_term.tolist()] == [DOG, DOG, None, None]
    assert batch.is_box.tolist() == [[True], [False], [True], [False]]


def test_the_caption_of_the_whole_is_the_first_of_few_names(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world)
    batch = batches.batch([0, 1, 2, 3], (1,))
    words = vocabulary().encode("a dog")
    assert batch.whole_captions.tolist() == [[0] * len(words), words, [0] * len(words), [0] * len(words)]  # three names


def test_a_bare_name_is_said_with_its_article(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world)
    spoken = [batches.batch([2], (key,)).captions[0, 0].tolist() for key in range(20)]
    assert vocabulary().encode("a cat") in spoken and vocabulary().encode("cat") not in spoken
    assert batches.batch([0], (1,)).captions[0, 0].tolist() == vocabulary().encode("a brown dog")


def test_names_become_phrases_of_something_somewhere(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world)
    seen = set()
    for number in range(40):
        batch = batches.batch([1], (number,))
        assert not batch.phrase_boxes.any() and not batch.phrase_whole.any()
        assert batch.phrase_group.tolist() == [True] * len(batch.phrases)
        seen |= {tuple(row) for row in batch.phrases.tolist()}
    said = ("a dog", "dog", "dogs", "an animal", "animal", "animals")
    encoded = {tuple(n for n in row if n) for row in word_pieces().encode(said).tolist()}
    assert {tuple(n for n in row if n) for row in seen} == encoded
    boxed = batches.batch([0], (1,))  # phrases of boxes make up the query; names are asked besides
    assert boxed.phrase_group[0] and not boxed.phrase_group[1:].any() and len(boxed.phrases) == 4


def test_a_name_holds_for_other_photographs_that_show_it_or_may(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world)
    plain = {tuple(n for n in row if n): text for text in ("a dog", "dog", "dogs")
             for row in word_pieces().encode([text]).tolist()}  # fmt: skip
    checked = 0
    for number in range(20):
        batch = batches.batch([1, 0, 3], (number,))
        for row, owner, also in zip(batch.phrases.tolist(), batch.phrase_photo.tolist(), batch.also_true.tolist()):
            if owner == 0 and tuple(n for n in row if n) in plain:
                assert also == [False, True, False]  # the dog of photograph 1, not its own, not the cats' and rice's
                checked += 1
    assert checked > 5


def test_fewer_terms_than_there_are_keep_those_that_are_shown(tmp_path, named_world):
    batches = named_loader(tmp_path, named_world, terms_per_batch=4)
    drawn = set()
    for number in range(20):
        batch = batches.batch([1], (number,))
        order = of_terms(batches, batch)
        assert len(order) == len(set(order)) == 4 and {DOG, ANIMAL} <= set(order)
        drawn |= set(order)
    assert drawn == set(range(6))


def test_of_a_window_only_what_is_boxed_in_it_is_known(tmp_path, named_world):
    """A photograph with several names may have lost any of them; one with a single name shows it everywhere."""
    batches = named_loader(tmp_path, named_world, augment=True, names={1: [DOG, COUCH], 2: [DOG]})
    windows = 0
    for number in range(40):
        batch = batches.batch([0, 1], (number,))
        order = of_terms(batches, batch)
        first, second = (dict(zip(order, row, strict=True)) for row in batch.photo_terms.tolist())
        assert second[DOG] == second[ANIMAL] == 1
        assert first[DOG] == first[ANIMAL] == 1  # boxed, and windows keep a box
        whole = first[COUCH] == 1
        assert first[COUCH] == first[FURNITURE] == (1 if whole else -1)
        windows += not whole
    assert 5 < windows < 35


def test_a_sure_classifier_names_what_people_did_not(tmp_path, named_world):
    # Classes 0, 1, 2 are dog, cat, couch. Photograph 1, which people boxed: a sure cat changes nothing, but may be.
    rows = {1: [(1, 0.9), (1, 0.9)], 2: [(2, 0.9)], 3: [(0, 0.5), (2, 0.8)], 4: [(0, 0.04)]}
    batches = named_loader(tmp_path, named_world, rows=rows)
    batch = batches.batch([0, 1, 2, 3], (1,))
    order = of_terms(batches, batch)
    values = [dict(zip(order, row, strict=True)) for row in batch.photo_terms.tolist()]
    nothing = dict.fromkeys(range(6), 0)
    assert values[0] == nothing | {DOG: 1, ANIMAL: 1, COUCH: 1, FURNITURE: 1, CAT: -1}
    assert values[1] == nothing | {DOG: 1, ANIMAL: 1, COUCH: 1, FURNITURE: 1}  # the whole is surely a couch
    # A weak box of a cat that is surely a couch is both; the whole, not surely a dog, may be one.
    assert values[2] == nothing | {CAT: 1, ANIMAL: 1, COUCH: 1, FURNITURE: 1, DOG: -1}
    assert values[3] == nothing | {CAT: -1, ANIMAL: -1, RICE: -1}  # 0.04 is not even likely
    boxes = [{order[n] for n in row if n >= 0} for row in batch.box_terms[:, 0].tolist()]
    assert boxes[0] == {DOG, ANIMAL} and boxes[2] == {CAT, COUCH, ANIMAL, FURNITURE}


def test_rows_of_targets_follow_the_boxes(tmp_path):
    photographs = one_photo(
        tmp_path, region((0, 0, 10, 10), "upper left"), region((50, 50, 10, 10), "lower right"), size=(64, 64)
    )  # fmt: skip
    targets = write_targets(tmp_path / "targets.h5", {9: [(0, 0.1)], 1: [(0, 0.1)] * 3})
    batches = loader(photographs, batch_size=1, augment=True, options={"targets": targets})
    seen = set()
    for number in range(60):
        batch = batches.batch([0], (number,))
        *boxes, whole = batch.target_rows[0].tolist()
        count = int(batch.is_box.sum())
        assert len(boxes) == count
        is_whole = count == 2 and whole == 1
        assert whole == (1 if is_whole else -1)
        if count == 1:  # 2: the upper left one, which is far from the lower right corner
            assert boxes == [2 if batch.boxes[0, 0, 0] < 20 else 3]
        else:
            assert boxes == [2, 3]
        seen.add(tuple(boxes))
    assert seen == {(2, 3), (2,), (3,)}
    unknown = [replace(photographs[0], image_id=5)]
    batch = loader(unknown, batch_size=1, options={"targets": targets}).batch([0], (1,))
    assert batch.target_rows.tolist() == [[-1, -1, -1]]


def test_targets_of_other_boxes_are_refused(tmp_path):
    photographs = one_photo(tmp_path, region((0, 0, 10, 10), "a dog"))
    targets = write_targets(tmp_path / "targets.h5", {1: [(0, 0.1)] * 3})
    with pytest.raises(DatasetError, match="Photograph 1 has other boxes"):
        loader(photographs, options={"targets": targets})


def test_worker_processes_make_the_same_batches(tmp_path, named_world):
    rows = {1: [(1, 0.9), (1, 0.9)], 2: [(2, 0.9)], 3: [(0, 0.5), (2, 0.8)]}
    given = [named_world[:2], named_world[2:]]
    one, other = (
        named_loader(tmp_path, given, rows=rows, augment=True, workers=workers, weights=(1.0, 2.0))
        for workers in (0, 2)
    )
    batches, made = list(one.batches(1, 8)), list(other.batches(1, 8))  # six an epoch
    assert len(batches) == len(made) == 7
    assert all(equal_batches(a, b) for a, b in zip(batches, made, strict=True))
    assert not equal_batches(batches[0], batches[1])
    assert list(other.batches(3, 3)) == []


def test_what_a_worker_cannot_decode_is_named(tmp_path):
    photos, annotations = write_world(tmp_path, 2)
    photographs = load_annotations(photos, annotations)
    (photos / "2.jpg").write_bytes((photos / "2.jpg").read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"2\.jpg cannot be decoded"):
        list(loader(photographs, options={"workers": 1}).epoch(0))


def test_the_batch_of_one_photograph_has_its_terms_and_rows(tmp_path, named_world):
    rows = {1: [(1, 0.9), (1, 0.9)], 2: [(2, 0.9)], 3: [(0, 0.5), (2, 0.8)]}
    batches = named_loader(tmp_path, named_world, rows=rows, augment=True)
    batch = batches.batch([0, 2, 1], (1,))
    one = batch.only(1)
    assert one.names == [batch.names[1]]
    for name in ("photo_terms", "box_terms", "main_term", "target_rows", "tints", "is_box", "complete", "sizes"):
        assert torch.equal(getattr(one, name), getattr(batch, name)[1:2])
    assert torch.equal(one.terms, batch.terms)
    moved = batch.to(torch.device("cpu"))
    assert equal_batches(moved, batch)
