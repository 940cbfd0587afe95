"""Decoding photographs: every mode, orientation and kind of bad file, values worked out by hand."""

import errno
import io
import os
import random
import struct

import numpy as np
import pytest
from PIL import Image, ImageFile

from decoding.errors import PhotoError
from decoding.photos import DECODE_MEMORY, DECODE_SIDE, OpenedPhoto, Photograph

ORANGE = (255, 128, 0)


def decode(file: io.BytesIO) -> Photograph:
    return OpenedPhoto(file).decode()


def encoded(image: Image.Image, format: str, **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def decoded_pixel(image: Image.Image, format: str, **options) -> tuple[int, ...]:
    """The middle pixel of what comes back after saving and decoding."""
    decoded = decode(encoded(image, format, **options)).image
    assert decoded.mode == "RGB"
    assert decoded.size == image.size
    return decoded.getpixel((decoded.width // 2, decoded.height // 2))


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


# -- formats and modes


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "MPO"])
def test_every_format_comes_back_as_rgb(format):
    pixel = decoded_pixel(Image.new("RGB", (40, 30), ORANGE), format)
    assert np.abs(np.subtract(pixel, ORANGE)).max() <= 6  # lossy formats


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    decoded = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert decoded.image.getpixel((5, 5)) == (255, 0, 0)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    for dtype in ("<u2", ">u2"):
        image = Image.fromarray(np.full((20, 20), 33000, dtype))
        assert decoded_pixel(image, "TIFF") == (128, 128, 128)  # 33000 / 65535 * 255 = 128.4
    assert decoded_pixel(Image.fromarray(np.full((20, 20), 33000, np.uint16)), "PNG") == (128, 128, 128)


def test_a_large_sixteen_bit_picture_is_reduced_too():
    photograph = decode(encoded(Image.fromarray(np.full((20, 1500), 33000, np.uint16)), "PNG"))
    assert (photograph.image.size, photograph.scale) == ((750, 10), 2)
    assert photograph.image.getpixel((3, 3)) == (128, 128, 128)


def test_float_and_32_bit_tiff():
    assert decoded_pixel(Image.fromarray(np.full((20, 20), 0.2, np.float32)), "TIFF") == (51, 51, 51)
    assert decoded_pixel(Image.fromarray(np.full((20, 20), 51.0, np.float32)), "TIFF") == (51, 51, 51)
    assert decoded_pixel(Image.fromarray(np.full((20, 20), 13107, np.int32)), "TIFF") == (51, 51, 51)
    ramp = np.full((20, 20), 1_000_000, np.int32)
    ramp[10, 10] = 200_000  # white is the largest value where that is beyond 16 bits
    assert decoded_pixel(Image.fromarray(ramp), "TIFF") == (51, 51, 51)


def test_cmyk_jpeg():
    pixel = decoded_pixel(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG")  # magenta + yellow ink: red
    assert np.abs(np.subtract(pixel, (255, 0, 0))).max() <= 6


def test_grey_and_bilevel():
    assert decoded_pixel(Image.new("L", (20, 20), 77), "PNG") == (77, 77, 77)
    assert decoded_pixel(Image.new("1", (20, 20), 1), "PNG") == (255, 255, 255)


def test_palette_with_and_without_transparency():
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    assert decoded_pixel(image, "PNG") == ORANGE
    assert decoded_pixel(image, "PNG", transparency=0) == ORANGE
    assert decoded_pixel(image, "PNG", transparency=1) == (255, 255, 255)


def test_alpha_goes_over_white():
    # a quarter of (0, 100, 200) over white: 255 * 0.75 + 0.25 * c, with alpha 64 / 255
    assert decoded_pixel(Image.new("RGBA", (20, 20), (0, 100, 200, 64)), "PNG") == (191, 216, 241)
    assert decoded_pixel(Image.new("LA", (20, 20), (0, 0)), "PNG") == (255, 255, 255)
    assert decoded_pixel(Image.new("RGB", (20, 20), ORANGE), "PNG", transparency=ORANGE) == (255, 255, 255)


# -- upright, reduced, and back to full pixels


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_exif_orientation_comes_out_upright(format, value):
    """The picture as it should be seen has its red corner at the top left and its green one at the top right."""
    upright = Image.new("RGB", (60, 40))
    upright.paste("red", (0, 0, 10, 10))
    upright.paste("lime", (50, 0, 60, 10))
    # How a camera held in each of the eight ways stores it (EXIF 2.32, tag 274: where row 0 and column 0 lie).
    pixels = np.asarray(upright)
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels.transpose(1, 0, 2)[::-1],
        7: pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: pixels.transpose(1, 0, 2)[:, ::-1],
    }[value]
    photograph = decode(encoded(Image.fromarray(stored.copy()), format, exif=orientation(value)))
    assert (photograph.width, photograph.height, photograph.scale) == (60, 40, 1)
    np.testing.assert_array_equal(np.asarray(photograph.image), pixels)


def test_a_broken_exif_block_does_not_lose_the_photograph():
    photograph = decode(encoded(Image.new("RGB", (40, 30), ORANGE), "PNG", exif=b"Exif\0\0II*\0\xff\xff"))
    assert photograph.image.size == (40, 30)


@pytest.mark.parametrize(("value", "red_at"), [(3, (50, 20)), (6, (20, 10)), (8, (20, 50))])
def test_a_jpeg_comes_out_upright(value, red_at):
    stored = Image.new("RGB", (60, 40), (30, 200, 30))
    stored.paste((200, 30, 30), (0, 0, 30, 40))
    photograph = decode(encoded(stored, "JPEG", exif=orientation(value)))
    assert photograph.image.size == (photograph.width, photograph.height) == ((60, 40) if value == 3 else (40, 60))
    assert np.abs(np.subtract(photograph.image.getpixel(red_at), (200, 30, 30))).max() <= 6


def test_remarks_on_odd_metadata_are_no_errors():
    """Here a warning would be raised, as all are in tests; outside it would be printed."""
    # An EXIF block of two entries that ends after the first, which says 6.
    block = b"Exif\0\0II*\0" + struct.pack("<LHHHLHH", 8, 2, 0x0112, 3, 1, 6, 0)
    photograph = decode(encoded(Image.new("RGB", (40, 30), ORANGE), "JPEG", exif=block))
    assert (photograph.width, photograph.height) == (30, 40)


def test_an_orientation_out_of_range_is_upright():
    photograph = decode(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=orientation(9)))
    assert photograph.image.size == (40, 30)


