"""Thumbnails: what is kept, within which bound, and what a file that is something else does."""

import hashlib
import os

import pytest

from db.records import PhotoRow
from helpers.page_world import draw, drawn
from search.page.errors import RequestError
from search.page.thumbnails import Thumbnails


@pytest.fixture
def made(tmp_path):
    """Thumbnails with room for three, and what makes photographs."""
    thumbnails = Thumbnails(tmp_path / "cache", cache_bytes=10_000, workers=1)
    yield thumbnails
    thumbnails.close()


def photo(tmp_path, number):
    path = tmp_path / f"{number}.jpg"
    draw(path, drawn("a dog", size=(400 + number, 300)))
    return PhotoRow(number, path, 400 + number, 300, hashlib.sha256(path.read_bytes()).hexdigest())


def files(tmp_path):
    return sorted((tmp_path / "cache").rglob("*.jpg"))


def test_the_cache_stays_within_its_bound_and_keeps_what_was_used_last(tmp_path, made):
    photos = [photo(tmp_path, number) for number in range(8)]
    size = len(made.get(photos[0], 256).jpeg)
    room = 10_000 // size
    assert 2 <= room < 8
    for number, row in enumerate(photos[1:], 1):
        made.get(row, 256)
        os.utime(made._path(row, 256), (number, number))
        made.get(photos[0], 256)  # used all the time
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 10_000
    assert made._path(photos[0], 256).exists() and made._path(photos[7], 256).exists()
    assert not made._path(photos[1], 256).exists()


def test_copies_share_a_thumbnail(tmp_path, made):
    row = photo(tmp_path, 1)
    copy = PhotoRow(2, tmp_path / "gone.jpg", row.width, row.height, row.digest)
    assert made.get(row, 256).jpeg == made.get(copy, 256).jpeg
    assert len(files(tmp_path)) == 1


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    thumbnails = Thumbnails(tmp_path / "cache", workers=1)
    try:
        assert thumbnails.get(photo(tmp_path, 1), 256).jpeg
    finally:
        thumbnails.close()


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (None, 410, "not there any more"),
        (b"", 422, "empty"),
        (b"%PDF-1.4", 422, "PDF"),
        (b"\xff\xd8\xff", 422, "cannot"),
    ],
)
def test_what_is_no_photograph_is_said(tmp_path, made, content, status, words):
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RequestError, match=words) as refused:
        made.get(PhotoRow(1, path, 10, 10, "0" * 64), 256)
    assert refused.value.status == status
