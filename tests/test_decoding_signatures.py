"""What a file is by its first bytes, whatever it is called."""

import io
import zipfile

import pytest
from PIL import Image

from decoding.errors import PhotoError
from decoding.formats import HEIC, JPEG_XL, RAW
from decoding.photos import OpenedPhoto
from decoding.signatures import other_name, photo_format


def encoded(format: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "orange").save(file, format)
    return file.getvalue()


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *(("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WebP"), ("TIFF", "TIFF"), ("GIF", "GIF"), ("BMP", "BMP")),
        *(("AVIF", "AVIF"), ("JPEG2000", "JPEG 2000"), ("MPO", "JPEG")),
    ],
)
def test_formats_that_pillow_writes(format, name):
    assert photo_format(encoded(format)) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", HEIC),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", HEIC),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypavis\0\0\0\0msf1", "AVIF"),
        (b"\xff\x0a\x11", JPEG_XL),
        (b"\0\0\0\x0cJXL \r\n\x87\n", JPEG_XL),
        (b"II*\0\x10\0\0\0CR\x02\0", RAW),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", RAW),
        (b"FUJIFILMCCD-RAW 0201", RAW),
        (b"IIRO\x08\0\0\0", RAW),
        (b"IIU\0\x18\0\0\0", RAW),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (b"\0\0\0\x18ftypisom", None),
        (b"GIF", None),
        (b"", None),
    ],
)
def test_formats_by_their_first_bytes(head, name):
    assert photo_format(head) == name


ZIP = io.BytesIO()
with zipfile.ZipFile(ZIP, "w") as archive:
    archive.writestr("a.txt", "a")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"Dear diary\n", "a text file"),
        ("Gr\u00fc\u00dfe, \u56fe".encode(), "a text file"),
        (("x" * 511 + "\u00fc").encode(), "a text file"),  # cut in the middle of its last character
        (b"<!DOCTYPE html><title>404", "a web page (HTML)"),
        (b"\n<html>", "a web page (HTML)"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing (SVG)"),
        (b"%PDF-1.7", "a PDF document"),
        (b"8BPS\0\1", "a Photoshop document"),
        (ZIP.getvalue(), "a ZIP archive or an Office document"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "a video (MP4)"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video (QuickTime)"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "a video (QuickTime)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (bytes(512), "a file that begins with nothing but zeros"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer to a file that Git LFS has not fetched"),
        (b"\0\x05\x16\x07\0\2\0\0", "macOS's notes about a file (AppleDouble)"),
        (b"P6\n3 2\n255\n", "a PPM picture"),
        (b"\n\x05\x01\x08", "a PCX picture"),
        (bytes(128) + b"DICM", "a medical picture (DICOM)"),
        (b"\x93\xff\x00\x17", None),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_what_is_no_photograph_is_named(content, name):
    assert other_name(content[:512]) == name
    with pytest.raises(PhotoError) as caught:
        OpenedPhoto(io.BytesIO(content))
    assert str(caught.value) == (
        f"{name}, not a photograph" if name else "not a JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF or JPEG 2000 file"
    )
