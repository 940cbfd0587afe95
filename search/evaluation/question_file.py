"""Questions with the photographs that answer them, a JSON document a line."""

import json
import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from commands.text import printable
from search.errors import EvaluationError

if TYPE_CHECKING:
    from db.collection import Collection

Box = tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the upright photograph


@dataclass(frozen=True)
class Line:
    """A line of the file: a phrase, a photograph that answers it, and where in it, if that is said."""

    number: int  # from 1
    phrase: str
    photograph: str  # as it is named there
    box: Box | None


@dataclass
class Question:
    """A phrase and all photographs that answer it."""

    phrase: str
    answers: dict[int, list[Box]] = field(default_factory=dict)  # photo id -> its boxes, maybe none


@dataclass(frozen=True)
class Questions:
    """The questions of a file that the collection has a photograph for, and the lines that it has none for."""

    questions: list[Question]
    missing: list[Line]


def read_lines(file: Path) -> list[Line]:
    """The lines of a file: {"phrase", "photograph", "box": [x, y, width, height] or missing}; empty lines are none.

    Raises EvaluationError, with the number of the line.
    """
    name = printable(file)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise EvaluationError(f"There is no file {name}.") from error
    except OSError as error:
        raise EvaluationError(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{name} is no UTF-8 text.") from error
    lines = [
        _line(number, line, f"{name}, line {number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()
    ]
    if not lines:
        raise EvaluationError(f'{name} has no question: a line is {{"phrase": "a dog", "photograph": "a.jpg"}}.')
    return lines


def match(lines: Sequence[Line], collection: "Collection", folder: Path) -> Questions:
    """Find the photographs of some lines in a collection, and put lines of one phrase together.

    A photograph is named by its path: absolute, or relative to the folder of the file, to where we are, or to a root;
    or by its file name alone if only one photograph has it.
    """
    by_path: dict[str, int] = {}
    by_name: dict[str, int | None] = {}
    for row in collection.photos(collection.photo_ids()):
        name = _composed(row.path.name)
        by_path[_composed(str(row.path))] = row.photo_id
        by_name[name] = None if name in by_name else row.photo_id
    folders = [folder, Path.cwd(), *collection.roots().values()]
    questions: dict[str, Question] = {}
    missing = []
    for line in lines:
        photo_id = _find(line.photograph, folders, by_path, by_name)
        if photo_id is None:
            missing.append(line)
            continue
        question = questions.setdefault(line.phrase, Question(line.phrase))
        boxes = question.answers.setdefault(photo_id, [])
        if line.box is not None:
            boxes.append(line.box)
    return Questions(list(questions.values()), missing)


def _line(number: int, text: str, where: str) -> Line:
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise EvaluationError(f"{where} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise EvaluationError(f'{where} is no {{"phrase": ..., "photograph": ...}}.')
    phrase, photograph, box = _words(value, "phrase", where), _words(value, "photograph", where), value.get("box")
    if box is None:
        return Line(number, phrase.strip(), photograph, None)
    numbers = isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))
    if not numbers or not (box[2] > 0 and box[3] > 0):
        raise EvaluationError(f"{where} has a box that is not [x, y, width, height] in pixels.")
    x, y, width, height = map(float, box)
    return Line(number, phrase.strip(), photograph, (x, y, x + width, y + height))


def _words(value: dict[str, Any], name: str, where: str) -> str:
    given = value.get(name)
    if not isinstance(given, str) or not given.strip() or "\0" in given:
        raise EvaluationError(f'{where} has no "{name}".')
    return given


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _find(
    name: str, folders: Sequence[Path], by_path: Mapping[str, int], by_name: Mapping[str, int | None]
) -> int | None:
    for folder in folders:
        path = os.path.abspath(folder / os.path.expanduser(name))
        for candidate in map(_composed, (path, os.path.realpath(path))):
            if candidate in by_path:
                return by_path[candidate]
    return by_name.get(_composed(name))


def _composed(name: str) -> str:
    """One system writes umlauts in names of files as one letter, another as two."""
    return unicodedata.normalize("NFC", name)
