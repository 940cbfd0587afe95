"""What headers tell besides the pixels, however broken they are."""

import io

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from decoding.headers import Headers
from decoding.photos import OpenedPhoto

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


def exif(*, base: dict | None = None, camera: dict | None = None, gps: dict | None = None) -> Image.Exif:
    made = Image.Exif()
    made.update(base or {})
    made.get_ifd(0x8769).update(camera or {})
    made.get_ifd(0x8825).update(gps or {})
    return made


def headers(format: str = "JPEG", **options) -> Headers:
    file = io.BytesIO()
    PICTURE.save(file, format, **options)
    return OpenedPhoto(file).decode().headers


def xmp(inside: str, attributes: str = "") -> bytes:
    names = (
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
    )
    return (
        f'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {names}>'
        f"<rdf:Description {attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


FULL = exif(
    base={271: "NIKON CORPORATION", 272: "NIKON D90 ", 306: "2020:01:01 00:00:00", 0x4746: 4},
    camera={36867: "2019:06:23 14:05:06", 36881: "+02:00", 0xA434: "35.0 mm f/1.8"},
    gps={
        1: "S", 2: (IFDRational(33), IFDRational(52), IFDRational(30)),
        3: "E", 4: (IFDRational(151), IFDRational(12), IFDRational(3600, 100)),
    },
)  # fmt: skip


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_everything_that_a_camera_writes(format):
    assert headers(format, exif=FULL.tobytes()) == Headers(
        taken="2019-06-23T14:05:06",
        utc_offset=120,
        make="NIKON CORPORATION",
        model="NIKON D90",
        lens="35.0 mm f/1.8",
        latitude=-33.875,
        longitude=151.21,
        rating=4,
    )


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF"])
def test_nothing_is_told_by_a_photograph_without_headers(format):
    assert headers(format) == Headers()


@pytest.mark.parametrize(
    ("base", "camera", "taken", "offset"),
    [
        ({306: "2020:01:02 03:04:05"}, {}, "2020-01-02T03:04:05", None),
        ({306: "2020:01:02 03:04:05"}, {36880: "-03:30"}, "2020-01-02T03:04:05", -210),
        ({}, {36868: "2001:02:03 04:05:06"}, "2001-02-03T04:05:06", None),
        ({306: "2020:01:02 03:04:05"}, {36867: "0000:00:00 00:00:00"}, "2020-01-02T03:04:05", None),
        ({}, {36867: "2019-06-23T14:05:06Z"}, "2019-06-23T14:05:06", 0),
        ({}, {36867: "2019:02:31 00:00:00"}, None, None),
        ({}, {36867: "    :  :     :  :  "}, None, None),
        ({}, {36867: "2019:06:23 14:05:06", 36881: "rubbish"}, "2019-06-23T14:05:06", None),
        ({}, {36867: "2019:06:23 14:05:06", 36881: "+99:00"}, "2019-06-23T14:05:06", None),
    ],
)
def test_dates(base, camera, taken, offset):
    found = headers(exif=exif(base=base, camera=camera))
    assert (found.taken, found.utc_offset) == (taken, offset)


def test_places_that_are_none():
    def gps(latitude, longitude) -> dict:
        return {1: "N", 2: latitude, 3: "W", 4: longitude}

    def place(tags: dict) -> tuple:
        found = headers(exif=exif(gps=tags))
        return found.latitude, found.longitude

    zero = (IFDRational(0), IFDRational(0), IFDRational(0))
    assert place(gps(zero, zero)) == (None, None)
    assert place(gps((IFDRational(91), IFDRational(0), IFDRational(0)), zero)) == (None, None)
    assert place({1: "N", 2: zero}) == (None, None)
    assert place(gps((IFDRational(10), IFDRational(30), IFDRational(0)), (IFDRational(20),) * 3)) == (10.5, -20.3388889)


def test_xmp_has_ratings_and_keywords():
    bag = "<dc:subject><rdf:Bag><rdf:li>beach</rdf:li><rdf:li> two\nwords </rdf:li><rdf:li/></rdf:Bag></dc:subject>"
    for packet in (xmp(bag, 'xmp:Rating="5"'), xmp(bag + "<xmp:Rating>5</xmp:Rating>")):
        found = headers(xmp=packet)
        assert (found.rating, found.keywords) == (5, ("beach", "two words"))
    assert headers(xmp=xmp("", 'xmp:Rating="-1"')).rating == -1
    assert headers(xmp=xmp("", 'xmp:Rating="many"')).rating is None
    found = headers(xmp=xmp("", 'exif:DateTimeOriginal="2019-06-23T14:05:06.12+02:00"'))
    assert (found.taken, found.utc_offset) == ("2019-06-23T14:05:06", 120)
    # what the camera wrote comes before what programs wrote
    found = headers(xmp=xmp("", 'exif:DateTimeOriginal="2000-01-01T00:00:00Z"'), exif=FULL)
    assert (found.taken, found.utc_offset, found.rating) == ("2019-06-23T14:05:06", 120, 4)


@pytest.mark.parametrize(
    "packet",
    [
        b"rubbish",
        b"<x",
        b"\xff\xfe\x00",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<?xml version='1.0' encoding='no such'?><a/>",
        xmp("")[:-40],
    ],
)
def test_broken_xmp_tells_nothing(packet):
    assert headers(xmp=packet) == Headers()


def test_keywords_of_iptc_and_of_windows():
    def dataset(number: int, value: bytes) -> bytes:
        return b"\x1c\x02" + bytes([number]) + len(value).to_bytes(2, "big") + value

    record = (
        dataset(0, b"\0\2") + dataset(25, b"harbour") + dataset(25, "K\u00fcste".encode("latin-1")) + dataset(25, b"")
    )
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(record).to_bytes(4, "big") + record + b"\0" * (len(record) % 2)
    whole = io.BytesIO()
    windows = "boat; harbour".encode("utf-16-le") + b"\0\0"
    PICTURE.save(whole, "JPEG", exif=exif(base={0x9C9E: windows}))
    content = whole.getvalue()
    segment = b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block
    found = OpenedPhoto(io.BytesIO(content[:2] + segment + content[2:])).decode().headers
    assert found.keywords == ("harbour", "K\u00fcste", "boat")


@pytest.mark.parametrize("seed", range(200))
def test_damaged_headers_never_cost_the_photograph(seed):
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", exif=FULL, xmp=xmp("", 'xmp:Rating="5"'))
    content = bytearray(file.getvalue())
    rng = np.random.default_rng(seed)
    start = content.index(b"Exif\0\0") + 6
    stop = start + int.from_bytes(content[start - 8 : start - 6], "big") - 8
    for place in rng.integers(start, stop, 20):
        content[place] = rng.integers(0, 256)
    photo = OpenedPhoto(io.BytesIO(bytes(content))).decode()
    assert photo.image.width * photo.image.height == 1200
    assert isinstance(photo.headers, Headers)


def test_keywords_of_a_jpeg_xl_are_read():
    pytest.importorskip("pillow_jxl")
    file = io.BytesIO()
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        b'xmp:Rating="3"><dc:subject><rdf:Bag><rdf:li>cat</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF>'
        b"</x:xmpmeta>"
    )
    Image.new("RGB", (40, 30), "orange").save(file, "JXL", xmp=packet)
    headers = OpenedPhoto(file).headers()
    assert (headers.rating, headers.keywords) == (3, ("cat",))
