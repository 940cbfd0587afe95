"""Names and sentences in a terminal."""

import os
from pathlib import Path

import pytest

from commands.text import counted, printable


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


def test_one_is_not_several():
    assert [counted(count, "photograph") for count in (0, 1, 2, 2000)] == [
        "0 photographs", "1 photograph", "2 photographs", "2,000 photographs",
    ]  # fmt: skip
