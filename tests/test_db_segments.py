from dataclasses import replace

import h5py
import numpy as np
import pytest

from db.checksums import features_crc32
from db.errors import CollectionDamaged
from db.local.extents import Extents
from db.local.segments import SegmentFolder, as_float32, products

# Three photographs: 10 and 11 are neighbours in segment 1, 12 is alone in segment 2.
EXTENTS = Extents(
    photo_ids=np.array([10, 11, 12]),
    first_region_ids=np.array([4, 6, 20]),
    counts=np.array([2, 1, 3]),
    segment_ids=np.array([1, 1, 2]),
    first_rows=np.array([0, 2, 1]),
    checksums=np.array([-1, -1, -1]),
)


def numbers(first, rows, columns):
    return np.arange(first, first + rows * columns).reshape(rows, columns)


@pytest.fixture
def folder(tmp_path):
    return SegmentFolder(tmp_path / "features", code_size=3, embedding_size=2)


@pytest.fixture
def segments(folder):
    """Segment 1 with regions 4, 5, 6 and segment 2 with 19, 20, 21, 22; the numbers in them count up."""
    one = folder.write(1, np.array([4, 5, 6]), numbers(0, 3, 3), numbers(100, 3, 2))
    two = folder.write(2, np.array([19, 20, 21, 22]), numbers(50, 4, 3), numbers(200, 4, 2))
    return {1: one, 2: two}


def test_a_segment_is_plain_hdf5(folder, segments):
    with h5py.File(folder.path / segments[1].name) as file:
        assert {name: array.dtype.str for name, array in file.items()} == {
            "region_ids": "<i8",
            "codes": "<f2",
            "embeddings": "<f2",
        }
        assert file["region_ids"][:].tolist() == [4, 5, 6]
        assert file["codes"][:].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
        assert file["embeddings"][:].tolist() == [[100, 101], [102, 103], [104, 105]]


def test_mapped_embeddings_are_those_read(folder, segments):
    """Also where a compaction put later photographs into earlier segments, and photo by photo."""
    mapped = folder.mapped(segments)
    for photos in ([0, 1, 2], [0, 2], [2], [1, 0, 2, 1], []):
        extents = EXTENTS.take(np.array(photos, np.int64))
        read = folder.read("embeddings", extents, segments)
        assert mapped.read(extents).dtype == np.float16 and mapped.read(extents).tolist() == read.tolist()
    single = EXTENTS.rows_of(np.array([5, 6, 22]))
    assert mapped.read(single).tolist() == [[102, 103], [104, 105], [206, 207]]


@pytest.mark.parametrize("at_once", [1, 2, 500])
def test_products_with_mapped_embeddings_are_those_with_what_is_read(folder, segments, monkeypatch, at_once):
    """However few rows are multiplied at a time, fewer than a photograph has too."""
    monkeypatch.setattr("db.local.segments._PRODUCT_ROWS", at_once)
    mapped = folder.mapped(segments)
    vectors = np.array([[0.5, -0.25], [1, 2], [0, 0]], np.float32)
    for photos in ([0, 1, 2], [0, 2], [2], []):
        extents = EXTENTS.take(np.array(photos, np.int64))
        read = folder.read("embeddings", extents, segments).astype(np.float32)
        assert mapped.products(vectors, extents).tolist() == (vectors @ read.T).tolist()


