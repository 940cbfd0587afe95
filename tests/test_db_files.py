import hashlib
import os

import pytest

from db.local.files import atomic_write, file_sha256


def test_a_published_file_is_there_with_its_size_and_checksum(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as stream:
        stream.write(b"abc")
        stream.write(b"def")
        assert not path.exists()
    assert path.read_bytes() == b"abcdef"
    assert stream.size == 6
    assert stream.sha256 == file_sha256(path) == hashlib.sha256(b"abcdef").hexdigest()
    assert os.listdir(tmp_path) == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as stream:
        stream.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_who_has_the_old_file_open_keeps_it(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open(path, "rb") as reader:
        with atomic_write(path) as stream:
            stream.write(b"new, and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new, and longer"


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append("fsync"))
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("replace"), rename(*names)))
    with atomic_write(tmp_path / "file") as stream:
        stream.write(b"abc")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its name, the folder's list of names
