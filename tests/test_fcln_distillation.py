"""What a sentence-embedding teacher thinks of phrases, as a file."""

import random

import h5py
import numpy as np
import pytest

from fcln.errors import DatasetError
from fcln.training.distillation import TeacherVectors, plain

TEXTS = ["a dog", "a hound", "the sea", "zwei Hunde"]
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)


@pytest.fixture
def teacher(tmp_path) -> TeacherVectors:
    TeacherVectors.write(tmp_path / "deep" / "t.h5", TEXTS, VECTORS)
    return TeacherVectors(tmp_path / "deep" / "t.h5")


def test_plain():
    assert plain("A man's T-shirt!") == "a mans tshirt"


def test_vectors_of_texts_however_they_are_written(teacher):
    found = teacher.vectors(["The sea.", "A dog", "a cat"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 1], [1, 0], [0, 0]])
    np.testing.assert_allclose(teacher.vectors(["a hound"]), [[0.8, 0.6]], atol=1e-3)


def test_half_of_the_texts_drawn_are_neighbours_of_the_others(teacher):
    drawn = teacher.draw(20, random.Random(1))
    assert len(drawn) == 20 and set(drawn[:10]) == set(TEXTS)
    nearest = {"a dog": "a hound", "a hound": "a dog", "the sea": "a hound", "zwei Hunde": "the sea"}
    assert all(drawn[10 + n] == nearest[text] for n, text in enumerate(drawn[:10]))
    assert teacher.draw(20, random.Random(1)) == drawn


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "t.h5").write_bytes(b"no HDF5")
    with pytest.raises(DatasetError, match="teacher_vectors"):
        TeacherVectors(tmp_path / "t.h5")
    with h5py.File(tmp_path / "u.h5", "w") as file:
        file["texts"] = [b"a"]
    with pytest.raises(DatasetError, match="teacher_vectors"):
        TeacherVectors(tmp_path / "u.h5")
