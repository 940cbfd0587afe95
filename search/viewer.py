"""A file shown in the program that the system shows such files with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from commands.text import printable
from search.errors import DeliveryError

# An opener that fails does so at once; one that is still at work then shows the file.
_FAILS_WITHIN_SECONDS = 1.5


def show(path: Path) -> None:
    """Have the system open a file, and do not wait for it to be closed. Raises DeliveryError if it cannot."""
    if sys.platform == "win32":
        try:
            os.startfile(path)
        except OSError as error:
            raise DeliveryError(f"{printable(path)} cannot be opened: {error.strerror}.") from error
        return
    names = ("open",) if sys.platform == "darwin" else ("xdg-open", "wslview", "gio")
    opener = next((name for name in names if shutil.which(name)), None)
    if opener is None:
        raise DeliveryError(f"There is no program here that opens files ({', '.join(names)}): open {printable(path)}.")
    command = [opener, *(["open"] if opener == "gio" else []), str(path.absolute())]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        code = process.wait(_FAILS_WITHIN_SECONDS)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # goes on by itself, and Python need not say so
        return
    if code:
        raise DeliveryError(f"{opener} cannot open {printable(path)} (exit status {code}).")
