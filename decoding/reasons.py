"""What is wrong with a file, in words of the person who has it."""

import errno
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from decoding.errors import PhotoError

# A photograph of which less is there is refused: what it shows may be in the part that is missing.
LEAST_SHARE = 0.9

# Unplugged, out of reach, worn out.
_DISK_ERRORS = frozenset(
    {errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ETIMEDOUT, getattr(errno, "ESTALE", errno.EIO)}
)
# What Pillow and its libraries say of a file that ends before its pixels do.
_ENDS_EARLY = ("truncated", "bytes not processed", "not enough image data", "unexpected end", "end of file")


@contextmanager
def faults_as_reasons() -> Iterator[None]:
    """Turns what is found wrong with a file into a PhotoError, and keeps Pillow's remarks on odd metadata to itself.

    What the disk says goes through, for it is no property of the file, which is to be tried again. Broken files raise
    OSError as well.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PhotoError:
        raise
    except Exception as error:  # whatever broken bytes lead to: OSError, SyntaxError, struct.error, MemoryError, ...
        if is_of_the_disk(error):
            raise
        if isinstance(error, MemoryError):
            raise PhotoError("decoding it takes more memory than there is") from error
        if ends_early(error):
            raise PhotoError("the file ends early") from error
        text = " ".join(str(error).split())
        raise PhotoError(f"cannot be decoded ({text or type(error).__name__})") from error


def is_of_the_disk(error: BaseException) -> bool:
    """Whether the disk failed, not the file."""
    return isinstance(error, OSError) and error.errno in _DISK_ERRORS


def ends_early(error: BaseException) -> bool:
    """Whether an error says that a file lacks its end."""
    text = str(error).lower()
    return isinstance(error, EOFError) or any(words in text for words in _ENDS_EARLY)


def share_of_file(file: BinaryIO, head: bytes) -> float | None:
    """How much of a file is there, by the size that its own header tells; None: it does not tell.

    Args:
        head: the first bytes of the file.
    """
    size = file.seek(0, os.SEEK_END)
    if head[:4] == b"RIFF":
        whole = int.from_bytes(head[4:8], "little") + 8
    elif head[:2] == b"BM":
        whole = int.from_bytes(head[2:6], "little")
    elif head[4:8] in (b"ftyp", b"jP  ", b"JXL "):
        whole = _end_of_boxes(file, size)
    else:
        return None
    return min(1.0, size / whole) if whole else None


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last box of a HEIC, AVIF, JPEG 2000 or JPEG XL file would end that is not there to be filled."""
    position = end = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or len(head) < 8:
            return size  # it goes on to the end, or is no box
        position += length
        if head[4:8] not in (b"free", b"skip"):
            end = position
    return end


def percent(share: float) -> str:
    """A share of a picture that is not all of it: "52 %"."""
    return f"{min(99, int(100 * share))} %"
