"""Where pictures are written, and that they overwrite nothing but pictures of this program's."""

import os
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from commands.files import fitting_name, written_whole
from commands.text import printable
from search.errors import DrawError

# Says in a PNG who drew it: only such a file is ever overwritten.
_MARK = ("Software", "densecap-search")


def check_target(target: Path) -> None:
    """Raise DrawError if a picture cannot be written to target, before the work of finding what to draw."""
    if target.suffix.lower() != ".png":
        raise DrawError(f"The picture is a PNG: give it a name that ends in .png, not {printable(target)}.")
    if target.is_dir():
        raise DrawError(f"The picture cannot be written: {printable(target)} is a folder.")
    if not target.parent.is_dir():
        raise DrawError(f"The picture cannot be written: there is no folder {printable(target.parent)}.")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise DrawError(f"The picture cannot be written: {printable(target)} is write-protected.")
    if is_foreign(target):
        raise DrawError(f"{printable(target)} is there, and was not drawn here: give the new picture another name.")


def check_folder(target: Path) -> None:
    """Raise DrawError if pictures cannot be written into the folder target; it is made if it is missing."""
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise DrawError(f"The folder {printable(target)} cannot be made: {error.strerror}.") from error
    if not os.access(target, os.W_OK | os.X_OK):
        raise DrawError(f"The pictures cannot be written: {printable(target)} is write-protected.")


def write_png(picture: Image.Image, target: Path) -> None:
    """Write a picture as PNG, as a whole or not at all. Raises DrawError."""
    mark = PngInfo()
    mark.add_text(*_MARK)
    try:
        with written_whole(target) as part:
            picture.save(part, format="PNG", pnginfo=mark)
    except OSError as error:
        raise DrawError(f"The picture cannot be written to {printable(target)}: {error.strerror or error}.") from error


def free_targets(photos: Iterable[Path], folder: Path, suffix: str, *, keep: Iterable[Path] = ()) -> list[Path]:
    """Where in a folder a picture of each photograph may be written: `<name of the photograph><suffix>`.

    Names that two photographs share, or that would overwrite one of the files `keep` or any that this program did not
    draw, get a number at their end.
    """
    taken = {os.path.realpath(path) for path in keep}
    targets = []
    for photo in photos:
        number, target = 1, folder / fitting_name(photo.stem, suffix)
        while os.path.realpath(target) in taken or is_foreign(target):
            number += 1
            target = folder / fitting_name(photo.stem, f"-{number}{suffix}")
        taken.add(os.path.realpath(target))
        targets.append(target)
    return targets


def is_foreign(target: Path) -> bool:
    """Whether there is a file that this program did not draw."""
    if not target.is_file():
        return False
    try:
        with Image.open(target) as picture:
            return picture.info.get(_MARK[0]) != _MARK[1]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return True
