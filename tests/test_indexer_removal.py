"""What `indexer remove` takes for a photograph, a folder and a root."""

import os
import shutil
from pathlib import Path

import pytest

from db.collection import Collection, open_collection
from indexer.errors import FolderError
from indexer.removal import Removal, remove
from test_indexer_plan import MODEL, remember, touch


@pytest.fixture
def root(tmp_path) -> Path:
    """A root with photographs and a failed file, and another one inside it."""
    folder = tmp_path / "photos"
    touch(folder, "a.jpg", "2019/b.jpg", "2019/06/c.jpg", "2019b/d.jpg", "bad.jpg", "inner/e.jpg", "inner/f.jpg")
    return folder


@pytest.fixture
def collection(tmp_path, root):
    with open_collection(tmp_path / "collection", write=True, create=True, model=MODEL) as opened:
        remember(opened, root, "a.jpg", "2019/b.jpg", "2019/06/c.jpg", "2019b/d.jpg")
        remember(opened, root, "bad.jpg", failed=True)
        remember(opened, root / "inner", "e.jpg", "f.jpg")
        yield opened


def left(collection: Collection) -> list[str]:
    return sorted(path for root_id in collection.roots() for path in collection.known(root_id))


def test_a_photograph(collection, root):
    assert remove(collection, [root / "a.jpg"]) == Removal(photographs=1, failed=0)
    assert left(collection) == ["2019/06/c.jpg", "2019/b.jpg", "2019b/d.jpg", "bad.jpg", "e.jpg", "f.jpg"]
    assert (root / "a.jpg").exists()


def test_a_folder_with_all_below_and_not_its_namesake(collection, root):
    assert remove(collection, [root / "2019"]) == Removal(photographs=2, failed=0)
    assert left(collection) == ["2019b/d.jpg", "a.jpg", "bad.jpg", "e.jpg", "f.jpg"]


def test_a_root_with_the_roots_inside_it(collection, root):
    assert remove(collection, [root]) == Removal(photographs=6, failed=1)
    assert (left(collection), collection.roots(), collection.region_count()) == ([], {}, 0)


def test_a_root_that_lies_deeper_than_the_path(collection, root, tmp_path):
    assert remove(collection, [root / "inner"]) == Removal(photographs=2, failed=0)
    assert list(collection.roots().values()) == [root]
    assert remove(collection, [tmp_path]) == Removal(photographs=4, failed=1)
    assert collection.roots() == {}


def test_a_root_of_which_nothing_is_left(collection, root):
    assert remove(collection, [root / "inner" / "e.jpg", root / "inner" / "f.jpg"]) == Removal(2, 0)
    assert root / "inner" in collection.roots().values()  # a build may find others there
    assert remove(collection, [root / "inner"]) == Removal(0, 0)
    assert list(collection.roots().values()) == [root]


def test_several_paths_that_overlap(collection, root):
    assert remove(collection, [root / "2019", root / "2019" / "b.jpg", root / "bad.jpg"]) == Removal(2, 1)


def test_what_is_not_on_the_disk_any_more(collection, root):
    shutil.rmtree(root)
    assert remove(collection, [root / "2019" / "06"]) == Removal(photographs=1, failed=0)


def test_relative_paths(collection, root, monkeypatch):
    monkeypatch.chdir(root / "2019")
    assert remove(collection, [Path("b.jpg")]) == Removal(1, 0)
    assert remove(collection, [Path(".")]) == Removal(1, 0)
    assert remove(collection, [Path("..")]) == Removal(4, 1)


def test_links(collection, root, tmp_path):
    """A link to a root is that root; a link inside a root is known under its own name."""
    (tmp_path / "link").symlink_to(root)
    assert remove(collection, [tmp_path / "link" / "2019"]) == Removal(2, 0)
    touch(tmp_path, "disk/g.jpg")
    (root / "disk").symlink_to(tmp_path / "disk")
    (root / "h.jpg").symlink_to(tmp_path / "disk" / "g.jpg")
    remember(collection, root, "disk/g.jpg", "h.jpg")
    assert remove(collection, [root / "disk"]) == Removal(1, 0)
    assert remove(collection, [root / "h.jpg"]) == Removal(1, 0)
    assert remove(collection, [tmp_path / "link"]) == Removal(4, 1)


def test_one_unknown_path_is_refused_with_all_others(collection, root):
    before = left(collection)
    with pytest.raises(FolderError, match=r"knows no photograph in .*nothing: `indexer status` lists"):
        remove(collection, [root / "a.jpg", root / "nothing"])
    assert left(collection) == before


def test_names_that_are_no_text(collection, root):
    name = os.fsdecode(b"\xff.jpg")
    touch(root, "x.jpg")
    (root / "x.jpg").rename(root / name)
    remember(collection, root, name)
    assert remove(collection, [root / name]) == Removal(1, 0)