def test_large_photographs_are_reduced_by_a_whole_factor_and_never_below_what_the_network_sees():
    def reduced(width: int, height: int, format: str) -> tuple[tuple[int, int], int]:
        photograph = decode(encoded(Image.new("RGB", (width, height)), format))
        assert (photograph.width, photograph.height) == (width, height)
        return photograph.image.size, photograph.scale

    assert DECODE_SIDE == 720
    assert reduced(1439, 500, "JPEG") == ((1439, 500), 1)
    assert reduced(1440, 501, "JPEG") == ((720, 251), 2)
    assert reduced(300, 2881, "JPEG") == ((75, 721), 4)
    assert reduced(1439, 500, "PNG") == ((1439, 500), 1)
    assert reduced(2161, 30, "PNG") == ((721, 10), 3)
    # the JPEG decoder stops at 8; what it leaves is reduced further
    assert reduced(11520, 16, "JPEG") == ((720, 1), 16)


def test_nearly_square_photographs_keep_their_sides():
    photograph = decode(encoded(Image.new("RGB", (1440, 1439)), "JPEG"))
    assert (photograph.image.size, photograph.width, photograph.height) == ((720, 720), 1440, 1439)


@pytest.mark.parametrize(
    ("format", "side", "size", "scale"),
    [
        ("JPEG", 2000, (2000, 251), 2),
        ("JPEG", 2001, (4000, 501), 1),
        ("PNG", 1333, (1334, 167), 3),
        ("PNG", 1334, (2000, 251), 2),
    ],
)
def test_who_needs_more_pixels_gets_a_photograph_reduced_less(format, side, size, scale):
    photograph = OpenedPhoto(encoded(Image.new("RGB", (4000, 501)), format)).decode(side)
    assert (photograph.image.size, photograph.scale) == (size, scale)
    assert (photograph.width, photograph.height) == (4000, 501)


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize(("format", "scale"), [("PNG", 2), ("JPEG", 4)])
def test_boxes_of_the_reduced_image_are_exact_in_the_full_upright_photograph(format, scale, value):
    """A white block on the reduction's grid: found in the reduced upright image, scaled back, compared with the truth.

    Neither side is a multiple of the factor, so in some orientations the image starts outside the photograph.
    """
    width, height = 721 * scale - 1, 301 * scale - scale + 1  # the last pixel lacks one, or has only one, of the scale
    left, top, right, bottom = 40 * scale, 24 * scale, 200 * scale, 120 * scale
    stored = Image.new("RGB", (width, height))
    stored.paste("white", (left, top, right, bottom))
    photograph = decode(encoded(stored, format, exif=orientation(value)))

    rows, columns = np.nonzero(np.asarray(photograph.image)[:, :, 0] > 127)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    expected = {
        1: (left, top, right, bottom),
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (height - bottom, left, height - top, right),
        7: (height - bottom, width - right, height - top, width - left),
        8: (top, width - right, bottom, width - left),
    }[value]
    assert photograph.scale == scale
    assert (photograph.width, photograph.height) == ((width, height) if value < 5 else (height, width))
    np.testing.assert_array_equal(photograph.full_boxes(np.array([box], np.float32)), [expected])


