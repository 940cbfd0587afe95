"""Lines of CSV."""

import csv
import io

import pytest

from commands.csv_lines import csv_line


@pytest.mark.parametrize("name", ["a.jpg", "a,b.jpg", 'a"b.jpg', "a\nb.jpg", "a\rb.jpg", "\r", "🐶.jpg"])
def test_any_name_comes_back(name):
    text = csv_line([1, name, None, 0.5]).decode()
    assert text.endswith("\n") and not text.endswith("\r\n")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["1", name, "", "0.5"]]


def test_bytes_that_are_no_text_are_written_out():
    assert csv_line(["caf\udce9.jpg", "b"]) == b"caf\\xe9.jpg,b\n"
