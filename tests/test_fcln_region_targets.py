"""What an image classifier sees in regions, in a real HDF5 file."""

import h5py
import numpy as np
import pytest

from fcln.errors import DatasetError
from fcln.training.region_targets import RegionTargets


@pytest.fixture
def path(tmp_path):
    """Photograph 7 with two boxes, 3 with none, 12 with one: 3 + 1 + 2 rows."""
    path = tmp_path / "below" / "targets.h5"
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2) / 3
    classes, probabilities = np.arange(30).reshape(6, 5) + 900, np.linspace(1, 0, 30).reshape(6, 5)
    RegionTargets.write(path, [7, 3, 12], [3, 1, 2], vectors, classes, probabilities)
    return path


def test_round_trip(path):
    targets = RegionTargets(path)
    assert targets.vectors.dtype == targets.probabilities.dtype == np.float16 and targets.classes.dtype == np.int16
    np.testing.assert_array_equal(targets.vectors, (np.arange(12).reshape(6, 2) / 3).astype(np.float16))
    assert targets.classes[5].tolist() == [925, 926, 927, 928, 929]
    assert [list(targets.rows(*which)) for which in ((7, 2), (3, 0), (12, 1))] == [[0, 1, 2], [3], [4, 5]]
    assert targets.rows(8, 2) is None
    assert list(path.parent.iterdir()) == [path]  # nothing is left beside it


@pytest.mark.parametrize("count", [0, 1, 3])
def test_targets_of_other_boxes_are_refused(path, count):
    with pytest.raises(DatasetError, match="Photograph 7 has other boxes"):
        RegionTargets(path).rows(7, count)


def test_another_file_is_refused_by_name(tmp_path, path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["vectors"] = [1]
    (tmp_path / "text.h5").write_text("targets")
    for name in ("other.h5", "text.h5", "none.h5"):
        with pytest.raises(DatasetError, match=rf"{name} is not a file of scripts\.train\.region_targets"):
            RegionTargets(tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"targets\.h5 is not a file"):
        RegionTargets(path)
