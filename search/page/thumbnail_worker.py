"""The process that makes thumbnails: `python -m search.page.thumbnail_worker` (see worker.py, thumbnails.py).

    {"path": "/photos/a.jpg", "digest": SHA256, "side": 512}
    {"is_described": true}   and the JPEG; whether the file is, to the last bit, the one that was described

Or {"refused": REASON}, or {"missing": true} where there is no such file.
"""

import hashlib
import io
import os
import signal
import sys
from typing import Any

from PIL import Image

from decoding.errors import PhotoError
from decoding.photos import OpenedPhoto
from search.page.messages import read_message, write_message

QUALITY = 82


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdout = os.fdopen(os.dup(1), "wb")
    # What libraries print (libtiff does) is no answer, and of no use to anybody.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    while (message := read_message(sys.stdin.buffer)) is not None:
        write_message(stdout, *answer(message[0]))


def answer(question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    if not os.path.isfile(question["path"]):  # a pipe would never end
        return {"missing": True}, b""
    try:
        with open(question["path"], "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            jpeg = thumbnail(OpenedPhoto(file).decode(question["side"]).image, question["side"])
    except PhotoError as error:
        return {"refused": str(error)}, b""
    except FileNotFoundError:
        return {"missing": True}, b""
    except OSError as error:
        return {"refused": error.strerror or "it cannot be read"}, b""
    return {"is_described": digest == question["digest"]}, jpeg


def thumbnail(image: Image.Image, side: int) -> bytes:
    """A JPEG whose longest side is at most `side` pixels, with nothing but pixels in it.

    image: RGB (sRGB), upright; smaller ones stay as they are.
    """
    # A new image has no metadata that could come along.
    pixels = Image.frombytes("RGB", image.size, image.tobytes())
    pixels.thumbnail((side, side), Image.Resampling.LANCZOS)
    target = io.BytesIO()
    pixels.save(target, "JPEG", quality=QUALITY, optimize=True)
    return target.getvalue()


if __name__ == "__main__":
    main()
