"""JSON as bytes, written piece by piece: a collection may be larger than memory."""

import json
from collections.abc import Callable, Iterable
from typing import Any

Write = Callable[[bytes], object]


def dump(value: Any) -> bytes:
    r"""A value as JSON. A byte of a path that is no text is \udcXX, which os.fsencode makes a byte again."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def write_list(write: Write, values: Iterable[Any]) -> None:
    """A JSON list, a value a line."""
    write(b"[")
    for index, value in enumerate(values):
        write((b",\n" if index else b"\n") + dump(value))
    write(b"\n]")
