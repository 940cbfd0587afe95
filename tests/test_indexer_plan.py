"""What a build takes for new, changed, gone and unseen, against a real collection."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from db.collection import Collection, open_collection
from db.records import FailedFile, ModelIdentity, NewPhoto
from decoding import formats
from indexer.errors import FolderError
from indexer.progress import Progress
from indexer.scan.plan import Scope, find_changes, find_scopes, require_photographs

MODEL = ModelIdentity("0" * 64, embedding_size=4, code_size=4)


class Warnings(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


@pytest.fixture
def collection(tmp_path):
    with open_collection(tmp_path / "collection", write=True, create=True, model=MODEL) as opened:
        yield opened


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def remember(collection: Collection, root: Path, *names: str, failed: bool = False) -> int:
    """Put files into the collection as if a build had seen them as they are now."""
    root_id = collection.add_root(root)
    new, bad = [], []
    for name in names:
        stat = (root / name).stat()
        if failed:
            bad.append(FailedFile(root_id, name, stat.st_size, stat.st_mtime_ns, "d", "no photograph"))
        else:
            new.append(
                NewPhoto(
                    root_id=root_id,
                    path=name,
                    size=stat.st_size,
                    mtime_ns=stat.st_mtime_ns,
                    digest=f"digest of {name!a}",
                    width=20,
                    height=10,
                    boxes=np.array([[0, 0, 20, 10]], np.float32),
                    scores=np.ones(1, np.float32),
                    phrases=["a thing"],
                    codes=np.ones((1, 4), np.float16),
                    embeddings=np.array([[1, 0, 0, 0]], np.float32),
                )
            )
    collection.commit(new=new, failed=bad)
    return root_id


def tasks(changes) -> list[str]:
    return [task.file.path for task in changes.tasks]


def missing(changes) -> list[str]:
    return sorted(stat.path for stat in changes.missing)


# -- which folders


def test_a_new_folder_is_a_root_and_folders_inside_it_add_nothing(root):
    touch(root, "2019/a.jpg")
    expected = [Scope(root)]
    assert find_scopes([root], {}) == expected
    assert find_scopes([root, root / "2019"], {}) == expected
    assert find_scopes([root / "2019", root, root], {}) == expected
    assert find_scopes([root / "2019" / ".."], {}) == expected


def test_a_link_to_a_folder_is_that_folder(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert find_scopes([root, tmp_path / "link"], {}) == [Scope(root)]


def test_a_folder_inside_a_known_root_is_a_part_of_it(root):
    touch(root, "2019/06/a.jpg")
    assert find_scopes([root / "2019"], {7: root}) == [Scope(root, "2019", 7)]
    # the innermost root counts
    assert find_scopes([root / "2019" / "06"], {7: root, 8: root / "2019"}) == [Scope(root / "2019", "06", 8)]


def test_known_roots_inside_a_folder_are_looked_at_as_themselves(root):
    touch(root, "2019/a.jpg")
    assert find_scopes([root], {7: root / "2019"}) == [Scope(root), Scope(root / "2019", "", 7)]
    assert find_scopes([root], {6: root, 7: root / "2019"}) == [Scope(root, "", 6), Scope(root / "2019", "", 7)]


def test_names_that_begin_alike_are_not_inside_one_another(root, tmp_path):
    touch(tmp_path, "photos2/a.jpg")
    assert find_scopes([root, tmp_path / "photos2"], {}) == [Scope(root), Scope(tmp_path / "photos2")]
    assert Scope(root, "2019").contains("2019/a.jpg")
    assert not Scope(root, "2019").contains("2019b/a.jpg")


def test_a_folder_that_does_not_exist(root):
    with pytest.raises(FolderError, match="nowhere does not exist"):
        find_scopes([root, root / "nowhere"], {})


def test_a_file_in_the_place_of_a_folder(root):
    touch(root, "a.jpg")
    with pytest.raises(FolderError, match=r"a\.jpg is not a directory"):
        find_scopes([root / "a.jpg"], {7: root})


def test_a_folder_that_cannot_be_read(root, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(FolderError, match=r"photos cannot be read \(Permission denied\)"):
        find_scopes([root], {})


def test_require_photographs(root):
    touch(root, "notes.txt")
    with pytest.raises(FolderError, match="photos holds no photographs"):
        require_photographs([root])
    touch(root, "sub/a.jpg")
    require_photographs([root])


# -- what changed


def test_new_changed_unchanged_and_missing(collection, root):
    touch(root, "same.jpg", "size.jpg", "time.jpg", "gone.jpg")
    remember(collection, root, "same.jpg", "size.jpg", "time.jpg", "gone.jpg")
    stat = (root / "size.jpg").stat()
    (root / "size.jpg").write_bytes(b"another size")
    os.utime(root / "size.jpg", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(root / "time.jpg", ns=(0, (root / "time.jpg").stat().st_mtime_ns + 1))
    (root / "gone.jpg").unlink()
    touch(root, "new.jpg")

    changes = find_changes(collection, [root])
    assert tasks(changes) == ["new.jpg", "size.jpg", "time.jpg"]
    assert [task.known is None for task in changes.tasks] == [True, False, False]
    assert missing(changes) == ["gone.jpg"]
    assert (changes.unchanged, changes.failed_before) == (1, 0)


def test_finding_changes_writes_nothing(collection, root, tmp_path):
    touch(root, "a.jpg")
    touch(tmp_path / "others", "b.jpg")
    remember(collection, root, "a.jpg")
    database = collection.path / "photos.db"
    before = database.read_bytes(), sorted(os.listdir(collection.path)), collection.roots()
    plan = find_changes(collection, [root, tmp_path / "others"])
    assert [scope.root for scope in plan.new_scopes] == [tmp_path / "others"]
    assert [task.full_path for task in plan.tasks] == [tmp_path / "others" / "b.jpg"]
    with pytest.raises(AssertionError):
        _ = plan.tasks[0].root_id  # nobody has added the root yet
    assert (database.read_bytes(), sorted(os.listdir(collection.path)), collection.roots()) == before


def test_failed_files_wait_for_a_change_or_for_retry(collection, root):
    touch(root, "bad.jpg", "worse.jpg")
    remember(collection, root, "bad.jpg", "worse.jpg", failed=True)
    os.utime(root / "worse.jpg", ns=(0, 0))
    changes = find_changes(collection, [root])
    assert (tasks(changes), changes.failed_before) == (["worse.jpg"], 1)
    changes = find_changes(collection, [root], retry=True)
    assert (tasks(changes), changes.failed_before) == (["bad.jpg", "worse.jpg"], 0)


def test_a_part_of_a_root_says_nothing_of_the_rest(collection, root):
    touch(root, "2019/a.jpg", "2020/b.jpg")
    remember(collection, root, "2019/a.jpg", "2020/b.jpg")
    (root / "2019" / "a.jpg").unlink()
    (root / "2020" / "b.jpg").unlink()
    touch(root, "2019/c.jpg", "2020/d.jpg")
    changes = find_changes(collection, [root / "2019"])
    assert (tasks(changes), missing(changes)) == (["2019/c.jpg"], ["2019/a.jpg"])
    assert len(collection.roots()) == 1


def test_a_new_root_around_a_known_one_leaves_its_photographs_to_it(collection, root):
    touch(root, "a.jpg", "inner/b.jpg", "inner/c.jpg")
    inner_id = remember(collection, root / "inner", "b.jpg")
    changes = find_changes(collection, [root])
    assert [(task.scope.root_id == inner_id, task.file.path) for task in changes.tasks] == [
        (False, "a.jpg"),
        (True, "c.jpg"),
    ]
    assert changes.unchanged == 1


# -- what cannot be seen is not gone


def test_a_missing_or_empty_root_removes_nothing(collection, root):
    touch(root, "a.jpg", "b.jpg")
    remember(collection, root, "a.jpg", "b.jpg")
    (root / "a.jpg").unlink()
    (root / "b.jpg").unlink()
    with pytest.raises(FolderError, match=r"holds no photographs .*; its files in the collection stay .*: 2"):
        find_changes(collection, [root])
    root.rmdir()
    with pytest.raises(FolderError, match=r"does not exist; its files in the collection stay .*: 2"):
        find_changes(collection, [root])
    assert missing(find_changes(collection, [root], prune=True)) == ["a.jpg", "b.jpg"]


def test_a_missing_root_does_not_hold_up_the_others(collection, root, tmp_path):
    touch(root, "a.jpg")
    remember(collection, root, "a.jpg")
    shutil.rmtree(root)
    touch(tmp_path, "others/b.jpg")
    progress = Warnings()
    changes = find_changes(collection, [root, tmp_path / "others"], progress=progress)
    assert (tasks(changes), missing(changes)) == (["b.jpg"], [])
    assert progress.said == [
        f"Warning: {root} does not exist; its files in the collection stay there (--prune removes them): 1"
    ]


def test_an_empty_folder_is_not_added_as_a_root(collection, root, tmp_path):
    touch(root, "a.jpg")
    (tmp_path / "empty").mkdir()
    progress = Warnings()
    plan = find_changes(collection, [root, tmp_path / "empty"], progress=progress)
    assert [scope.root for scope in plan.new_scopes] == [root]
    assert progress.said[0].startswith(f"Warning: {tmp_path / 'empty'} holds no photographs")


def test_what_lies_below_an_unreadable_directory_is_kept(collection, root, monkeypatch):
    touch(root, "a.jpg", "locked/b.jpg", "locked/deep/c.jpg", "locked2/d.jpg")
    remember(collection, root, "a.jpg", "locked/b.jpg", "locked/deep/c.jpg", "locked2/d.jpg")
    (root / "locked2" / "d.jpg").unlink()
    real_scandir = os.scandir

    def scandir(path):
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    progress = Warnings()
    changes = find_changes(collection, [root], progress=progress)
    assert (missing(changes), changes.unchanged) == (["locked2/d.jpg"], 1)
    assert progress.said == [f"Warning: {root / 'locked'} is left out (Permission denied)"]
    assert missing(find_changes(collection, [root], prune=True)) == [
        "locked/b.jpg",
        "locked/deep/c.jpg",
        "locked2/d.jpg",
    ]


def test_a_link_that_broke_keeps_what_was_behind_it(collection, root, tmp_path):
    touch(root, "a.jpg")
    touch(tmp_path, "disk/b.jpg")
    (root / "disk").symlink_to(tmp_path / "disk")
    remember(collection, root, "a.jpg", "disk/b.jpg")
    shutil.rmtree(tmp_path / "disk")  # unmounted
    assert missing(find_changes(collection, [root])) == []


def test_heic_without_its_decoder_is_neither_new_nor_gone(collection, root, monkeypatch):
    touch(root, "a.jpg", "b.heic", "c.heic")
    remember(collection, root, "a.jpg", "b.heic")
    monkeypatch.setattr(formats, "_installed", lambda module: False)
    progress = Warnings()
    changes = find_changes(collection, [root], progress=progress)
    assert (tasks(changes), missing(changes)) == ([], [])
    assert "2 HEIC photographs" in progress.said[0]
    assert "pip install pillow-heif" in progress.said[0]
    (root / "a.jpg").unlink()
    with pytest.raises(FolderError, match="holds only HEIC photographs, which need the package pillow-heif"):
        find_changes(collection, [root])


def test_stopping_the_walk(collection, root):
    touch(root, "a.jpg", "b.jpg")
    changes = find_changes(collection, [root], stop=lambda: True)
    assert (tasks(changes), missing(changes)) == ([], [])
