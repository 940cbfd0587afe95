"""Four photographs as one: where everything goes, by hand, and that the losses can be computed of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fcln.modeling.normalization import normalize
from fcln.training.annotations import AnnotatedImage, load_annotations
from fcln.training.augmentation import tint
from fcln.training.batch import Batch
from fcln.training.distillation import TeacherVectors
from fcln.training.loader import BatchLoader
from fcln.training.losses import (
    CONTRASTIVE_WEIGHTS,
    DISTILLATION_WEIGHTS,
    NAMING_WEIGHTS,
    PAPER_WEIGHTS,
    TEACHER_WEIGHTS,
    AuxiliaryLosses,
    training_losses,
)
from fcln.training.mosaic import mosaic
from helpers.made_up_batch import batch_of
from helpers.small_world import COLOURS, tiny_config, tiny_network, vocabulary, word_pieces, write_world
from helpers.terms_world import CAT, DOG, write_targets, write_terms

BOX = [10.0, 20.0, 30.0, 60.0]
# What is half as large, in each quarter of 50 x 50.
UPPER_LEFT, UPPER_RIGHT = [5.0, 10.0, 15.0, 30.0], [55.0, 10.0, 65.0, 30.0]
LOWER_LEFT, LOWER_RIGHT = [5.0, 60.0, 15.0, 80.0], [55.0, 60.0, 65.0, 80.0]
NOTHING = [0.0] * 4


def joined(batch: Batch) -> Batch:
    """The mosaics of a batch of grey photographs."""
    return mosaic(batch, torch.full((len(batch.sizes), 3, 100, 100), 128.0))[0]


def boxed(count: int, phrases: list[tuple[int, int, bool]] | None = None, **changes) -> Batch:
    """A batch of so many photographs with one box each."""
    return batch_of([[BOX]] * count, phrases or [(0, 0, True)], **changes)


def test_each_photograph_becomes_a_quarter_of_the_means_of_four_pixels():
    images = torch.zeros(4, 3, 2, 4)
    images[0, 1, 0, :2], images[0, 1, 1, :2] = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 10.0])
    images[1], images[2], images[3] = 50.0, 60.0, 70.0
    _, found = mosaic(boxed(4), images)
    assert found.shape == (1, 3, 2, 4)
    assert found[0, 0].tolist() == found[0, 2].tolist() == [[0, 0, 50, 50], [60, 60, 70, 70]]
    assert found[0, 1].tolist() == [[4, 0, 50, 50], [60, 60, 70, 70]]


def test_every_four_photographs_become_one():
    images = (torch.arange(8.0) * 10).view(8, 1, 1, 1).expand(-1, 3, 2, 2)
    batch, found = mosaic(boxed(8), images)
    assert found[:, 0].tolist() == [[[0, 10], [20, 30]], [[40, 50], [60, 70]]]
    assert batch.names == ["0.jpg, 1.jpg, 2.jpg, 3.jpg", "4.jpg, 5.jpg, 6.jpg, 7.jpg"]
    assert batch.images is None and batch.sizes.shape == (2, 2)


def test_boxes_become_half_as_large_and_move_to_their_quarter():
    weak = torch.tensor([[False, False], [False, True], [True, False], [False, False]])
    found = joined(batch_of([[BOX], [BOX, [0.0, 0.0, 100.0, 100.0]], [BOX], [BOX]], [(0, 0, True)], is_weak=weak))
    assert found.boxes.tolist() == [
        [UPPER_LEFT, NOTHING, UPPER_RIGHT, [50, 0, 100, 50], LOWER_LEFT, NOTHING, LOWER_RIGHT, NOTHING]
    ]
    assert found.is_box.tolist() == [[True, False, True, True, True, False, True, False]]
    assert found.is_weak.tolist() == [[False, False, False, True, True, False, False, False]]


def test_a_mosaic_ends_where_its_right_and_lower_photographs_do():
    # Of 100 x 100 pixels with padding; quarters begin at 50.
    sizes = torch.tensor([[20.0, 30.0], [80.0, 30.0], [20.0, 60.0], [40.0, 100.0]] + [[100.0, 40.0]] * 4)
    assert joined(boxed(8, sizes=sizes)).sizes.tolist() == [[50 + 40, 50 + 50], [50 + 50, 50 + 20]]


def test_words_stay_with_their_boxes_and_of_the_whole_is_said_nothing():
    captions = torch.tensor([[[4, 0]], [[5, 6]], [[0, 0]], [[7, 0]]])
    found = joined(boxed(4, captions=captions, whole_captions=torch.tensor([[4], [5], [6], [7]])))
    assert found.captions.tolist() == [[[4, 0], [5, 6], [0, 0], [7, 0]]]
    assert found.whole_captions.tolist() == [[0]]


def test_phrases_name_the_boxes_of_their_quarter():
    phrases = [(0, 1, True), (1, 0, True), (2, -2, False), (6, 0, False), (7, -1, True)]
    pieces = torch.tensor([[2], [3], [4], [5], [6]])
    found = joined(batch_of([[BOX, BOX]] * 8, phrases, phrases=pieces))
    assert found.phrases.tolist() == pieces.tolist()
    assert found.phrase_photo.tolist() == [0, 0, 0, 1, 1]
    assert [row.nonzero()[:, 0].tolist() for row in found.phrase_boxes] == [[0 + 1], [2 + 0], [], [4 + 0], []]
    assert found.phrase_boxes.shape == (5, 8)
    assert found.phrase_group.tolist() == [True, True, False, False, True]
    assert not found.phrase_whole.any()  # what all of a photograph shows is somewhere in the mosaic


def test_a_phrase_also_holds_for_a_mosaic_with_a_photograph_for_which_it_does():
    also = torch.zeros(3, 8, dtype=torch.bool)
    also[0, [1, 6]] = True  # of its own mosaic too, for which it is no other
    also[1, 7] = True
    also[2, 0] = True
    found = joined(boxed(8, [(0, 0, True), (5, 0, True), (4, 0, True)], also_true=also))
    assert found.also_true.tolist() == [[False, True], [False, False], [True, False]]


def test_a_mosaic_shows_what_one_of_its_photographs_shows_and_may_what_one_may():
    shown = [[1, -1, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 1], [0, 0, 0, 1]] + [[0, 1, -1, 0]] * 4
    box_terms = torch.tensor([[[0, 1]], [[-1, -1]], [[2, -1]], [[3, 0]]] * 2)
    found = joined(
        boxed(
            8, terms=torch.ones(4, 1, dtype=torch.int64), photo_terms=torch.tensor(shown, dtype=torch.int8),
            box_terms=box_terms, main_term=torch.arange(8) % 4,
        )
    )  # fmt: skip
    assert found.photo_terms.tolist() == [[1, -1, 0, 1], [0, 1, -1, 0]]
    assert found.photo_terms.dtype == torch.int8
    assert found.box_terms.tolist() == [[[0, 1], [-1, -1], [2, -1], [3, 0]]] * 2
    assert found.main_term.tolist() == [-1, -1]
    assert found.terms.shape == (4, 1)


def test_boxes_keep_their_rows_of_targets_and_the_whole_has_none():
    rows = torch.tensor([[10, 11, 19], [20, -1, 29], [-1, -1, -1], [40, 41, 49]])
    found = joined(batch_of([[BOX, BOX]] * 4, [(0, 0, True)], target_rows=rows))
    assert found.target_rows.tolist() == [[10, 11, 20, -1, -1, -1, 40, 41, -1]]


def test_photographs_that_people_boxed_come_together():
    even = torch.arange(8) % 2 == 0
    also = torch.zeros(3, 8, dtype=torch.bool)
    also[0, 5] = True
    number = torch.arange(8.0)
    batch = boxed(
        8, [(0, 0, True), (1, 0, True), (7, 0, True)], complete=even, also_true=also, is_weak=~even[:, None],
        boxes=torch.tensor([[BOX]] * 8) * even[:, None, None], sizes=torch.where(even, 4.0, 2.0)[:, None].expand(-1, 2),
        terms=torch.ones(1, 1, dtype=torch.int64), photo_terms=even[:, None].to(torch.int8),
        box_terms=torch.zeros(8, 1, 1, dtype=torch.int64), main_term=torch.zeros(8, dtype=torch.int64),
    )  # fmt: skip
    found, images = mosaic(batch, number.view(8, 1, 1, 1).expand(-1, 3, 4, 4))
    assert found.names == ["1.jpg, 3.jpg, 5.jpg, 7.jpg", "0.jpg, 2.jpg, 4.jpg, 6.jpg"]
    assert images[:, 0, ::2, ::2].tolist() == [[[1, 3], [5, 7]], [[0, 2], [4, 6]]]
    assert found.complete.tolist() == [False, True]
    assert found.is_weak.tolist() == [[True] * 4, [False] * 4]
    assert found.boxes[:, 0].tolist() == [NOTHING, UPPER_LEFT]
    assert found.sizes.tolist() == [[3, 3], [4, 4]]
    assert found.photo_terms.tolist() == [[0], [1]]
    assert found.phrase_photo.tolist() == [1, 0, 0]
    assert found.phrase_boxes.int().argmax(1).tolist() == [0, 0, 3]
    assert found.also_true.tolist() == [[True, False], [False, False], [False, False]]


def test_one_that_people_did_not_box_leaves_background_unknown():
    assert joined(boxed(4, complete=torch.tensor([True, True, False, True]))).complete.tolist() == [False]


def test_a_detectors_boxes_are_no_things_where_people_boxed_whatever_they_are_joined_with():
    weak = torch.tensor([[True], [True], [False], [False]])
    mixed = joined(boxed(4, complete=torch.tensor([True, False, True, False]), is_weak=weak))
    # The quarters: those that people did not box first, numbers 1 and 3, then 0 and 2.
    assert mixed.is_weak.tolist() == [[True, False, True, False]]
    assert mixed.is_box.tolist() == [[True, True, False, True]]
    assert joined(boxed(4, complete=torch.ones(4, dtype=torch.bool), is_weak=weak)).is_box.all()


def test_what_makes_no_four_is_left_out_with_its_phrases():
    complete = torch.tensor([True, False, False, False, False, True])
    phrases = [(0, 0, True), (1, 0, True), (4, -1, False), (5, 0, True)]
    also = torch.tensor([[False] * 6, [True] + [False] * 5, [False] * 6, [False, True] + [False] * 4])
    vectors = torch.eye(4)
    found, images = mosaic(
        boxed(6, phrases, complete=complete, also_true=also, phrase_vectors=vectors), torch.zeros(6, 3, 100, 100)
    )
    assert len(images) == len(found.sizes) == len(found.boxes) == 1
    assert found.names == ["1.jpg, 2.jpg, 3.jpg, 4.jpg"]
    assert len(found.phrases) == 2 and found.phrase_photo.tolist() == [0, 0]
    assert found.phrase_boxes.tolist() == [[True, False, False, False], [False] * 4]
    assert found.phrase_group.tolist() == [True, False]
    assert found.phrase_vectors.tolist() == vectors[1:3].tolist()
    assert found.also_true.tolist() == [[False], [False]]  # what is left out holds nothing


def test_fewer_than_four_stay_as_they_are():
    batch, images = boxed(3), torch.zeros(3, 3, 4, 4)
    found, same = mosaic(batch, images)
    assert found is batch and same is images


# -- of real batches


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> list[AnnotatedImage]:
    return load_annotations(*write_world(tmp_path_factory.mktemp("world"), 9))


def loader(photographs: list[AnnotatedImage], **options) -> BatchLoader:
    return BatchLoader(photographs, vocabulary(), word_pieces(), tiny_config(), batch_size=9, seed=1, **options)


def test_what_is_said_of_a_box_is_seen_in_it(photographs):
    batch = loader(photographs).batch(range(9), (1,))
    found, images = mosaic(batch, batch.images.float())
    words = [vocabulary().encode(f"a {colour} square") for colour in COLOURS]
    colours = torch.tensor(list(COLOURS.values()))
    assert found.is_box.sum() == 16  # two each, of eight
    for n, column in found.is_box.nonzero().tolist():
        x, y = found.boxes[n, column].view(2, 2).mean(0).int().tolist()
        nearest = (colours - images[n, :, y, x]).abs().sum(1).argmin().item()
        assert words[nearest] == found.captions[n, column].tolist()


@pytest.fixture(scope="module")
def everything(photographs, tmp_path_factory) -> BatchLoader:
    """Boxes, some of them of things that have names, names, a teacher, and a classifier's targets."""
    folder = tmp_path_factory.mktemp("everything")
    TeacherVectors.write(folder / "t.h5", [f"a {name} square" for name in COLOURS], np.eye(4, dtype=np.float32))
    dogs = [replace(photo, names=("dog",), phrases=(("a dog",), ("a red square",))) for photo in photographs[:4]]
    named = dogs + [replace(photo, names=("cat",)) for photo in photographs[4:]]
    terms = write_terms(folder / "terms.json", {n: [DOG] if n < 5 else [CAT] for n in range(1, 10)})
    targets = write_targets(folder / "targets.h5", {n: [(0, 0.9)] * 3 for n in range(1, 10)})
    return loader(named, augment=True, teacher=TeacherVectors(folder / "t.h5"), terms=terms, targets=targets)


@pytest.mark.parametrize(("count", "silent"), [(9, set()), (4, {"photographs", "phrases", "named_photographs"})])
def test_all_losses_of_mosaics_are_finite(everything, count, silent):
    """Of two, and of one alone, which has no other to be compared with."""
    torch.manual_seed(0)
    model = tiny_network(dropout=0.0)
    auxiliary = AuxiliaryLosses(everything.targets, code_size=model.config.code_size)
    batch = everything.batch(range(count), (1,))
    batch, images = mosaic(batch, tint(batch.images, batch.tints))
    features = model.features(normalize(images))
    losses = training_losses(model, auxiliary, batch, features, torch.Generator().manual_seed(0))
    assert set(losses) == {
        *PAPER_WEIGHTS, *CONTRASTIVE_WEIGHTS, *TEACHER_WEIGHTS, *NAMING_WEIGHTS, *DISTILLATION_WEIGHTS
    }  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert {name for name, loss in losses.items() if loss.item() == 0} == silent
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(gradient).all() for gradient in gradients)
