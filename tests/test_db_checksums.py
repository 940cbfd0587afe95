import zlib

import numpy as np
import pytest

from db.checksums import features_crc32, regions_crc32

CODES = np.array([[1, 2, 3], [4, 5, 6]], np.float16)
EMBEDDINGS = np.array([[0.6, 0.8], [0.1, 0.2]], np.float32)
ROWS = {
    "digest": b"aa",
    "width": 100,
    "height": 80,
    "first_region_id": 7,
    "boxes_and_scores": np.array([[1, 2, 3, 4, 0.5], [0, 0, 9, 9, 0.25]]),
    "phrases": [b"a dog", b"a couch"],
}


def test_features_are_summed_as_the_segment_holds_them():
    stored = CODES.astype("<f2").tobytes() + EMBEDDINGS.astype("<f2").tobytes()
    assert features_crc32(CODES, EMBEDDINGS) == zlib.crc32(stored)
    assert features_crc32(CODES, EMBEDDINGS.astype(np.float16)) == zlib.crc32(stored)
    assert features_crc32(CODES[::-1][::-1], EMBEDDINGS) == zlib.crc32(stored)  # whatever the order in memory


@pytest.mark.parametrize("bit", range(0, 2 * 2 * 5 * 8, 7))
def test_a_flipped_bit_changes_the_sum(bit):
    data = bytearray(CODES.tobytes() + EMBEDDINGS.astype(np.float16).tobytes())
    data[bit // 8] ^= 1 << bit % 8
    codes = np.frombuffer(data[:12], np.float16).reshape(2, 3)
    embeddings = np.frombuffer(data[12:], np.float16).reshape(2, 2)
    assert features_crc32(codes, embeddings) != features_crc32(CODES, EMBEDDINGS)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": b"ab"},
        {"width": 101},
        {"height": 81},
        {"first_region_id": 8},
        {"boxes_and_scores": ROWS["boxes_and_scores"] + [[0, 0, 0, 0, 0], [0, 0, 0, 0, 2**-30]]},
        {"phrases": [b"a dog", b"a touch"]},
        {"phrases": [b"a couch", b"a dog"]},
        {"phrases": [b"a doga", b" couch"]},
    ],
)
def test_every_column_counts(change):
    assert regions_crc32(**{**ROWS, **change}) != regions_crc32(**ROWS)


def test_minus_zero_is_zero_as_sqlite_has_it():
    assert regions_crc32(**{**ROWS, "boxes_and_scores": ROWS["boxes_and_scores"] * [[1], [1]]}) == regions_crc32(**ROWS)
    negative = ROWS["boxes_and_scores"].copy()
    negative[1, :2] = -0.0
    assert regions_crc32(**{**ROWS, "boxes_and_scores": negative}) == regions_crc32(**ROWS)
