"""Libraries that move: recognised by what is in them, or told by hand; nothing is described again."""

import os
import shlex
import shutil

import pytest
from click.testing import CliRunner

from db.collection import open_collection
from helpers.workshop import MODEL, Workshop, counts
from indexer.cli import main
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


def test_of_a_root_that_moved_half_may_be_edited_or_gone(shop, tmp_path):
    new = tmp_path / "renamed"
    shop.root.rename(new)
    for number in (0, 2):
        shop.photo(new / f"0/{number}.png", "orange", size=(70 + number, 50))
    for number in (1,):
        (new / f"1/{number}.png").unlink()
    assert counts(shop.build(new)) == {"unchanged": 3, "changed": 2, "gone": 1}
    assert where(shop) == {str(new): [path for path in PATHS if path != "1/1.png"]}


def test_a_small_root_below_a_new_parent_and_one_deleted(shop, tmp_path):
    small = tmp_path / "small"
    for number in range(3):
        shop.photo(small / f"{number}.png", (0, 90 * number, 0))
    shop.build(small)
    (tmp_path / "archive").mkdir()
    small.rename(tmp_path / "archive" / "small")
    (tmp_path / "archive" / "small" / "1.png").unlink()
    assert counts(shop.build(tmp_path / "archive")) == {"unchanged": 2, "gone": 1}
    assert where(shop)[str(tmp_path / "archive" / "small")] == ["0.png", "2.png"]
    assert str(small) not in where(shop)


def test_what_is_left_of_a_root_that_moved_otherwise_is_told_with_a_command_that_forgets_it(shop, tmp_path):
    new = tmp_path / "sorted by year"
    new.mkdir()
    for number in range(4):
        (shop.root / f"{number % 2}/{number}.png").rename(new / f"photo {number}.png")
    shutil.rmtree(shop.root)
    assert counts(shop.build(new)) == {"moved": 4}
    command = f"indexer remove {shop.root} --collection {shop.path}"
    assert shop.progress.warnings == [
        f"{shop.root} is not there: 4 of its photographs are elsewhere now, 2 were not found; `{command}` forgets the "
        "rest"
    ]
    shop.build(new)
    assert shop.progress.warnings == []  # once is enough
    assert CliRunner().invoke(main, shlex.split(command)[1:]).exit_code == 0
    assert where(shop) == {str(new): [f"photo {number}.png" for number in range(4)]}


def test_a_missing_root_among_those_that_are_built_is_looked_for_in_the_others(shop, tmp_path):
    other = tmp_path / "other"
    shop.photo(other / "a.png", "white")
    shop.build(other)
    for path in list(shop.root.rglob("*.png")):
        path.rename(other / f"photo {path.name}")
    shutil.rmtree(shop.root)
    assert counts(shop.build(shop.root, other)) == {"moved": 6, "unchanged": 1}
    assert list(where(shop)) == [str(other)]


def test_pruned_a_missing_root_is_forgotten_as_a_whole(shop, tmp_path):
    other = tmp_path / "other"
    shop.photo(other / "a.png", "white")
    shop.build(other)
    shutil.rmtree(shop.root)
    shop.build(shop.root, other)
    assert where(shop)[str(shop.root)] == PATHS
    assert counts(shop.build(shop.root, other, prune=True)) == {"gone": 6, "unchanged": 1}
    assert where(shop) == {str(other): ["a.png"]}
    assert shop.progress.said == [f"{shop.root} is forgotten: it is not there any more"]


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
        (tmp_path / "another").mkdir()
        with pytest.raises(
            FolderError, match=r"another has none of the photographs of .*, such as .*: give the folder"
        ):
            relocate(collection, shop.root, tmp_path / "another")
    assert where(shop) == {str(shop.root): PATHS}
