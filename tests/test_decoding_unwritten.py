"""Copies that failed, of every format: what is missing is noticed, and told in words of the person who has the file."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from decoding import gif, unwritten
from decoding.errors import PhotoError
from decoding.formats import HEIC, JPEG_XL
from decoding.photos import OpenedPhoto, Photograph

SIZE = (640, 480)


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    """Nowhere flat, nowhere black."""
    noise = np.random.default_rng(0).integers(60, 250, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture().save(file, kind, **options)
    return file.getvalue()


def tiff(**options) -> bytes:
    """With its directory first, as programs write it that know what comes."""
    file = io.BytesIO()
    tifffile.imwrite(file, np.asarray(picture()), photometric="rgb", **options)
    return file.getvalue()


def outcome(content: bytes) -> Photograph | str:
    try:
        return OpenedPhoto(io.BytesIO(content)).decode()
    except PhotoError as error:
        return str(error)


def difference(photo: Photograph, rows: int = SIZE[1]) -> float:
    pixels, expected = (np.asarray(image, float)[:rows] for image in (photo.image, picture()))
    return float(np.abs(pixels - expected).mean())


KINDS = {
    "jpeg": lambda: encoded("JPEG"),
    "png": lambda: encoded("PNG"),
    "gif": lambda: encoded("GIF"),
    "interlaced gif": lambda: encoded("GIF", interlace=True),
    "webp": lambda: encoded("WEBP"),
    "lossless webp": lambda: encoded("WEBP", lossless=True),
    "avif": lambda: encoded("AVIF"),
    "jpeg 2000": lambda: encoded("JPEG2000"),
    "bmp": lambda: encoded("BMP"),
    "tiff": tiff,
    "zip tiff": lambda: tiff(compression="zlib", rowsperstrip=16),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filling", ["nothing", "zeros"])
def test_a_file_that_ends_at_its_half_is_refused_with_its_share(kind, filling):
    whole = KINDS[kind]()
    half = len(whole) // 2 // 4096 * 4096
    said = outcome(whole[:half] + (bytes(len(whole) - half) if filling == "zeros" else b""))
    fault = "the file is damaged" if filling == "zeros" else "the file ends early"
    assert isinstance(said, str) and said.startswith(f"{fault}, ") and said.endswith(" is there")
    assert 40 <= int(said.split(", ")[1].split()[0]) <= 65


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filling", ["nothing", "zeros"])
def test_what_lacks_little_is_shown_and_said_to_be_incomplete(kind, filling):
    whole = KINDS[kind]()
    cut = int(len(whole) * 0.96) // 4096 * 4096 if len(whole) > 200_000 else int(len(whole) * 0.95)
    photo = outcome(whole[:cut] + (bytes(len(whole) - cut) if filling == "zeros" else b""))
    assert isinstance(photo, Photograph), photo
    fault = "the file is damaged, 9" if filling == "zeros" else "the file ends early, 9"
    assert photo.incomplete is not None and photo.incomplete.startswith(fault)
    whole_photo = outcome(whole)
    assert isinstance(whole_photo, Photograph) and whole_photo.incomplete is None
    if kind not in ("interlaced gif", "bmp"):  # which begin elsewhere than at the top
        assert difference(photo, int(0.85 * SIZE[1])) < 1 + difference(whole_photo)


@pytest.mark.skipif(not HEIC.installed(), reason="needs pillow-heif")
def test_the_same_of_heic():
    whole = encoded("HEIF")
    assert outcome(whole[: len(whole) // 2 + 9]) == "the file ends early, 50 % of it is there"
    photo = outcome(whole[: int(0.95 * len(whole))])
    assert isinstance(photo, Photograph) and photo.incomplete == "the file ends early, 94 % of it is there"
    whole_photo = outcome(whole)
    assert isinstance(whole_photo, Photograph)
    assert difference(photo, int(0.85 * SIZE[1])) < 1 + difference(whole_photo)


@pytest.mark.skipif(not JPEG_XL.installed(), reason="needs pillow-jxl-plugin")
def test_of_jpeg_xl_one_sentence():
    whole = encoded("JXL")
    for content in (whole[: int(0.95 * len(whole))], whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        assert outcome(content) == "a JPEG XL photograph that is damaged or ends early"


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_behind_a_whole_file_are_no_damage(kind):
    photo = outcome(KINDS[kind]() + bytes(70_000))
    assert isinstance(photo, Photograph) and photo.incomplete is None


@pytest.mark.parametrize("kind", ["png", "zip tiff"])
def test_a_part_in_the_middle_that_was_never_written(kind):
    whole = KINDS[kind]()
    start = len(whole) // 2 // 512 * 512
    said = outcome(whole[:start] + bytes(2048) + whole[start + 2048 :])
    assert isinstance(said, str) and said.startswith("the file is damaged, ")


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_black_at_the_end_of_uncompressed_pixels_is_black(kind):
    image = picture()
    image.paste((0, 0, 0), (0, 0, SIZE[0], 99))
    image.paste((0, 0, 0), (0, SIZE[1] - 99, *SIZE))
    file = io.BytesIO()
    image.save(file, kind)
    photo = outcome(file.getvalue())
    assert isinstance(photo, Photograph) and photo.incomplete is None


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_black_picture_is_whole(kind):
    file = io.BytesIO()
    Image.new("RGB", (3000, 2000)).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    for content in (file.getvalue(), file.getvalue() + bytes(5000)):
        photo = outcome(content)
        assert isinstance(photo, Photograph) and photo.incomplete is None


def test_pixels_of_a_png_that_changed_without_a_word_of_the_decoder():
    """A bit of a stored block: nothing but the checksums can tell."""
    whole = bytearray(encoded("PNG", compress_level=0))
    whole[len(whole) // 2] ^= 1
    photo = outcome(bytes(whole))
    assert isinstance(photo, Photograph) and photo.incomplete == "the file is damaged, its checksum is wrong"


@pytest.mark.parametrize("interlace", [False, True])
def test_the_share_of_a_gif_is_that_of_its_pixels(interlace):
    whole = encoded("GIF", interlace=interlace)
    assert gif.share_there(io.BytesIO(whole)) == 1
    for share in (0.2, 0.5, 0.9):
        found = gif.share_there(io.BytesIO(whole[: int(share * len(whole))]))
        assert abs(found - share) < 0.06
    assert gif.share_there(io.BytesIO(whole[:20])) == 0


def test_an_animation_that_ends_in_a_later_frame_is_whole():
    frames = [picture().rotate(angle) for angle in (0, 90, 180)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    photo = outcome(file.getvalue()[: int(0.9 * len(file.getvalue()))])
    assert isinstance(photo, Photograph) and photo.incomplete is None


# -- where zeros begin


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_where_zeros_at_the_end_begin(length):
    file = io.BytesIO(b"\x07" * 5000 + bytes(length))
    assert unwritten.written(file) == (5000 if length >= 64 else 5000 + length)
    assert unwritten.written(io.BytesIO(bytes(length))) == (0 if length >= 64 else length)


@pytest.mark.parametrize(("data", "found"), [(8192, 8192), (8190, 8190), (8189, None), (8193, None)])
def test_uncompressed_pixels_were_not_written_from_a_page_on(data, found):
    file = io.BytesIO(b"\x07" * data + bytes(20_000))
    assert unwritten.written(file, compressed=False) == (found or data + 20_000)


MB = 1 << 20


@pytest.mark.parametrize(
    ("start", "stop", "found"),
    [
        (512, 1024, True),
        (510, 1026, True),
        (509, 1024, False),
        (512, 1027, False),
        (512, 1000, False),
        (MB - 512, MB, True),
        (MB - 512, MB + 512, True),
        (MB, MB + 512, True),
        (MB - 1024, 3 * MB, True),
        (MB - 100, MB + 412, False),
        (MB - 1, MB + 512, True),
    ],
)
def test_holes_are_whole_sectors_wherever_they_lie(start, stop, found):
    data = bytearray(b"\x07" * (4 * MB))
    data[start:stop] = bytes(stop - start)
    file = io.BytesIO(data)

    def hole(*parts: tuple[int, int]) -> int | None:
        return unwritten.first_hole(file, lambda: parts)

    assert hole((0, len(data))) == (start if found else None)
    assert hole((0, start), (stop, len(data))) is None
    assert hole((0, 1), (start + 100, start + 200)) == (start + 100 if found else None)


def test_zeros_of_which_none_is_a_hole_are_passed_over():
    data = bytearray(b"\x07" * (2 * MB))
    data[1000:3000] = bytes(2000)
    data[MB + 1024 : MB + 2048] = bytes(1024)
    assert unwritten.first_hole(io.BytesIO(data), lambda: [(0, len(data))]) == MB + 1024


def test_where_the_parts_are_is_asked_for_holes_only():
    assert (
        unwritten.first_hole(io.BytesIO(b"\x07" * 5000 + bytes(300) + b"\x07" * 5000 + bytes(4096)), pytest.fail)
        is None
    )
