"""When two photographs are taken for one: by hand-made regions."""

import numpy as np

from fcln.similarity import Look, are_alike, worth_a_look

BOXES = np.array([[0, 0, 100, 80], [10, 10, 50, 40], [60, 20, 90, 70]], np.float32)
EYE = np.eye(4, dtype=np.float32)[:3]


def look(embeddings=EYE, boxes=BOXES, size=(100, 80)) -> Look:
    return Look.of(embeddings, boxes, *size)


def test_the_same_regions_at_another_size_are_alike():
    assert are_alike(look(), look(boxes=BOXES * 3, size=(300, 240)))
    assert are_alike(look(), look(EYE[::-1], BOXES[::-1]))  # in any order


def test_other_things_are_not_alike_nor_the_same_things_elsewhere():
    assert not are_alike(look(), look(np.roll(EYE, 1, axis=1)[:, ::-1]))
    mirrored = BOXES.copy()
    mirrored[1:] = [[0, 50, 20, 79], [30, 60, 50, 79]]
    tiny = mirrored.copy()
    tiny[0] = [90, 0, 99, 9]
    assert not are_alike(look(), look(boxes=tiny))


def test_what_is_worth_a_look_is_found_in_any_part_of_the_table():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(2500, 32)).astype(np.float32)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    means[2300], means[7] = means[5], means[1500]
    assert worth_a_look(means) == [(5, 2300), (7, 1500)]


def test_the_mean_has_unit_length():
    np.testing.assert_allclose(look().mean, np.array([1, 1, 1, 0]) / np.sqrt(3), rtol=1e-6)
