"""Lines of CSV."""

import csv
import io
from collections.abc import Iterable

from commands.text import with_bytes_written


def csv_line(values: Iterable[object]) -> bytes:
    r"""A line that ends in "\n", as UTF-8; bytes of a path that are none are written as \xff.

    Values with line breaks in them, "\r" alone too, stand in quotation marks: Python's writer sees to the characters
    of its line ends only.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(values)
    return with_bytes_written(text.getvalue().removesuffix("\r\n")).encode("utf-8", "backslashreplace") + b"\n"
