"""Real files: what is found, and how it is decoded."""

import os
import zlib

import numpy as np
import pytest
from PIL import Image

from search.errors import PhotoError
from search.photos import find_photos, read_photo


def write(path, size=(60, 40), color=(200, 30, 30), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def half_red(size):
    """Red on the left, green on the right."""
    image = Image.new("RGB", size, (30, 200, 30))
    image.paste((200, 30, 30), (0, 0, size[0] // 2, size[1]))
    return image


def is_red(image, x, y):
    red, green, _ = image.getpixel((x, y))
    return red > 150 and green < 100


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path):
    for name in ("b.JPG", "a.png", "sub/c.webp", ".hidden.jpg", ".cache/d.jpg"):
        write(tmp_path / "photos" / name, **({"format": "JPEG"} if name.endswith("JPG") else {}))
    (tmp_path / "photos" / "notes.txt").write_text("no photograph")
    odd = tmp_path / "odd.name"
    odd.write_bytes(b"")
    folder = tmp_path / "photos"
    expected = [folder / "a.png", folder / "b.JPG", folder / "sub/c.webp"]
    assert find_photos([folder]) == expected
    assert find_photos([odd, folder / "b.JPG", folder]) == [odd, folder / "b.JPG", expected[0], expected[2]]


def test_a_link_to_the_same_file_is_looked_at_once(tmp_path):
    photo = write(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(photo)
    assert find_photos([tmp_path]) == [photo]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_formats(tmp_path, suffix):
    photo = read_photo(write(tmp_path / f"a.{suffix}"))
    assert (photo.image.mode, photo.image.size, photo.width, photo.height) == ("RGB", (60, 40), 60, 40)
    assert is_red(photo.image, 30, 20)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff"])
@pytest.mark.parametrize(("orientation", "red_at"), [(3, (50, 20)), (6, (20, 10)), (8, (20, 50))])
def test_photographs_are_turned_upright(tmp_path, suffix, orientation, red_at):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    half_red((60, 40)).save(path, exif=exif)
    photo = read_photo(path)
    assert (photo.width, photo.height) == ((60, 40) if orientation == 3 else (40, 60))
    assert photo.image.size == (photo.width, photo.height)
    assert is_red(photo.image, *red_at)


@pytest.mark.parametrize(("suffix", "orientation"), [("jpg", 1), ("jpg", 6), ("png", 1), ("png", 6)])
def test_large_photographs_are_reduced_and_their_boxes_are_not(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    half_red((3000, 2000)).save(path, exif=exif)
    photo = read_photo(path)
    upright = (3000, 2000) if orientation == 1 else (2000, 3000)
    assert (photo.width, photo.height) == upright
    assert max(photo.image.size) == 750
    boxes = photo.full_boxes(np.array([[0, 0, *photo.image.size], [75, 50, 150, 100]], np.float32))
    assert boxes.tolist() == [[0, 0, *upright], [300, 200, 600, 400]]


def test_nearly_square_photographs_keep_their_sides(tmp_path):
    photo = read_photo(write(tmp_path / "a.jpg", size=(1440, 1439)))
    assert photo.image.size == (720, 720)
    assert (photo.width, photo.height) == (1440, 1439)


def test_transparent_parts_are_white(tmp_path):
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").image.getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"plain text, no photograph", "it is not a photograph"),
        ("cut off", "it cannot be decoded"),
        ("small", "60x15 pixels: too small, both sides need 16"),
        ("folder", "Is a directory"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, content, reason):
    path = tmp_path / "a.jpg"
    if content == "cut off":
        noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif content == "small":
        write(path, size=(60, 15))
    elif content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(PhotoError, match=reason):
        read_photo(path)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = write(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(PhotoError, match="60000x60000 pixels: too large, the limit is 200 megapixels"):
        read_photo(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path / "a.jpg")
    path.chmod(0)
    with pytest.raises(PhotoError, match="Permission denied"):
        read_photo(path)
