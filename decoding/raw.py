"""Camera raw photographs, by the preview that the camera put into them: developed by its maker, and quick."""

import io
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from decoding.errors import PhotoError
from decoding.formats import RAW

if TYPE_CHECKING:
    import rawpy

# A preview whose longer side has fewer pixels is a thumbnail: too little of the photograph is in it.
_LEAST_SIDE = 300
# LibRaw's turns as EXIF orientations.
_ORIENTATIONS = {0: 1, 3: 3, 5: 8, 6: 6}


def preview(file: BinaryIO) -> tuple[io.BytesIO, int]:
    """The largest preview in a raw file: a JPEG or another file for Pillow, and the EXIF orientation of the photograph.

    Raises:
        PhotoError: there is none that can be used.
    """
    if not RAW.installed():
        raise PhotoError(f"a camera raw photograph, {RAW.remedy}")
    import rawpy

    file.seek(0)
    try:
        with rawpy.imread(file) as raw:
            orientation = _ORIENTATIONS.get(raw.sizes.flip, 1)
            thumbnail = raw.extract_thumb()
    except rawpy.LibRawNoThumbnailError as error:
        raise PhotoError("a camera raw photograph without a preview") from error
    except rawpy.LibRawUnsupportedThumbnailError as error:
        raise PhotoError("a camera raw photograph whose preview is of a kind that cannot be read") from error
    except rawpy.LibRawError as error:
        text = _text(error)
        if text == "Input/output error":  # LibRaw's word for a file that ends where it should go on
            raise PhotoError("a camera raw photograph that is damaged or ends early") from error
        raise PhotoError(f"a camera raw photograph that cannot be read ({text})") from error
    return _as_file(thumbnail), orientation


def _as_file(thumbnail: "rawpy.Thumbnail") -> io.BytesIO:
    from rawpy import ThumbFormat

    if thumbnail.format == ThumbFormat.JPEG:
        return io.BytesIO(bytes(thumbnail.data))
    from PIL import Image

    if thumbnail.format != ThumbFormat.BITMAP:
        raise PhotoError("a camera raw photograph whose preview is of a kind that cannot be read")
    picture = io.BytesIO()
    Image.fromarray(np.asarray(thumbnail.data)).save(picture, "BMP")
    picture.seek(0)
    return picture


def check_size(width: int, height: int) -> None:
    """Raise PhotoError if a preview is too small to stand for its photograph."""
    if max(width, height) < _LEAST_SIDE:
        raise PhotoError(f"a camera raw photograph whose largest preview has {width}x{height} pixels only")


def _text(error: Exception) -> str:
    text = error.args[0] if error.args else error
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
