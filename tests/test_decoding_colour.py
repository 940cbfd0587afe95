"""Colours by the profiles that photographs carry."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from decoding.colour import to_srgb
from decoding.photos import OpenedPhoto

CASES = Path(__file__).parent / "cases"


def profile_of(name: str) -> bytes:
    with Image.open(CASES / name) as image:
        return image.info["icc_profile"]


def ramp(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, format: str, profile: bytes) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, format, icc_profile=profile)
    return file


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("profile", [b"", b"rubbish", SRGB[: len(SRGB) // 2], None])
def test_without_a_profile_or_with_a_broken_one_colours_are_as_they_are(profile):
    image = ramp()
    np.testing.assert_array_equal(np.asarray(to_srgb(image, profile)), np.asarray(image))


def test_srgb_changes_nothing():
    image = ramp()
    np.testing.assert_array_equal(np.asarray(to_srgb(image, SRGB)), np.asarray(image))


def test_a_profile_of_other_colours_is_no_profile():
    press = profile_of("cmyk_with_icc.jpg")
    for mode in ("RGB", "L"):
        np.testing.assert_array_equal(np.asarray(to_srgb(ramp(mode), press)), np.asarray(ramp(mode).convert("RGB")))
    assert to_srgb(ramp("CMYK"), SRGB).mode == "RGB"


def test_prophoto_is_brought_to_srgb_in_every_format():
    profile = profile_of("icc_prophoto_gamma18.jpg")
    expected = np.asarray(to_srgb(ramp(), profile)).astype(int)
    assert np.abs(expected - np.asarray(ramp())).mean() > 10
    for format in ("PNG", "TIFF", "WEBP", "BMP"):
        options = {"lossless": True} if format == "WEBP" else {}
        file = io.BytesIO()
        ramp().save(file, format, icc_profile=profile, **options)
        found = np.asarray(OpenedPhoto(file).decode().image).astype(int)
        reference = np.asarray(ramp()).astype(int) if format == "BMP" else expected  # BMP keeps none
        assert np.abs(found - reference).max() == 0


def test_transparent_pictures_have_profiles_too():
    profile = profile_of("icc_prophoto_gamma18.jpg")
    image = ramp("RGBA")
    found = np.asarray(OpenedPhoto(encoded(image, "PNG", profile)).decode().image)
    np.testing.assert_array_equal(found, np.asarray(to_srgb(ramp(), profile)))


def test_grey_pixels_may_carry_the_profile_of_a_colour_picture():
    profile = profile_of("icc_prophoto_gamma18.jpg")
    found = np.asarray(to_srgb(ramp("L"), profile)).astype(int)
    np.testing.assert_array_equal(found, np.asarray(to_srgb(ramp("L").convert("RGB"), profile)))
    assert np.abs(found - np.asarray(ramp("L"))[:, :, None]).max() > 5
