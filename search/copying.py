"""The photographs of an answer into a folder: copied, or as links to them. No file that is there is touched."""

import filecmp
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commands.files import fitting_name, part_beside
from commands.text import printable
from search.errors import DeliveryError


@dataclass
class Delivered:
    """What came of it, each photograph in one of these."""

    written: list[Path] = field(default_factory=list)  # in the folder
    present: list[Path] = field(default_factory=list)  # in the folder, from before
    missing: list[tuple[Path, str]] = field(default_factory=list)  # photographs that cannot be read, and why


def check_folder(folder: Path) -> None:
    """Make the folder if it is missing. Raises DeliveryError if nothing can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        what = "a link to nothing" if folder.is_symlink() and not folder.exists() else "a file"
        raise DeliveryError(f"{printable(folder)} is {what}: name a folder for the photographs.") from error
    except OSError as error:
        raise DeliveryError(f"The folder {printable(folder)} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise DeliveryError(f"Nothing can be written into {printable(folder)}: it is write-protected.")


def deliver_photographs(photographs: Sequence[Path], folder: Path, *, link: bool = False) -> Delivered:
    """Copy photographs (absolute paths) into a folder, or link to them from there, under their own names.

    Where a name is taken by something else, the new one gets a number at its end: a.jpg, a-2.jpg. What is there
    already (the same bytes, or a link to the same file) stays and is not written again, so the same answer twice is
    the same folder. Copies keep the times of the files. A copy that is not whole has no name of a photograph.

    Raises DeliveryError if the folder takes no more: what is written stays.
    """
    done = Delivered()
    for photo in photographs:
        try:
            with open(photo, "rb"):
                pass
        except OSError as error:
            done.missing.append((photo, error.strerror or str(error)))
            continue
        target, present = _target(photo, folder, link)
        if present:
            done.present.append(target)
            continue
        try:
            _link(photo, target) if link else _copy(photo, target)
        except OSError as error:
            raise DeliveryError(_refusal(photo, folder, link, error, len(done.written))) from error
        done.written.append(target)
    return done


def _target(photo: Path, folder: Path, link: bool) -> tuple[Path, bool]:
    """Where a photograph goes, and whether it is there already."""
    number, target = 1, folder / photo.name
    while os.path.lexists(target):
        if _is_delivered(photo, target, link):
            return target, True
        number += 1
        target = folder / fitting_name(photo.stem, f"-{number}{photo.suffix}")
    return target, False


def _is_delivered(photo: Path, target: Path, link: bool) -> bool:
    """Whether a file or link in the folder is what would be written there."""
    try:
        if target.is_symlink():
            return link and target.samefile(photo)
        # The folder may be the one that the photograph is in.
        return target.is_file() and (target.samefile(photo) or (not link and filecmp.cmp(photo, target, shallow=False)))
    except OSError:  # a link to nothing, a file that cannot be read
        return False


def _link(photo: Path, target: Path) -> None:
    target.symlink_to(photo.absolute())


def _copy(photo: Path, target: Path) -> None:
    part = part_beside(target)
    try:
        shutil.copy2(photo, part)
        try:
            os.link(part, target)  # where another program made a file of this name meanwhile, refuses
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _refusal(photo: Path, folder: Path, link: bool, error: OSError, written: int) -> str:
    reason = error.strerror or str(error)
    if link and os.name == "nt":
        reason += " (Windows lets administrators make links only, or everybody in developer mode; --copy copies)"
    does = "linked to from" if link else "copied into"
    before = f"; {written} before it {'are' if written != 1 else 'is'} there" if written else ""
    return f"{printable(photo)} cannot be {does} {printable(folder)}: {reason}{before}."
