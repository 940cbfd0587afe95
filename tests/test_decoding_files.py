"""Photographs in files that somebody named: pipes are not waited for."""

import os
import sys
from pathlib import Path

import pytest

from decoding.errors import PhotoError
from decoding.files import decode_file, open_file
from helpers.labelled_photos import write_photo


def test_a_photograph_is_decoded_as_a_build_decodes_it(tmp_path):
    path = write_photo(tmp_path / "a.jpg", size=(1600, 1200))
    photo = decode_file(path)
    assert (photo.width, photo.height, photo.scale, photo.image.size) == (1600, 1200, 2, (800, 600))
    assert decode_file(path, 400).image.size == (400, 300)


def test_what_is_no_photograph_says_why(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(PhotoError, match="the file is empty"):
        decode_file(tmp_path / "a.jpg")
    with pytest.raises(FileNotFoundError):
        decode_file(tmp_path / "b.jpg")
    with pytest.raises(IsADirectoryError):
        decode_file(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_a_pipe_and_a_device_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(OSError, match="it is a pipe or a device"):
            open_file(path)
        with pytest.raises(OSError, match="it is a pipe or a device"):
            decode_file(path)
