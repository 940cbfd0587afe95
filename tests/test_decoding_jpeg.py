"""JPEGs that end early, lack their end or go on with something else: as tolerant as every viewer, and no more."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from decoding import jpeg, pillow_photo
from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto, Photograph


def smooth(size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture that is nowhere the grey of what is missing."""
    y, x = np.mgrid[: size[1], : size[0]]
    pixels = np.stack([40 + 60 * x / size[0], 200 - 50 * y / size[1], 150 + 30 * np.sin(x / 9)], axis=2)
    noise = np.random.default_rng(0).integers(0, 8, (size[1], size[0], 1))
    return Image.fromarray((pixels + noise).astype(np.uint8))


def encoded(image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or smooth()).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def decode(content: bytes) -> Photograph:
    return OpenedPhoto(io.BytesIO(content)).decode()


def refusal(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content)
    return str(caught.value)


def assert_same(content: bytes, whole: bytes) -> None:
    photo = decode(content)
    np.testing.assert_array_equal(np.asarray(photo.image), np.asarray(decode(whole).image))
    assert photo.incomplete is None


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_end_marker_is_not_needed(mode, options):
    whole = encoded(smooth().convert(mode), **options)
    assert whole.endswith(b"\xff\xd9")
    assert_same(whole[:-2], whole)
    assert_same(whole[:-1], whole)


@pytest.mark.parametrize("seed", range(5))
def test_anything_may_follow_the_picture(seed):
    whole = encoded()
    rng = np.random.default_rng(seed)
    trailer = b"\0\0\x01\x0a\x0e\0\0\0Image_UTC_Data" + rng.bytes(20_000) + b"SEFH" + rng.bytes(60) + b"SEFT"
    assert_same(whole + trailer, whole)
    assert_same(whole[:-2] + trailer, whole)
    assert_same(whole[:-2] + b"\xff\xc0\0\x11" + trailer, whole)  # a marker, but none of this picture
    assert_same(whole[:-2] + b"\xff\xd8" + whole, whole)


@pytest.mark.parametrize("size", [(320, 240), (1600, 1200), (317, 233)])
@pytest.mark.parametrize("share", [0.3, 0.55, 0.8])
def test_how_much_is_there_is_told(size, share):
    """Cut where that share of the rows ends: with restart markers those places are known."""
    blocks_across = -(-size[0] // 16)
    whole = encoded(smooth(size), restart_marker_rows=1)
    rows = -(-size[1] // 16)
    cut, at = round(rows * share), whole.index(b"\xff\xda")
    for row in range(cut):
        at = whole.index(bytes([0xFF, 0xD0 + row % 8]), at + 1)
    told = refusal(whole[:at])
    assert told.startswith("the file ends early, ") and told.endswith(" % of the picture is there")
    assert abs(int(told.split()[4]) - 100 * cut * 16 / size[1]) <= 3, blocks_across


def test_what_is_nearly_all_there_is_decoded_and_said_so():
    whole = encoded()
    photo = decode(whole[: len(whole) - len(whole) // 25])
    assert photo.incomplete in {
        f"the file ends early, {percent} % of the picture is there" for percent in range(93, 99)
    }
    difference = np.abs(np.asarray(photo.image).astype(int) - np.asarray(decode(whole).image))
    assert difference[:200].max() == 0 and difference[-1, -1].max() > 0


def test_zeros_where_the_rest_should_be_are_no_picture():
    whole = encoded()
    half = whole[: len(whole) // 2]
    there = refusal(half).removeprefix("the file ends early, ")
    assert refusal(half + bytes(len(whole) - len(half))) == f"the file is damaged, {there}"


def test_a_file_that_ends_among_its_headers_says_so():
    whole = encoded()
    headers = whole[: whole.index(b"\xff\xda")]
    assert refusal(headers) == "the file ends early before the picture begins"
    assert refusal(headers + bytes(5000)) == "the file is damaged before the picture begins"


def test_of_a_progressive_one_every_coefficient_is_needed():
    whole = encoded(progressive=True)
    scans = [at for at in range(len(whole)) if whole.startswith(b"\xff\xda", at)]
    assert len(scans) == 10  # the fifth is the last that begins coefficients, the rest refines
    photo = decode(whole[: scans[7]])
    assert photo.incomplete == "the file ends early, the finest details may be missing"
    assert np.abs(np.asarray(photo.image).astype(int) - np.asarray(decode(whole).image)).mean() < 3
    for cut in (scans[0] + 20, scans[2]):
        assert refusal(whole[:cut]) == "the file ends early, only a coarse part of the picture is there"
    rough = encoded(Image.effect_noise((320, 240), 60), progressive=True)
    scans = [at for at in range(len(rough)) if rough.startswith(b"\xff\xda", at)]
    for cut in (scans[1] + 12, scans[2] - 200):
        assert refusal(rough[:cut]) == "the file ends early, only a coarse part of the picture is there"
    assert_same(whole + b"anything", whole)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(320, 240), (2161, 1442)])
def test_a_progressive_one_lacks_nothing_without_its_end_marker(mode, size):
    whole = encoded(smooth(size).convert(mode), progressive=True)
    assert_same(whole[:-2], whole)
    assert_same(whole[:-1], whole)
    assert_same(whole[:-2] + b"SEFT and some video", whole)
    for cut in (9, 30, 300) if mode != "CMYK" else ():  # whose last scan says nothing of this picture
        assert decode(whole[:-cut]).incomplete == "the file ends early, the finest details may be missing"


def holed(content: bytes, start: int, length: int) -> bytes:
    return content[:start] + bytes(length) + content[start + length :]


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"restart_marker_rows": 1}, {"progressive": True}])
def test_a_part_that_was_never_written_is_noticed_in_the_middle(options):
    whole = encoded(smooth((1600, 1200)), **options)
    start = len(whole) // 2 // 512 * 512
    said = refusal(whole[:start]) if "progressive" not in options else decode(whole[:start]).incomplete
    told = said.replace("the file ends early", "the file is damaged")
    for length in (512, 4096, 3 * 4096):
        content = holed(whole, start, length)
        assert (refusal(content) if "progressive" not in options else decode(content).incomplete) == told


