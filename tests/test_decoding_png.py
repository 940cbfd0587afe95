"""PNGs with too much beside their pixels, too few pixels, or damaged ones."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto, Photograph

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def encoded(pixels: np.ndarray = PIXELS, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(content: bytes, *chunks: bytes) -> bytes:
    """Behind the header, which has 25 bytes."""
    return content[:33] + b"".join(chunks) + content[33:]


def decode(content: bytes) -> Photograph:
    return OpenedPhoto(io.BytesIO(content)).decode()


def refusal(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        decode(content)
    return str(caught.value)


MEGABYTES = bytes(3 << 20)


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(MEGABYTES)),
        chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(MEGABYTES)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(MEGABYTES)),
        chunk(b"iCCP", b"profile\0\1" + zlib.compress(b"no such method")),
        chunk(b"iCCP", b"profile\0\0no deflate"),
        chunk(b"iCCP", b""),
        chunk(b"zTXt", b"Raw profile type exif\0\0no deflate"),
        chunk(b"zTXt", b"Comment\0\7"),
        chunk(b"eXIf", b"rubbish"),
        chunk(b"gAMA", b""),
        chunk(b"cHRM", b"\0"),
        chunk(b"tIME", b"\0"),
        chunk(b"tEXt", b"Comment\0hello")[:-4] + b"\0\0\0\0",  # a wrong checksum
        b"".join(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 20))) for _ in range(80)),
    ],
    ids=range(15),
)
def test_nothing_beside_the_pixels_makes_a_photograph_fail(extra):
    whole = encoded()
    for content in (with_chunks(whole, extra), whole[:-12] + extra + whole[-12:]):
        photo = decode(content)
        np.testing.assert_array_equal(np.asarray(photo.image), PIXELS)
        assert photo.incomplete is None


def test_what_unfolds_without_end_takes_no_memory():
    bomb = zlib.compress(bytes(300 << 20))
    content = with_chunks(
        encoded(), chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb), chunk(b"iCCP", b"p\0\0" + bomb)
    )
    tracemalloc.start()
    decode(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_notes_that_are_needed_stay():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(exif=exif)).width == 60
    info = PngImagePlugin.PngInfo()
    xmp = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    )
    for compressed in (False, True):
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp, zip=compressed)
        assert decode(encoded(pnginfo=info)).width == 60


@pytest.mark.parametrize("interlaced", [False, True])
def test_how_much_is_there_is_told(interlaced):
    rows = [b"\0" + PIXELS[y].tobytes() for y in range(60)]
    if interlaced:  # Adam7, each pass with its own rows
        starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
        rows = [b"\0" + PIXELS[j, x::dx].tobytes() for x, y, dx, dy in starts for j in range(y, 60, dy)]
    header = struct.pack(">IIBBBBB", 80, 60, 8, 2, 0, 0, interlaced)
    stored = zlib.compress(b"".join(rows), 0)  # as long as the pixels are
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", stored) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(np.asarray(decode(content).image), PIXELS)
    assert refusal(content[: len(content) // 2]) == "the file ends early, 49 % of the picture is there"
    photo = decode(content[: len(content) * 95 // 100])
    assert photo.incomplete == "the file ends early, 95 % of the picture is there"
    if not interlaced:
        np.testing.assert_array_equal(np.asarray(photo.image)[:57], PIXELS[:57])


def test_damaged_pixels_are_told_apart_from_missing_ones():
    y, x = np.mgrid[:600, :800]
    whole = bytearray(
        encoded(((x[:, :, None] * [1, 2, 3] + y[:, :, None] * y[:, :, None] // 7) % 256).astype(np.uint8))
    )
    middle = len(whole) // 2
    whole[middle : middle + 200] = np.random.default_rng(0).bytes(200)
    try:
        told = decode(bytes(whole)).incomplete
    except PhotoError as error:
        told = str(error)
    assert told is not None and told.startswith("the file is damaged, ")


def test_a_wrong_checksum_of_the_pixels_is_no_matter():
    whole = encoded()
    end = whole.index(b"IEND") - 8  # the last bytes of zlib's own checksum
    content = whole[: end - 4] + b"\0\0\0\0" + whole[end:]
    photo = decode(content)
    np.testing.assert_array_equal(np.asarray(photo.image), PIXELS)
    assert photo.incomplete == "the file is damaged, its checksum is wrong"


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16"])
def test_every_mode_can_lack_its_end(mode):
    image = Image.fromarray(PIXELS).convert("I" if mode == "I;16" else mode)
    image = image.convert("I;16") if mode == "I;16" else image
    file = io.BytesIO()
    image.save(file, "PNG")
    content = file.getvalue()
    photo = decode(content[: content.index(b"IEND") - 4 - 14])
    assert photo.incomplete is None or "of the picture is there" in photo.incomplete
    assert photo.image.size == (80, 60)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_grey_of_16_bits_that_are_not_all_used_is_stretched_to_white(bits):
    grey = np.linspace(0, 2**bits - 1, 64 * 48).reshape(48, 64).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    decoded = np.asarray(decode(file.getvalue()).image)[:, :, 0].astype(float)
    assert np.abs(decoded - grey * (255 / (2**bits - 1))).max() <= 1
