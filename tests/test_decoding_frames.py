"""Which frame of an animation is taken."""

import io

import numpy as np
import pytest
from PIL import Image

from decoding.photos import OpenedPhoto

PICTURE = Image.fromarray(np.tile(np.arange(0, 240, 3, dtype=np.uint8)[None, :, None], (60, 1, 3)))


def encoded(format: str, *frames: Image.Image, **options) -> io.BytesIO:
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:], duration=50, **options)
    return file


def shown(file: io.BytesIO) -> np.ndarray:
    return np.asarray(OpenedPhoto(file).decode().image).astype(int)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("blank", ["white", "black", "orange"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_first_frame_that_is_not_of_one_colour(format, blank, count):
    frames = [Image.new("RGB", PICTURE.size, blank)] * count
    # equal frames are merged by the encoders: these differ in what nobody sees
    frames = [frame.copy() for frame in frames]
    for number, frame in enumerate(frames):
        frame.putpixel((number, 0), tuple(max(0, min(255, value + (3 if value < 128 else -3))) for value in
                                          frame.getpixel((number, 0))))  # fmt: skip
    found = shown(encoded(format, *frames, PICTURE, PICTURE.rotate(180)))
    assert np.abs(found - np.asarray(PICTURE).astype(int)).mean() < 4


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_a_frame_with_a_picture_is_the_first_one_taken(format):
    found = shown(encoded(format, PICTURE, PICTURE.rotate(180), Image.new("RGB", PICTURE.size, "white")))
    assert np.abs(found - np.asarray(PICTURE).astype(int)).mean() < 4


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_where_all_are_of_one_colour_the_first(format):
    found = shown(encoded(format, *(Image.new("RGB", PICTURE.size, color) for color in ("red", "blue", "lime"))))
    assert np.abs(found - [255, 0, 0]).max() <= 6


def test_a_default_image_that_is_no_frame_is_passed_over_if_blank():
    blank = Image.new("RGB", PICTURE.size, "white")
    found = shown(encoded("PNG", blank, PICTURE, PICTURE.rotate(180), default_image=True))
    np.testing.assert_array_equal(found, np.asarray(PICTURE))


def test_an_animation_that_ends_early_shows_its_first_frame():
    content = encoded("GIF", Image.new("RGB", PICTURE.size, "white"), PICTURE, PICTURE.rotate(90)).getvalue()
    found = shown(io.BytesIO(content[: len(content) // 2]))
    assert found.shape == (60, 80, 3)


def test_a_transparent_frame_is_blank():
    clear = Image.new("RGBA", PICTURE.size, (10, 200, 30, 0))
    half = clear.copy()
    half.paste((200, 10, 30, 0), (0, 0, 40, 30))
    found = shown(encoded("WEBP", half, PICTURE.convert("RGBA"), lossless=True, exact=True))
    np.testing.assert_array_equal(found, np.asarray(PICTURE))


def test_a_later_frame_that_reaches_beyond_the_picture_is_not_looked_at():
    content = bytearray(encoded("GIF", Image.new("RGB", PICTURE.size, "white"), PICTURE).getvalue())
    frame = content.rindex(b"," + bytes(4) + (80).to_bytes(2, "little"))
    content[frame + 5 : frame + 9] = b"\xff\xff\xff\x7f"  # 65535 x 32767 pixels
    found = shown(io.BytesIO(bytes(content)))
    assert found.shape == (60, 80, 3)
    assert np.abs(found - 255).max() == 0
