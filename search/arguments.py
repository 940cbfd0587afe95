"""Which photographs the arguments of `search detect` name. Opens none of them."""

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from commands.text import printable
from decoding.formats import EXTRAS, SUFFIXES
from search.errors import DetectError


def has_photo_name(path: str | Path) -> bool:
    """Whether a file is a photograph by its name."""
    return Path(path).suffix.lower() in SUFFIXES.union(*(extra.suffixes for extra in EXTRAS))


def refuse_photos_among_phrases(phrases: Sequence[str], places: Sequence[Path]) -> None:
    """Raise DetectError for photographs that stand among the phrases, as they did before there was --in.

    A word that happens to be the name of a file or folder here ("dog") is a phrase nonetheless.
    """
    misplaced = [
        phrase
        for phrase in phrases
        if has_photo_name(phrase) or phrase.endswith("/") or ("/" in phrase and os.path.exists(phrase))
    ]
    if misplaced:
        words = [phrase for phrase in phrases if phrase not in misplaced] or ["head of a dog"]
        command = shlex.join(["search", "detect", *words, "--in", *map(str, places), *misplaced])
        raise DetectError(f"Photographs come after --in, and what to look for before it: {printable(command)}")


def find_photos(arguments: Iterable[Path]) -> list[Path]:
    """The files given, and those of the folders given that are photographs by their names, each once.

    Folders with all that is in them, in the order of names; hidden files and folders are left out. A file given by name
    may have any. A folder that cannot be listed stands for what is in it: who opens it learns why.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        for path in _walk(argument) if argument.is_dir() else [argument]:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def _walk(folder: Path) -> Iterator[Path]:
    unlisted: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=unlisted.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and has_photo_name(name):
                yield Path(parent, name)
    yield from (Path(error.filename) for error in unlisted)
