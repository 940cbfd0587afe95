"""Lines of CSV."""

import csv
import io
import re
from collections.abc import Iterable

# A byte that is no text, as Python keeps it in paths (os.fsdecode).
_BYTE = re.compile("[\udc80-\udcff]")


def csv_line(values: Iterable[object]) -> bytes:
    r"""A line that ends in "\n", as UTF-8; bytes of a path that are none are written as \xff.

    Values with line breaks in them, "\r" alone too, stand in quotation marks: Python's writer sees to the characters
    of its line ends only.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    line = _BYTE.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text.getvalue().removesuffix("\r\n"))
    return line.encode("utf-8", "backslashreplace") + b"\n"
