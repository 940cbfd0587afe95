"""Which of the files and folders given are photographs."""

import os

import pytest

from search.arguments import find_photos, has_photo_name


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("name", "is_photo"),
    [
        ("a.jpg", True),
        ("sub/a.TIFF", True),
        ("a.heic", True),  # whether or not it can be decoded here
        ("a.txt", False),
        ("jpg", False),
        ("a dog", False),
        (".jpg", False),
    ],
)
def test_names_of_photographs(name, is_photo):
    assert has_photo_name(name) == is_photo


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "sub/c.webp", ".hidden.jpg", ".cache/d.jpg", "notes.txt"):
        touch(folder / name)
    odd = touch(tmp_path / "odd.name")
    expected = [folder / "a.png", folder / "b.JPG", folder / "sub/c.webp"]
    assert find_photos([folder]) == expected
    assert find_photos([odd, folder / "b.JPG", folder]) == [odd, folder / "b.JPG", expected[0], expected[2]]


def test_a_link_to_the_same_file_is_looked_at_once(tmp_path):
    photo = touch(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(photo)
    assert find_photos([tmp_path]) == [photo]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    photo, secret = touch(tmp_path / "a.jpg"), touch(tmp_path / "secret" / "b.jpg").parent
    scandir = os.scandir

    def refuse(folder):
        if os.fspath(folder) == str(secret):
            raise PermissionError(13, "Permission denied", str(secret))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_photos([tmp_path]) == [photo, secret]
