"""Hostile files under odd names, through a whole build: each is described or refused with a reason, and none is lost.

By default a thousand; `FUZZ_FILES=5000 pytest tests/test_indexer_fuzz.py` tries as many as it says. The same number
gives the same files.
"""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from db.collection import open_collection
from decoding.photos import PIXEL_LIMIT
from helpers.workshop import Workshop, counts

FILES = int(os.environ.get("FUZZ_FILES", "1000"))
SEED = 20160627

ODD_NAMES = (
    b"plain",
    b"new\nline",
    b"\xff\xfe",  # no UTF-8
    b"-rf",
    b"--retry",
    "\u202egpj.exe\u202c".encode(),  # reads backwards
    "u\u0308ber nfd".encode(),
    "\U0001f4f7 \u56fe".encode(),
    b"'quotes\" and $(things) `here` ; %s {0} \\",
    b"\x01\x1b[31mred\x7f\t",
    b" spaces ",
    b"two..dots..",
    b"con",
)
LONGEST = 255  # bytes of a name


def encoded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, format, **options)  # Pillow leaves settings of one format behind for the next
    return file.getvalue()


def originals() -> dict[str, list[bytes]]:
    """Sound files of each format, by suffix: the kinds of coding that have code of their own."""
    rng = np.random.default_rng(SEED)
    smooth = np.linspace(0, 200, 48 * 64 * 3).reshape(48, 64, 3) + rng.integers(0, 50, (48, 64, 3))
    rgb = Image.fromarray(smooth.astype(np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (48, 64), np.uint16))
    palette, alpha = rgb.quantize(16), rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))

    def frames() -> dict:
        return {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}

    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        ".jpg": [
            encoded(rgb, "JPEG", exif=exif, quality=90),
            encoded(rgb, "JPEG", progressive=True),
            encoded(rgb.convert("CMYK"), "JPEG"),
            encoded(rgb.resize((1500, 40)), "JPEG", restart_marker_blocks=2),  # reduced while it is decoded
            encoded(rgb, "MPO", **frames()),
        ],
        ".png": [
            encoded(rgb, "PNG", exif=exif),
            encoded(palette, "PNG", transparency=3),
            encoded(grey16, "PNG"),
            encoded(alpha, "PNG", **frames()),
        ],
        ".webp": [
            encoded(rgb, "WEBP", exif=exif),
            encoded(alpha, "WEBP", lossless=True),
            encoded(rgb, "WEBP", **frames()),
        ],
        ".gif": [encoded(palette, "GIF", transparency=2), encoded(rgb, "GIF", **frames())],
        ".tif": [
            *(encoded(rgb, "TIFF", compression=name) for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
            encoded(grey16, "TIFF"),
            encoded(rgb.convert("1"), "TIFF", compression="group4"),
            encoded(rgb, "TIFF", exif=exif, **frames()),
        ],
    }


# -- ways to damage a file


