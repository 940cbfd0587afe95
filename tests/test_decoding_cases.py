"""Files that people really have (`tests/cases`, made from one photograph): each decoded to what it shows, or named."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from decoding.errors import PhotoError
from decoding.formats import HEIC, JPEG_XL
from decoding.photos import OpenedPhoto, Photograph

CASES = Path(__file__).parent / "cases"
LARGE, SMALL = CASES / "reference_320x214.jpg", CASES / "reference_160x107.png"
UP, SIX, FIVE = None, Image.Transpose.ROTATE_270, Image.Transpose.TRANSPOSE

# Name, what it shows, how that is turned, the mean difference in grey levels that its own compression makes at most.
DECODED = [
    ("jpeg_no_eoi_samsung_trailer.jpg", LARGE, UP, 0),
    ("jpeg_samsung_motion_ok.jpg", LARGE, UP, 0),
    ("ultra_hdr.jpg", LARGE, UP, 0),
    ("mpo_stereo.jpg", LARGE, UP, 4.5),
    ("jpeg_progressive_95_percent.jpg", LARGE, UP, 1),
    ("png_iccp_over_1MB.png", SMALL, UP, 0),
    ("thumbnail_first.tif", SMALL, UP, 0),
    ("cmyk_with_icc.jpg", CASES / "cmyk_with_icc_right.png", UP, 3),
    ("icc_prophoto_gamma18.jpg", LARGE, UP, 3),
    ("photo.avif", LARGE, UP, 3),
    ("gif_first_frame_blank.gif", LARGE, UP, 4.5),
    ("exif6_among_broken_entries.jpg", LARGE, SIX, 0),
    ("exif6_as_long.jpg", LARGE, SIX, 0),
    ("orientation6_in_xmp_only.jpg", LARGE, SIX, 0),
]
HEICS = [
    ("heic_named.jpg", UP),
    ("heic_exif6_no_irot_stays.heic", UP),
    ("heic_irot270_exif1_turns.heic", SIX),
    ("heic_irot270_exif8_turns_once.heic", SIX),
    ("heic_mirrored_5.heic", FIVE),
]


def decode(content: bytes) -> Photograph:
    return OpenedPhoto(io.BytesIO(content)).decode()


def difference(photo: Photograph, reference: Path, turned: Image.Transpose | None) -> float:
    """Mean difference in grey levels."""
    with Image.open(reference) as image:
        expected = image.convert("RGB")
    if turned is not None:
        expected = expected.transpose(turned)
    assert photo.image.size == expected.size == (photo.width, photo.height)
    return float(np.abs(np.asarray(photo.image, float) - np.asarray(expected, float)).mean())


@pytest.mark.parametrize(("name", "reference", "turned", "most"), DECODED, ids=[case[0] for case in DECODED])
def test_a_case_shows_the_photograph(name, reference, turned, most):
    assert difference(decode((CASES / name).read_bytes()), reference, turned) <= most


@pytest.mark.parametrize(("name", "turned"), HEICS, ids=[case[0] for case in HEICS])
def test_heic_is_turned_as_it_says_itself(name, turned):
    pytest.importorskip("pillow_heif")
    assert difference(decode((CASES / name).read_bytes()), LARGE, turned) <= 3


def test_without_its_package_heic_is_named_whatever_it_is_called(monkeypatch):
    monkeypatch.setattr("decoding.formats._installed", lambda module: False)
    with pytest.raises(PhotoError) as caught:
        decode((CASES / "heic_named.jpg").read_bytes())
    assert str(caught.value) == "a HEIC photograph, needs the package pillow-heif (pip install pillow-heif)"
    with pytest.raises(PhotoError, match=r"^a JPEG XL photograph, needs the package pillow-jxl-plugin \(pip install"):
        decode(b"\xff\x0a" + bytes(100))
    with pytest.raises(PhotoError, match=r"^a camera raw photograph, needs the package rawpy \(pip install rawpy\)"):
        decode(b"FUJIFILMCCD-RAW " + bytes(100))
    assert HEIC.remedy.endswith("(pip install pillow-heif)") and JPEG_XL.suffixes == {".jxl"}


def test_twelve_bits_in_sixteen_are_stretched():
    photo = decode((CASES / "grey12_in_16.tif").read_bytes())
    with Image.open(SMALL) as image:
        grey = np.asarray(image.convert("L"), float)
    assert np.abs(np.asarray(photo.image.convert("L"), float) - grey).mean() <= 1


def test_floats_are_decoded():
    photo = decode((CASES / "rgb_float32.tif").read_bytes())
    with Image.open(LARGE) as image:
        small = image.convert("RGB").resize((80, 54))
    assert np.abs(np.asarray(photo.image, float) - np.asarray(small, float)).mean() <= 1


def test_a_strip_is_decoded():
    photo = decode((CASES / "strip_4000x17.jpg").read_bytes())
    assert (photo.image.size, photo.scale, photo.width, photo.height) == ((1000, 5), 4, 4000, 17)


def test_half_a_jpeg_is_refused_with_how_much_is_there():
    with pytest.raises(PhotoError, match=r"^the file ends early, 6\d % of the picture is there$"):
        decode((CASES / "jpeg_half.jpg").read_bytes())


def test_what_is_incomplete_is_remembered():
    assert decode((CASES / "jpeg_no_eoi_samsung_trailer.jpg").read_bytes()).incomplete is None
    progressive = decode((CASES / "jpeg_progressive_95_percent.jpg").read_bytes())
    assert progressive.incomplete == "the file ends early, the finest details may be missing"
