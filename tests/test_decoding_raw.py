"""Camera raw photographs: by their preview, upright, or named as what they are."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto
from decoding.tiff_samples import write_tiff

pytest.importorskip("rawpy")


def picture(size: tuple[int, int]) -> Image.Image:
    """Red at the left, green at the right."""
    image = Image.new("RGB", size, (30, 180, 40))
    image.paste((200, 30, 40), (0, 0, size[0] // 2, size[1]))
    return image


def directory(entries: dict[int, tuple[str, tuple | bytes]], start: int, following: int = 0) -> bytes:
    """A TIFF directory that begins at `start`, with its values behind it: tag -> struct's letters and values."""
    kinds = {"B": 1, "s": 2, "H": 3, "I": 4, "2I": 5, "2i": 10}
    table, values = b"", b""
    place = start + 2 + 12 * len(entries) + 4
    for tag, (letters, value) in sorted(entries.items()):
        data = value + b"\0" if isinstance(value, bytes) else struct.pack(f"<{len(value)}{letters[-1]}", *value)
        count = len(data) if letters == "s" else len(value) // (2 if len(letters) == 2 else 1)
        field = data.ljust(4, b"\0")
        if len(data) > 4:
            field = struct.pack("<I", place + len(values))
            values += data + b"\0" * (len(data) % 2)
        table += struct.pack("<HHI", tag, kinds[letters], count) + field
    return struct.pack("<H", len(entries)) + table + struct.pack("<I", following) + values


def dng(*, preview: tuple[int, int] | None = (640, 480), orientation: int = 1) -> bytes:
    """A small DNG: a sensor's pixels, and a JPEG of the picture in the first directory if there is to be one."""
    width, height = 640, 480
    sensor = np.random.default_rng(0).integers(0, 4095, (height, width), np.uint16).tobytes()
    jpeg = io.BytesIO()
    if preview:
        picture(preview).save(jpeg, "JPEG", quality=95)
    about = {
        271: ("s", b"NIKON"),
        272: ("s", b"Test camera"),
        274: ("H", (orientation,)),
        306: ("s", b"2019:06:23 14:05:06"),
        50706: ("B", (1, 4, 0, 0)),  # DNGVersion
        50708: ("s", b"Test camera"),
        50721: ("2i", (1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1)),  # ColorMatrix1
        50728: ("2I", (1, 1, 1, 1, 1, 1)),  # AsShotNeutral
        50778: ("H", (21,)),  # CalibrationIlluminant1: D65
    }
    data = b"".join([sensor, jpeg.getvalue()])
    of_sensor = {
        254: ("I", (0,)), 256: ("I", (width,)), 257: ("I", (height,)), 258: ("H", (16,)), 259: ("H", (1,)),
        262: ("H", (32803,)), 273: ("I", (8,)), 277: ("H", (1,)), 278: ("I", (height,)), 279: ("I", (len(sensor),)),
        33421: ("H", (2, 2)), 33422: ("B", (0, 1, 1, 2)), 50711: ("H", (1,)), 50717: ("I", (4095,)),
    }  # fmt: skip
    first = 8 + len(data) + len(data) % 2
    head = b"II*\0" + struct.pack("<I", first) + data + b"\0" * (len(data) % 2)
    if preview is None:
        return head + directory(about | of_sensor, first)
    of_preview = {
        254: ("I", (1,)), 256: ("I", (preview[0],)), 257: ("I", (preview[1],)), 258: ("H", (8, 8, 8)),
        259: ("H", (7,)), 262: ("H", (6,)), 273: ("I", (8 + len(sensor),)), 277: ("H", (3,)),
        278: ("I", (preview[1],)), 279: ("I", (len(jpeg.getvalue()),)), 330: ("I", (0,)),
    }  # fmt: skip
    length = len(directory(about | of_preview, first))
    of_preview[330] = ("I", (first + length,))
    return head + directory(about | of_preview, first) + directory(of_sensor, first + length)


def refusal(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        OpenedPhoto(io.BytesIO(content)).decode()
    return str(caught.value)


def test_the_preview_is_the_photograph():
    photo = OpenedPhoto(io.BytesIO(dng())).decode()
    assert (photo.width, photo.height, photo.image.size) == (640, 480, (640, 480))
    assert np.abs(np.asarray(photo.image).astype(int) - np.asarray(picture((640, 480)))).mean() < 3
    assert (photo.headers.make, photo.headers.taken) == ("NIKON", "2019-06-23T14:05:06")


def test_it_is_upright():
    photo = OpenedPhoto(io.BytesIO(dng(orientation=6))).decode()
    assert (photo.width, photo.height) == (480, 640)
    red, green = photo.image.getpixel((240, 100)), photo.image.getpixel((240, 540))
    assert red[0] > 150 and green[1] > 150  # what was at the left is at the top


def test_without_a_preview_it_is_named():
    assert refusal(dng(preview=None)).startswith("a camera raw photograph")
    assert "largest preview has 160x120 pixels only" in refusal(dng(preview=(160, 120)))


def test_rubbish_with_the_first_bytes_of_one():
    assert refusal(b"FUJIFILMCCD-RAW " + bytes(500)).startswith("a camera raw photograph")
    sensor = write_tiff({256: [64], 257: [48], 258: [16], 259: [1], 262: [32803], 277: [1], 278: [48]}, [bytes(6144)])
    assert refusal(sensor.getvalue()).startswith("a camera raw photograph")