def flip_bits(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 2, 8, 64))):
        # headers more often than pixels: that is where parsers go wrong
        place = rng.randrange(min(len(damaged), rng.choice((32, 400, len(damaged)))))
        damaged[place] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def truncate(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    return content[: rng.randrange(len(content))]


def splice(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """The beginning of one file, the end of another, of any format."""
    other = rng.choice(others)
    return content[: rng.randrange(len(content))] + other[rng.randrange(len(other)) :]


def repeat(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """A part of the file many times over: chunks, frames, tables without end."""
    start = rng.randrange(len(content))
    stop = min(len(content), start + rng.choice((1, 4, 16, 200)))
    return content[:stop] + content[start:stop] * rng.choice((1, 50, 2000)) + content[stop:]


def lie(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Another size, count or offset in the header, the rest as it was."""
    damaged = bytearray(content)
    number = rng.choice((0, 1, 15, 16, 63, 65, 1000, 16383, 65535, 2**31 - 1, 2**32 - 1))
    if content.startswith(b"\x89PNG"):
        struct.pack_into(">I", damaged, rng.choice((16, 20)), number)
        struct.pack_into(">I", damaged, 29, zlib.crc32(damaged[12:29]))
    elif content.startswith(b"\xff\xd8"):
        place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
        struct.pack_into(">H", damaged, place + rng.choice((2, 5, 7)), number & 0xFFFF)
    elif content.startswith(b"GIF"):
        struct.pack_into("<H", damaged, rng.choice((6, 8, content.find(b",") + 5)), number & 0xFFFF)
    elif content.startswith(b"RIFF"):
        struct.pack_into("<I", damaged, rng.choice((4, 16, 24, 27)), number)
    else:  # TIFF: one field of one tag
        (directory,) = struct.unpack_from("<I", content, 4)
        (tags,) = struct.unpack_from("<H", content, directory)
        place = directory + 2 + 12 * rng.randrange(tags)
        kind, where = rng.choice((("<H", 2), ("<I", 4), ("<I", 8)))
        struct.pack_into(kind, damaged, place + where, number & (0xFFFF if kind == "<H" else 0xFFFFFFFF))
    return bytes(damaged)


def rubbish(rng: random.Random, content: bytes, others: list[bytes]) -> bytes:
    """Nothing but a sound beginning."""
    return content[: rng.choice((0, 4, 16, 60))] + rng.randbytes(rng.choice((0, 100, 5000)))


DAMAGES: tuple[Callable[[random.Random, bytes, list[bytes]], bytes], ...] = (
    flip_bits, flip_bits, truncate, splice, repeat, lie, lie, rubbish
)  # fmt: skip


def write_hostile_files(shop: Workshop) -> int:
    """FILES damaged files in the shop, after a sound one of each kind; returns how many of those there are."""
    rng = random.Random(SEED)
    by_suffix = originals()
    kinds = [(suffix, content) for suffix, contents in by_suffix.items() for content in contents]
    everything = [content for _, content in kinds]
    for number in range(len(kinds) + FILES):
        suffix, content = kinds[number % len(kinds)]
        if number >= len(kinds):
            content = rng.choice(DAMAGES)(rng, content, everything)
        name = ODD_NAMES[number % len(ODD_NAMES)] + f" {number}".encode()
        if number % 17 == 0:
            name += b"x" * (LONGEST - len(name) - len(suffix))
        folder = shop.root / os.fsdecode(ODD_NAMES[number // 100 % len(ODD_NAMES)])
        folder.mkdir(exist_ok=True)
        (folder / os.fsdecode(name + suffix.encode())).write_bytes(content)
    return len(kinds)


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_whatever_a_file_holds_and_is_called_the_build_goes_on(tmp_path):
    shop = Workshop(tmp_path)
    sound = write_hostile_files(shop)
    report = shop.build(batch_size=32)
    stats = shop.stats()
    assert report.new + report.failed == len(stats) == sound + FILES
    assert shop.progress.files == sound + FILES
    reasons = {path: stat.reason for path, stat in stats.items() if stat.failed}
    assert len(reasons) == report.failed == len(shop.progress.failures)
    assert FILES / 4 < report.failed < FILES  # the damage is neither too little nor too much
    assert all(reasons.values())

    with open_collection(shop.path) as collection:
        photos = collection.photos(collection.photo_ids())
        features = collection.features()
        size = {photo.photo_id: (photo.width, photo.height) for photo in photos}
        assert len({photo.path for photo in photos if photo.path.exists()}) == report.new
        for region in collection.regions(features.region_ids):
            (x1, y1, x2, y2), (width, height) = region.box, size[region.photo_id]
            assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and width * height <= PIXEL_LIMIT
    names = sorted(path.name for path in shop.root.rglob("*") if path.is_file())
    assert sorted(path.rpartition("/")[2] for path in stats) == names

    assert counts(shop.build()) == {"unchanged": report.new, "failed_before": report.failed}
