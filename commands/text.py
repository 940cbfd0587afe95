"""Text that is safe to print."""

from pathlib import PurePath


def printable(text: str | PurePath) -> str:
    r"""A name or a sentence for a terminal: line breaks, control characters and undecodable bytes as \n, \x1b, \xff.

    A file name must not drive the terminal, and a line must stay a line.
    """
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in str(text))


def counted(count: int, thing: str) -> str:
    """How many there are of something: "1 photograph", "2,000 photographs". thing: of one."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte that did not decode (os.fsdecode)
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
