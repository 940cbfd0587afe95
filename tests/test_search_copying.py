import os
from pathlib import Path

import pytest

from search.copying import check_folder, deliver_photographs
from search.errors import DeliveryError


@pytest.fixture
def photos(tmp_path):
    """Three files, two of one name."""
    paths = [tmp_path / "photos" / name for name in ("a.jpg", "sub/a.jpg", "b.jpg")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photograph %d" % number)
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    return paths


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "out" / "of many"
    check_folder(target)
    return target


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("link", [False, True])
def test_photographs_of_one_name_are_all_there(photos, folder, link):
    done = deliver_photographs(photos, folder, link=link)
    expected = {"a.jpg": b"photograph 0", "a-2.jpg": b"photograph 1", "b.jpg": b"photograph 2"}
    assert contents(folder) == expected
    assert [path.name for path in done.written] == list(expected)
    assert all(path.is_symlink() == link for path in folder.iterdir())
    assert [int(path.stat().st_mtime) for path in done.written] == [1_500_000_000 + number for number in range(3)]


@pytest.mark.parametrize("link", [False, True])
def test_the_same_answer_twice_is_the_same_folder(photos, folder, link):
    deliver_photographs(photos, folder, link=link)
    before = {path: path.lstat().st_ino for path in folder.iterdir()}
    done = deliver_photographs(photos, folder, link=link)
    assert {path: path.lstat().st_ino for path in folder.iterdir()} == before
    assert (len(done.written), len(done.present)) == (0, 3)


@pytest.mark.parametrize("link", [False, True])
def test_nothing_that_is_there_is_overwritten(photos, folder, link):
    (folder / "a.jpg").write_bytes(b"somebody else's")
    (folder / "a-2.jpg").symlink_to("nowhere")  # to open it for writing would make a file elsewhere
    (folder / "b.jpg").mkdir()
    deliver_photographs(photos, folder, link=link)
    assert (folder / "a.jpg").read_bytes() == b"somebody else's"
    assert os.readlink(folder / "a-2.jpg") == "nowhere"
    assert (folder / "a-3.jpg").read_bytes() == b"photograph 0"
    assert (folder / "a-4.jpg").read_bytes() == b"photograph 1"
    assert (folder / "b-2.jpg").read_bytes() == b"photograph 2"
    assert not (folder.parent / "nowhere").exists()


def test_missing_photographs_are_named(photos, folder):
    photos[1].unlink()
    done = deliver_photographs(photos, folder)
    assert [path.name for path in done.written] == ["a.jpg", "b.jpg"]
    assert done.missing == [(photos[1], "No such file or directory")]


@pytest.mark.parametrize("link", [False, True])
def test_the_folder_of_the_photographs_stays_as_it_is(photos, link):
    done = deliver_photographs([photos[0], photos[2]], photos[0].parent, link=link)
    assert len(done.present) == 2
    assert sorted(path.name for path in photos[0].parent.iterdir()) == ["a.jpg", "b.jpg", "sub"]


def test_names_of_any_bytes(tmp_path, folder):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/line\nbreak \xff.jpg"))
    path.write_bytes(b"photograph")
    (written,) = deliver_photographs([path], folder).written
    assert written.read_bytes() == b"photograph" and written.name == path.name


def test_a_copy_that_fails_leaves_no_half(photos, folder, monkeypatch):
    """As on a disk that is full: what was written before stays, and the sentence counts it."""
    import shutil

    real = shutil.copy2

    def full(source, target):
        if Path(source).name == "b.jpg":
            Path(target).write_bytes(b"ph")
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(shutil, "copy2", full)
    with pytest.raises(DeliveryError, match="No space left on device; 2 before it are there"):
        deliver_photographs(photos, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["a-2.jpg", "a.jpg"]


@pytest.mark.parametrize("link", [False, True])
def test_the_longest_names(tmp_path, folder, link):
    photos = [tmp_path / name / f"{'n' * 251}.jpg" for name in ("a", "b")]
    for photo in photos:
        photo.parent.mkdir()
        photo.write_text(str(photo))
    done = deliver_photographs(photos, folder, link=link)
    assert [path.name for path in done.written] == [f"{'n' * 251}.jpg", f"{'n' * 249}-2.jpg"]
    assert [path.read_text() for path in done.written] == list(map(str, photos))


def test_a_file_system_without_links_is_copied_to_as_well(photos, folder, monkeypatch):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    (folder / "b.jpg").write_bytes(b"other")
    deliver_photographs(photos, folder)
    assert contents(folder)["a.jpg"] == b"photograph 0" and contents(folder)["b-2.jpg"] == b"photograph 2"
    assert contents(folder)["b.jpg"] == b"other" and len(contents(folder)) == 4


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(DeliveryError, match="is a file"):
        check_folder(tmp_path / "file")
    with pytest.raises(DeliveryError, match="cannot be made"):
        check_folder(tmp_path / "file" / "sub")
