"""Text that is safe to print."""

import re
from pathlib import PurePath

_BYTE = re.compile("[\udc80-\udcff]")


def printable(text: str | PurePath) -> str:
    r"""A name or a sentence for a terminal: line breaks, control characters and undecodable bytes as \n, \x1b, \xff.

    A file name must not drive the terminal, and a line must stay a line.
    """
    letters = with_bytes_written(str(text))
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in letters)


def with_bytes_written(text: str) -> str:
    r"""A path for formats that hold nothing but text: bytes that did not decode (os.fsdecode) as \xff."""
    return _BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)


def counted(count: int, thing: str) -> str:
    """How many there are of something: "1 photograph", "2,000 photographs". thing: of one."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
