"""Where a collection is: a folder, or the URL of a server."""

import os
import re
import shlex
from pathlib import Path

import platformdirs

from db.errors import CollectionError

ENVIRONMENT_VARIABLE = "DENSECAP_SEARCH_COLLECTION"
# Where roots of a collection on a server are on this computer: NAME=PATH, with os.pathsep between several.
ROOTS_VARIABLE = "DENSECAP_SEARCH_ROOT_AS"

Location = Path | str  # a str may be either, a Path is a folder

_PASSWORD = re.compile(r"(?<=://)([^:@/]*):[^@/]*@|(?<=[?&])password=[^&]*&?")
_SERVER = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def default_collection() -> Location:
    """What `DENSECAP_SEARCH_COLLECTION` names, else `collection` in the user's data folder. Creates nothing."""
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        return named if is_server(named) else Path(os.path.expanduser(named))
    return Path(platformdirs.user_data_dir("densecap-search", appauthor=False)) / "collection"


def is_server(location: Location) -> bool:
    """Whether this is the URL of a server."""
    return isinstance(location, str) and _SERVER.match(location) is not None


def roots_here() -> dict[str, Path]:
    """What DENSECAP_SEARCH_ROOT_AS says (`--root-as` sets it): a root's name or path -> where it is on this computer.

    Raises:
        CollectionError: it cannot be read.
    """
    found = {}
    for entry in filter(None, os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep)):
        name, equals, path = entry.partition("=")
        if not (name and equals and path):
            raise CollectionError(f"--root-as takes NAME=PATH, such as photos=/media/photos, not {entry!r}.")
        found[name] = Path(os.path.expanduser(path)).resolve()
    return found


def without_password(location: Location) -> str:
    """A location as it may be shown."""
    return _PASSWORD.sub(lambda found: f"{found[1]}@" if found[1] is not None else "", str(location)).rstrip("?&")


def option(location: Location) -> str:
    """What a command line needs to name a collection, to be put behind a command; "" for the default one."""
    if str(location) == str(default_collection()):
        return ""
    return f" --collection {shlex.quote(without_password(location))}"


def collection_folder(location: Location) -> Path:
    """The folder that a location names, absolute.

    Raises:
        CollectionError: it is the URL of a server.
    """
    if isinstance(location, str) and (server := _SERVER.match(location)):
        # Not the whole URL: there may be a password in it.
        raise CollectionError(f"A collection on a server ({server[1]}://...) cannot be used for this: name a folder.")
    return Path(location).absolute()
