"""Names and sentences in a terminal."""

import os
from pathlib import Path

import pytest

from commands.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b é 狗", "a b é 狗"), ("\t\r\n", "\\t\\r\\n"), ("\udcfe", "\\xfe"), ("\u202e", "\\u202e"), ("", "")],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_paths_for_people():
    assert printable(Path("Üß 图/a.jpg")) == "Üß 图/a.jpg"
    assert printable(Path(os.fsdecode(b"caf\xe9.jpg"))) == "caf\\xe9.jpg"
    assert printable(Path("a\x1b[2J.jpg")) == "a\\x1b[2J.jpg"  # a file name must not drive the terminal