def test_products_of_any_half_float(tmp_path):
    """The smallest ones and both signs too: the same bits as of float32."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 1)
    folder = SegmentFolder(tmp_path, code_size=1, embedding_size=1)
    segment = folder.write(1, np.arange(len(halves)), halves, halves)
    one = np.array([1])
    everything = Extents(one, one, np.array([len(halves)]), one, np.array([0]), -one)
    found = folder.mapped({1: segment}).products(np.array([[1], [-0.5]], np.float32), everything)
    assert found.tolist() == [
        halves[:, 0].astype(np.float32).tolist(),
        (-0.5 * halves[:, 0].astype(np.float32)).tolist(),
    ]


def test_a_photograph_that_its_segment_has_not_all_of_is_damage(folder, segments):
    beyond = replace(EXTENTS.take(np.array([2])), counts=np.array([4]))
    with pytest.raises(CollectionDamaged, match=segments[2].name):
        folder.mapped(segments).products(np.ones((1, 2), np.float32), beyond)


@pytest.mark.parametrize("harm", ["gone", "short", "long", "rows"])
def test_a_segment_that_was_altered_is_not_mapped(folder, segments, harm):
    path = folder.path / segments[2].name
    if harm == "gone":
        path.unlink()
    elif harm == "rows":
        segments[2] = replace(segments[2], rows=1000)
    else:
        path.write_bytes(path.read_bytes()[:-1] if harm == "short" else path.read_bytes() + b"0")
    mapped = folder.mapped(segments)
    assert mapped.read(EXTENTS.take(np.array([0]))).tolist() == [[100, 101], [102, 103]]
    with pytest.raises(CollectionDamaged, match=segments[2].name):
        mapped.read(EXTENTS)


def test_half_floats_as_float32():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(-1, 4)
    assert np.array_equal(as_float32(halves), halves.astype(np.float32), equal_nan=True)


def test_half_floats_that_are_all_finite_as_float32():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(-1, 2)
    assert np.array_equal(as_float32(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))
    assert as_float32(halves[:0]).shape == (0, 2)


def test_inner_products_of_few_with_many():
    rng = np.random.default_rng(1)
    few, many = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(50, 8)).astype(np.float32)
    assert products(few, many) == pytest.approx(few @ many.T, abs=1e-5)
    assert products(few, many[:0]).shape == (3, 0)


def test_the_same_features_give_the_same_file(folder, tmp_path):
    other = SegmentFolder(tmp_path / "other", code_size=3, embedding_size=2)
    arguments = (7, np.array([1]), numbers(0, 1, 3), numbers(0, 1, 2))
    one, two = folder.write(*arguments), other.write(*arguments)
    assert one == two and one.name == f"00000007-{one.sha256[:8]}.h5"
    assert (folder.path / one.name).read_bytes() == (other.path / two.name).read_bytes()
    assert folder.write(7, np.array([2]), numbers(0, 1, 3), numbers(0, 1, 2)).name != one.name


def test_rows_are_read_where_the_extents_say(folder, segments):
    codes = folder.read("codes", EXTENTS, segments)
    assert codes.dtype == np.float16
    assert codes.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [53, 54, 55], [56, 57, 58], [59, 60, 61]]
    embeddings = folder.read("embeddings", EXTENTS.take(np.array([1, 2])), segments)
    assert embeddings.tolist() == [[104, 105], [202, 203], [204, 205], [206, 207]]
    assert folder.read("codes", EXTENTS.take(slice(0, 0)), segments).shape == (0, 3)


def test_photographs_that_changed_places_in_a_segment_are_read_in_region_order(folder, segments):
    # Photograph 11 before photograph 10, as a merged segment might have them.
    swapped = Extents(
        np.array([10, 11]), np.array([4, 6]), np.array([2, 1]), np.array([1, 1]), np.array([1, 0]), np.array([-1, -1])
    )  # fmt: skip
    assert folder.read("embeddings", swapped, segments).tolist() == [[102, 103], [104, 105], [100, 101]]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"is damaged \(\d+ bytes instead of \d+\)"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"), r"is damaged \(its content does not match"),
    ],
)
def test_a_damaged_segment_is_named_in_one_sentence(folder, segments, damage, fault):
    folder.check(segments[2])
    damage(folder.path / segments[2].name)
    with pytest.raises(CollectionDamaged, match=f"{segments[2].name}, the features of 4 regions, {fault}") as found:
        folder.check(segments[2])
    assert "\n" not in str(found.value) and str(found.value).endswith(": run `indexer verify --repair`.")
    folder.check(segments[1])
    if "content" not in fault:  # which reading a few rows does not compare
        with pytest.raises(CollectionDamaged, match=fault):
            folder.read("codes", EXTENTS, segments)


def test_sweeping_spares_what_is_named_and_what_is_not_its_own(folder, segments):
    for name in ("00000003-aaaaaaaa.h5", "00000003-aaaaaaaa.h5.tmp", "notes.txt"):
        (folder.path / name).write_bytes(b"x")
    folder.sweep({2: segments[2]})
    assert {path.name for path in folder.path.iterdir()} == {segments[2].name, "notes.txt"}


def test_rows_that_do_not_match_their_checksum_are_refused(folder, segments):
    codes, embeddings = (folder.read(array, EXTENTS, segments) for array in ("codes", "embeddings"))
    right = [features_crc32(codes[rows], embeddings[rows]) for rows in EXTENTS.slices()]
    extents = replace(EXTENTS, checksums=np.array(right))
    read = folder.read_checked(extents, segments)
    assert (read[0].tolist(), read[1].tolist()) == (codes.tolist(), embeddings.tolist())
    file = folder.path / segments[1].name
    for offset, rows in ((segments[1].codes_offset, 3), (segments[1].embeddings_offset, 2)):
        unaltered = file.read_bytes()
        last_row = offset + (3 - 1) * rows * 2  # of photograph 11
        file.write_bytes(unaltered[:last_row] + bytes([unaltered[last_row] ^ 1]) + unaltered[last_row + 1 :])
        with pytest.raises(CollectionDamaged, match=segments[1].name):
            folder.read_checked(extents, segments)
        folder.read_checked(extents.take(np.array([0, 2])), segments)  # its neighbours are as they were
        folder.read_checked(EXTENTS, segments)  # without checksums, nobody knows
        file.write_bytes(unaltered)


def test_a_segment_as_a_whole(folder, segments):
    stored = folder.read_file(segments[2])
    assert stored.region_ids.tolist() == [19, 20, 21, 22]
    assert stored.codes.tolist() == numbers(50, 4, 3).tolist()
    assert stored.embeddings.tolist() == numbers(200, 4, 2).tolist()


def test_which_files_are_not_there(folder, segments, tmp_path):
    assert folder.absent(segments) == []
    (folder.path / segments[2].name).unlink()
    assert folder.absent(segments) == [segments[2]]
    nowhere = SegmentFolder(tmp_path / "nowhere", code_size=3, embedding_size=2)
    assert nowhere.absent({}) == [] and len(nowhere.absent(segments)) == 2


def test_region_ids_and_their_photographs():
    assert EXTENTS.region_ids().tolist() == [4, 5, 6, 20, 21, 22]
    assert EXTENTS.region_count == 6
    assert list(EXTENTS.slices()) == [slice(0, 2), slice(2, 3), slice(3, 6)]


def test_which_ids_are_regions():
    asked = np.array([22, 3, 4, 5, 6, 7, 19, 20, 23])
    assert EXTENTS.contain(asked).tolist() == [True, False, True, True, True, False, False, True, False]
    assert EXTENTS.take(slice(0, 0)).contain(asked).tolist() == [False] * 9
    last = EXTENTS.are_of(np.array([22, 23]), np.array([2, 2]))
    assert last.tolist() == [True, False]


def test_ranges_of_regions():
    def photographs(extents):
        return extents.photo_ids.tolist()

    assert photographs(EXTENTS.between(4, 6)) == [10, 11]
    assert photographs(EXTENTS.between(6, 19)) == [11]
    assert photographs(EXTENTS.between(7, 19)) == []
    assert photographs(EXTENTS.beyond(0)) == [10, 11, 12]
    assert photographs(EXTENTS.beyond(6)) == [12]
    assert photographs(EXTENTS.beyond(22)) == []
    assert list(EXTENTS.beyond(22).parts(10)) == []


@pytest.mark.parametrize(
    ("rows", "parts"), [(1, [[10], [11], [12]]), (3, [[10, 11], [12]]), (5, [[10, 11], [12]]), (6, [[10, 11, 12]])]
)
def test_parts_are_whole_photographs(rows, parts):
    assert [part.photo_ids.tolist() for part in EXTENTS.parts(rows)] == parts
