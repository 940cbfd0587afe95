"""Damaged photographs of every format under odd names: what `scripts.torture.decoding` and the fuzz test decode."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from decoding.formats import HEIC, JPEG_XL
from decoding.tiff_samples import write_tiff

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


_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.copy().save(file, format, **options)  # Pillow leaves settings of one format behind for the next
    return file.getvalue()


def originals(seed: int) -> dict[str, list[bytes]]:
    """Sound files of each format, by suffix: the kinds of coding that have code of their own."""
    rng = np.random.default_rng(seed)
    smooth = np.linspace(0, 200, 48 * 64 * 3).reshape(48, 64, 3) + rng.integers(0, 50, (48, 64, 3))
    rgb = Image.fromarray(smooth.astype(np.uint8))
    grey16 = Image.fromarray(rng.integers(0, 65536, (48, 64), np.uint16))
    palette, alpha = rgb.quantize(16), rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))

    def frames() -> dict[str, Any]:
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
            encoded(rgb, "JPEG", icc_profile=_PROFILE, xmp=_XMP)[:-2] + b"\0\0\1\nSEFH trailer\xff\xc4 SEFT",
            encoded(rgb, "JPEG", progressive=True, subsampling=0)[:-2],
        ],
        ".png": [
            encoded(rgb, "PNG", exif=exif),
            encoded(palette, "PNG", transparency=3),
            encoded(grey16, "PNG"),
            encoded(alpha, "PNG", **frames()),
            encoded(rgb, "PNG", icc_profile=_PROFILE, pnginfo=_note()),
            encoded(Image.new("RGB", rgb.size, "white"), "PNG", **frames(), default_image=True),
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
            encoded(rgb.resize((1500, 40)), "TIFF", compression="tiff_adobe_deflate"),  # reduced band by band
            encoded(rgb.convert("CMYK"), "TIFF", icc_profile=_PROFILE),
            *_tiffs(rng),
        ],
        ".avif": [encoded(rgb, "AVIF", exif=exif), encoded(alpha, "AVIF")],  # animations carry the time they were made
        ".jp2": [encoded(rgb, "JPEG2000"), encoded(grey16, "JPEG2000", irreversible=False)],
        ".bmp": [encoded(rgb, "BMP"), encoded(palette, "BMP")],
        **_of_extras(rgb),
    }


def _note() -> PngInfo:
    note = PngInfo()
    note.add_itxt("XML:com.adobe.xmp", _XMP.decode(), zip=True)
    note.add_text("Comment", "x" * 1000, zip=True)
    return note


def _tiffs(rng: np.random.Generator) -> list[bytes]:
    """Samples that Pillow does not know: planes, floats, signed and packed numbers, alpha, tiles, predictors."""
    size: dict[int, list[int] | bytes] = {256: [64], 257: [48], 259: [1], 278: [48]}
    planes = [rng.bytes(64 * 48 * 2) for _ in range(3)]
    floats = rng.random((48, 64, 3), np.float32).tobytes()
    tiles = [zlib.compress(rng.bytes(32 * 32 * 2)) for _ in range(4)]
    return [
        write_tiff({**size, 258: [16] * 3, 262: [2], 277: [3], 284: [2]}, planes).getvalue(),
        write_tiff({**size, 258: [32] * 3, 262: [2], 277: [3], 339: [3] * 3}, [floats]).getvalue(),
        write_tiff({**size, 258: [12], 262: [0], 277: [1]}, [rng.bytes(96 * 48)]).getvalue(),
        write_tiff({**size, 258: [8] * 5, 262: [5], 277: [5], 338: [2]}, [rng.bytes(5 * 64 * 48)]).getvalue(),
        write_tiff({**size, 258: [16], 262: [1], 277: [1], 339: [2]}, [rng.bytes(2 * 64 * 48)]).getvalue(),
        write_tiff(
            {**size, 258: [16], 259: [8], 262: [1], 277: [1], 317: [2], 322: [32], 323: [32]}, tiles, tiles=True
        ).getvalue(),
    ]


def _of_extras(rgb: Image.Image) -> dict[str, list[bytes]]:
    """Formats whose packages are installed."""
    found = {}
    if HEIC.installed():
        found[".heic"] = [encoded(rgb, "HEIF")]
    if JPEG_XL.installed():
        found[".jxl"] = [encoded(rgb, "JXL")]
    return found


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
    elif content[4:8] in (b"ftyp", b"jP  ", b"JXL ") or not content.startswith((b"II", b"MM")):  # a box, or a number
        place = rng.choice((0, rng.randrange(min(len(content), 400) - 4)))
        struct.pack_into(">I", damaged, place, number)
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


def damaged(rng: random.Random, content: bytes, others: list[bytes]) -> tuple[bytes, str]:
    """A file damaged in one way or another, and the name of that."""
    damage = rng.choice(DAMAGES)
    return damage(rng, content, others), damage.__name__