def test_full_boxes_worked_out_by_hand():
    photograph = Photograph(Image.new("RGB", (4, 3)), width=15, height=10, scale=4, origin=(-1, 0))
    boxes = np.array(
        [
            [1, 0.5, 2.5, 2],
            [0, 0, 4, 3],  # the whole image: the whole photograph
            [0, 2.75, 0.125, 3],  # wholly in what lies beyond two borders: one pixel inside
        ],
        np.float32,
    )
    full = photograph.full_boxes(boxes)
    assert full.dtype == np.float32
    np.testing.assert_array_equal(full, [[3, 2, 9, 8], [0, 0, 15, 10], [0, 9, 1, 10]])


# -- bad files


def refusal(content: bytes, memory: int = DECODE_MEMORY) -> str:
    with pytest.raises(PhotoError) as caught:
        OpenedPhoto(io.BytesIO(content), memory).decode()
    return str(caught.value)


def noisy(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def test_a_text_file_and_an_empty_file():
    assert refusal(b"Dear diary, today I took no photographs.\n") == "a text file, not a photograph"
    assert refusal(b"") == "the file is empty"


def test_formats_that_are_not_named_are_not_opened():
    # PostScript would start Ghostscript
    assert refusal(encoded(noisy(), "EPS").getvalue()) == "a PostScript document, not a photograph"
    assert (
        refusal(encoded(noisy(), "SGI").getvalue()) == "not a JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF or JPEG 2000 file"
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "GIF"])
def test_a_truncated_file(format):
    content = encoded(noisy(), format).getvalue()
    assert refusal(content[: len(content) * 2 // 3]).startswith("the file ends early")


def test_a_truncated_large_jpeg_is_noticed_while_it_is_reduced():
    content = encoded(noisy((1600, 1200)), "JPEG").getvalue()
    assert refusal(content[: len(content) // 2]) == "the file ends early, 49 % of the picture is there"


def test_one_pixel():
    assert refusal(encoded(Image.new("RGB", (1, 1)), "PNG").getvalue()) == ("1x1 pixels: too small, both sides need 16")
    assert refusal(encoded(Image.new("RGB", (500, 15)), "PNG").getvalue()).startswith("500x15 pixels: too small")
    assert decode(encoded(Image.new("RGB", (16, 16)), "PNG")).image.size == (16, 16)


def test_a_bomb_is_refused_before_anything_is_decoded(monkeypatch):
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG", compress_level=1).getvalue()
    assert len(bomb) < 1_000_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert refusal(bomb) == "20000x20000 pixels: too large, the limit for such a PNG is 200 megapixels"


def test_memory_that_a_format_takes_lowers_the_pixel_limit():
    def accepted(image: Image.Image, bytes_per_pixel: int, format: str, **options) -> bool:
        """Whether memory for exactly so many bytes a pixel is enough, and one byte less is not."""
        content = encoded(image, format, **options).getvalue()
        memory = image.width * image.height * bytes_per_pixel
        opened = OpenedPhoto(io.BytesIO(content), memory)
        assert opened.memory == memory
        assert opened.decode().image.size == image.size
        return "too large, the limit for such a" in refusal(content, memory - 1)

    rgb = Image.new("RGB", (100, 100))
    assert accepted(rgb, 1, "JPEG")
    assert accepted(rgb, 7, "JPEG", progressive=True)
    assert accepted(rgb, 4, "PNG")
    assert accepted(rgb.convert("RGBA"), 9, "PNG")
    assert accepted(rgb, 17, "WEBP")


class FailingDisk(io.BytesIO):
    """A file of which only so much can be read."""

    def __init__(self, data: bytes, readable: int, number: int):
        super().__init__(data)
        self.readable, self.number = readable, number

    def read(self, size: int = -1) -> bytes:
        if self.tell() + max(size, 0) > self.readable:
            raise OSError(self.number, os.strerror(self.number))
        return super().read(size)


@pytest.mark.parametrize("readable", [0, 2000])
def test_a_disk_that_fails_is_not_the_files_fault(readable):
    file = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(file, "BMP")
    with pytest.raises(OSError, match="Input/output"):
        OpenedPhoto(FailingDisk(file.getvalue(), readable, errno.EIO)).decode()
    with pytest.raises(PhotoError):  # what seeking to a place before the file's beginning says, for one
        OpenedPhoto(FailingDisk(file.getvalue(), readable, errno.EINVAL)).decode()


def test_no_damage_leads_to_anything_but_a_photograph_or_a_reason():
    rng = random.Random(1)
    outcomes = set()
    for format in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        content = encoded(noisy(), format, exif=orientation(6)).getvalue()
        for _ in range(40):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 8)):
                # headers and metadata first: that is where parsers go wrong
                damaged[rng.randrange(min(len(damaged), rng.choice((64, 400, 10_000))))] = rng.randrange(256)
            try:
                outcomes.add(type(decode(io.BytesIO(damaged))))
            except PhotoError:
                outcomes.add(PhotoError)
    assert outcomes == {Photograph, PhotoError}


def test_heic_is_decoded_where_the_extra_is_installed():
    heif = pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    heif.register_heif_opener()
    pixel = decoded_pixel(Image.new("RGB", (64, 64), ORANGE), "HEIF")
    assert np.abs(np.subtract(pixel, ORANGE)).max() <= 8