def test_zeros_that_are_no_part_of_the_picture_are_no_damage():
    whole = encoded()
    note = b"\xff\xe5\xff\xff" + bytes(65533)
    assert_same(whole[:2] + note + whole[2:] + bytes(100_000), whole)
    second = encoded(smooth((64, 48)))
    assert_same(whole + bytes(-len(whole) % 512) + bytes(4096) + second, whole)


def test_a_picture_of_one_colour_is_no_damage():
    for options in ({}, {"optimize": True}, {"progressive": True, "optimize": True}):
        for colour in ("black", "white", "navy"):
            whole = encoded(Image.new("RGB", (4000, 3000), colour), **options)
            assert decode(whole).incomplete is None


@pytest.mark.parametrize("size", [(320, 240), (1600, 1200), (4000, 3000)])
def test_one_picture_lacks_the_same_share_at_every_size_and_in_every_way(size):
    """Reduced while it is decoded or not; without its end, or with zeros there."""
    whole = encoded(smooth((320, 240)).resize(size), restart_marker_rows=1)
    at = whole.index(b"\xff\xda")
    rows = size[1] // 32
    for row in range(rows):
        at = whole.index(bytes([0xFF, 0xD0 + row % 8]), at + 1)
    shares = {refusal(content).split(", ")[1] for content in (whole[:at], whole[:at] + bytes(5000))}
    assert len(shares) == 1 and abs(int(shares.pop().split()[0]) - 1600 * rows / size[1]) <= 3


def test_damage_in_the_middle_is_told_as_what_is_there():
    whole = encoded()
    middle = len(whole) // 2
    assert "of the picture is there" in refusal(whole[:middle] + b"\xff\xc3\0\x11" + whole[middle + 100 :])


def test_a_large_one_is_reduced_while_it_is_rescued():
    whole = encoded(smooth((2880, 2000)))
    photo = decode(whole[:-2])
    assert (photo.image.size, photo.scale, photo.width, photo.height) == ((720, 500), 4, 2880, 2000)


def test_notes_that_pillow_fails_on_are_left_out():
    whole = encoded()
    for segment in (
        b"\xff\xe1\0\x02",
        b"\xff\xed\0\x20Photoshop 3.0\0\x38BIM\xff\xff\xff\xff",
        b"\xff\xe2\0\x09ICC_PRO",
    ):
        assert_same(whole[:2] + segment.ljust(2 + int.from_bytes(segment[2:4], "big"), b"\xff") + whole[2:], whole)


def test_headers_without_end_are_left_out(monkeypatch):
    monkeypatch.setattr(pillow_photo, "_MOST_JPEG_HEADERS", 1 << 20)
    whole = encoded()
    note = b"\xff\xe5\xff\xff" + os.urandom(65533)
    assert_same(whole[:2] + 20 * note + whole[2:], whole)
    assert jpeg.bytes_of_headers(io.BytesIO(whole[:2] + 20 * note + whole[2:])) > 20 * 65535
