"""Libraries that move: recognised by what is in them, or told by hand; nothing is described again."""

import os
import shutil

import pytest

from db.collection import open_collection
from helpers.workshop import MODEL, Workshop, counts
from indexer.errors import FolderError
from indexer.relocation import relocate


@pytest.fixture
def shop(tmp_path):
    shop = Workshop(tmp_path)
    for number in range(6):
        shop.photo(f"{number % 2}/{number}.png", (40 * number, 0, 0))
    shop.build()
    shop.predictor.batches.clear()
    return shop


def where(shop) -> dict[str, list[str]]:
    """Root -> relative paths of described photographs."""
    with open_collection(shop.path) as collection:
        return {
            str(root): sorted(path for path, stat in collection.known(root_id).items() if not stat.failed)
            for root_id, root in collection.roots().items()
        }


PATHS = ["0/0.png", "0/2.png", "0/4.png", "1/1.png", "1/3.png", "1/5.png"]


def test_a_renamed_root_is_recognised(shop, tmp_path):
    new = tmp_path / "renamed"
    shop.root.rename(new)
    assert counts(shop.build(new)) == {"unchanged": 6}
    assert where(shop) == {str(new): PATHS}
    assert shop.predictor.described == 0
    assert shop.progress.said == [f"{shop.root} is now {new}: its 6 photographs are known there"]


def test_a_root_copied_to_another_disk_is_recognised_with_what_changed_since(shop, tmp_path):
    new = tmp_path / "disk"
    shutil.copytree(shop.root, new)
    shutil.rmtree(shop.root)
    os.utime(new / "0" / "0.png", ns=(1, 1))
    (new / "0" / "2.png").unlink()
    shutil.copy(new / "1" / "1.png", new / "copy.png")
    assert counts(shop.build(new)) == {"unchanged": 5, "new": 1, "gone": 1}
    assert shop.predictor.described == 0
    assert where(shop) == {str(new): ["0/0.png", "0/4.png", "1/1.png", "1/3.png", "1/5.png", "copy.png"]}


def test_a_root_is_found_below_the_folder_that_is_built(shop, tmp_path):
    new = tmp_path / "archive" / "deep" / shop.root.name
    new.parent.mkdir(parents=True)
    shop.root.rename(new)
    assert counts(shop.build(tmp_path / "archive")) == {"unchanged": 6}
    assert where(shop) == {str(new): PATHS}


def test_photographs_that_lie_otherwise_now_are_recognised_one_by_one_and_the_dead_root_is_forgotten(shop, tmp_path):
    new = tmp_path / "sorted"
    new.mkdir()
    for path in list(shop.root.rglob("*.png")):
        path.rename(new / f"photo {path.name}")
    shutil.rmtree(shop.root)
    assert counts(shop.build(new)) == {"moved": 6}
    assert shop.predictor.described == 0
    assert where(shop) == {str(new): [f"photo {number}.png" for number in range(6)]}
    assert shop.progress.said == [f"{shop.root} is forgotten: all its photographs are elsewhere now"]


def test_a_disk_that_is_not_plugged_in_keeps_what_is_not_found_elsewhere(shop, tmp_path):
    new = tmp_path / "some"
    (new / "x").mkdir(parents=True)
    shutil.copy(shop.root / "0" / "0.png", new / "x" / "again.png")
    shop.root.rename(tmp_path / "away")
    assert counts(shop.build(new)) == {"moved": 1}
    assert where(shop) == {str(shop.root): PATHS[1:], str(new): ["x/again.png"]}
    (tmp_path / "away").rename(shop.root)
    assert counts(shop.build()) == {"new": 1, "unchanged": 5}  # a copy again
    assert shop.predictor.described == 0


def test_another_folder_is_not_taken_for_a_missing_root(shop, tmp_path):
    new = tmp_path / "other"
    shop.root.rename(tmp_path / "away")
    for path in PATHS:
        shop.photo(new / path, "orange")
        with open(new / path, "ab") as file:
            known = shop.stats()[path]
            file.write(bytes(max(0, known.size - (new / path).stat().st_size)))
    shop.build(new)
    assert where(shop)[str(shop.root)] == PATHS
    assert shop.predictor.described == 1  # they are alike


def test_by_hand_a_whole_root(shop, tmp_path):
    new = tmp_path / "elsewhere"
    shop.root.rename(new)
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        assert relocate(collection, shop.root, new).photographs == 6
    assert where(shop) == {str(new): PATHS}
    assert counts(shop.build(new)) == {"unchanged": 6}


def test_by_hand_a_folder_into_another_root(shop, tmp_path):
    other = tmp_path / "other"
    shop.photo(other / "a.png", "white")
    shop.build(other)
    shutil.move(shop.root / "0", other / "zero")
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        moved = relocate(collection, shop.root / "0", other / "zero")
    assert (moved.photographs, moved.replaced) == (3, 0)
    assert where(shop) == {str(shop.root): PATHS[3:], str(other): ["a.png", *(f"zero/{n}.png" for n in (0, 2, 4))]}
    assert counts(shop.build(shop.root, other)) == {"unchanged": 7}


def test_by_hand_where_the_photographs_are_known_already(shop, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(shop.root, other)
    shop.build(other)
    shutil.rmtree(shop.root)
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        moved = relocate(collection, shop.root, other)
    assert (moved.photographs, moved.replaced) == (6, 6)
    assert where(shop) == {str(other): PATHS}
    assert shop.predictor.described == 0


def test_by_hand_what_cannot_be(shop, tmp_path):
    with open_collection(shop.path, write=True, model=MODEL) as collection:
        with pytest.raises(FolderError, match="nowhere is no folder: give the folder where"):
            relocate(collection, shop.root, tmp_path / "nowhere")
        with pytest.raises(FolderError, match=r"the collection knows nothing in .*/collection"):
            relocate(collection, tmp_path / "collection", tmp_path)
    assert where(shop) == {str(shop.root): PATHS}
