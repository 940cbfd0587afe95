"""Features of a frozen backbone in a real HDF5 file."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from fcln.errors import TrainingError
from fcln.training.feature_cache import FeatureCache

# At two strides.
FEATURES = [
    np.linspace(-3, 3, 2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8),
    np.linspace(-3, 3, 3 * 3 * 4, dtype=np.float32).reshape(3, 3, 4),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "below" / "features.h5"


def test_round_trip_in_a_new_process_of_the_file(path):
    cache = FeatureCache(path, "weights A")
    assert cache.missing([7, 8]) == [7, 8]
    cache.write(7, FEATURES)
    cache.flush()
    cache.close()
    cache = FeatureCache(path, "weights A")
    assert 7 in cache and 8 not in cache and cache.missing([7, 8]) == [8]
    again = cache.read(7)
    assert len(again) == 2
    for found, maps in zip(again, FEATURES, strict=True):
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, maps.astype(np.float16))
    cache.close()


def test_another_backbones_file_is_refused_and_kept(path):
    cache = FeatureCache(path, "weights A")
    cache.write(7, FEATURES)
    cache.flush()
    cache.close()
    with pytest.raises(TrainingError, match=r"features\.h5 caches another backbone"):
        FeatureCache(path, "weights B")
    cache = FeatureCache(path, "weights A")
    assert 7 in cache
    cache.close()


def test_a_file_that_no_one_filled_takes_any_fingerprint(path):
    FeatureCache(path, "weights A").close()
    cache = FeatureCache(path, "weights B")
    cache.write(7, FEATURES)
    cache.flush()
    cache.close()


FILL = """
import sys
from pathlib import Path
import numpy as np
from fcln.training.feature_cache import FeatureCache
cache = FeatureCache(Path(sys.argv[1]), "weights A")
for image_id in range(1, 10_000_000):
    cache.write(image_id, [np.ones((4, 30, 30))])
    if image_id == 20:
        print("filling", flush=True)
"""


def killed_while_filling(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FILL, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout.readline() == b"filling\n"
        process.kill()


@pytest.mark.parametrize("already", [0, 50])
def test_a_cache_killed_while_it_was_filled_is_set_aside(path, caplog, already):
    """Also one that had been filled before: its old part may be torn too."""
    cache = FeatureCache(path, "weights A")
    for image_id in range(-already, 0):
        cache.write(image_id, FEATURES)
    cache.flush()
    cache.close()
    killed_while_filling(path)
    cache = FeatureCache(path, "weights A")
    assert cache.missing([-1, 1]) == [-1, 1]
    assert "features.h5 was being filled" in caplog.text
    cache.write(1, FEATURES)
    cache.flush()
    cache.close()
    cache = FeatureCache(path, "weights A")
    assert cache.missing([1, 2]) == [2]
    cache.close()


def test_a_cache_in_use_is_refused(path):
    cache = FeatureCache(path, "weights A")
    cache.write(7, FEATURES)
    cache.flush()
    code = "from pathlib import Path; from fcln.training.feature_cache import FeatureCache; "
    code += f"FeatureCache(Path({str(path)!r}), 'weights A')"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False
    )
    assert found.returncode != 0 and "features.h5 is in use by another training" in found.stderr
    assert 7 in cache
    cache.close()


def test_a_file_that_is_not_hdf5_is_refused_and_kept(path):
    path.parent.mkdir()
    path.write_bytes(b"the only copy of a thesis")
    with pytest.raises(TrainingError, match=r"features\.h5 cannot be used"):
        FeatureCache(path, "weights A")
    assert path.read_bytes() == b"the only copy of a thesis"


def test_the_file_is_plain_hdf5(path):
    cache = FeatureCache(path, "weights A")
    cache.write(7, FEATURES)
    cache.flush()
    cache.close()
    with h5py.File(path) as file:
        assert file.attrs["fingerprint"] == "weights A" and file["7/1"].shape == (3, 3, 4)
