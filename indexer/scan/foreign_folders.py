"""Folders that are no albums: what systems, photo servers and programs keep between the photographs. The one list.

Hidden folders (`.thumbnails`, `.snapshot`, `.Trash-1000`) are left out by the walk itself.
"""

import re
from collections.abc import Iterable
from pathlib import Path

# In lower case.
_NAMES = frozenset(
    {
        # Synology: thumbnails and indexes, waste bin, snapshots, work folders
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@synologydrive", "@img_bkp_cache", "@sharesnap"),
        *("@appstore", "@appdata", "@apphome", "@apptemp", "@database", "@docker"),
        # QNAP and Asustor: waste bin, snapshots, converted videos
        *("@recycle", "@recently-snapshot", "@transcode", "network recycle bin"),
        # other boxes and servers: NetApp's snapshots, Buffalo's and TerraMaster's waste bins
        *("~snapshot", "trashbox", "@trash", "#trash"),
        # Nextcloud and ownCloud, seen from the server's disk
        *("files_trashbin", "files_versions", "files_external"),
        # Windows
        *("$recycle.bin", "recycler", "recycled", "system volume information", "config.msi", "msocache", "appdata"),
        # macOS
        *("__macosx", "network trash folder", "temporary items", "backups.backupdb", "ipod photo cache"),
        # Android, cameras: what was lost, thumbnails of videos
        *("lost.dir", "thmbnl"),
        # Capture One beside the photographs (Cache/Proxies, Cache/Thumbnails), ACDSee (before editing), Plex, Piwigo
        *("captureone", "[originals]", "plex versions", "pwg_representative"),
        # Linux, developers
        *("lost+found", "node_modules"),
    }
)
_PATTERNS = (
    r".*\.lrdata",  # Lightroom's previews
    r"appdata_\w+",  # Nextcloud's previews
    r"network recycle bin \d+",
    r"found\.\d{3}",  # Windows: what chkdsk found
    # macOS shows these as one file each
    r".*\.(app|framework|bundle|imovielibrary|fcpbundle|tvlibrary|musiclibrary|theater|sparsebundle|backupbundle)",
    r".*\.(rtfd|pages|numbers|key|band|logicx|imovieproject|docset|apvault|download)",
    r".*\.(cocatalog|cosessiondb)",  # Capture One: catalogues with their caches
)
_FOREIGN = re.compile("|".join(_PATTERNS), re.DOTALL).fullmatch

# Of no disk, and met where somebody gives "/": Linux makes up these files when they are read.
OF_THE_KERNEL = frozenset(map(Path, ("/dev", "/proc", "/sys")))

# Libraries of Apple's programs: what their owner imported is in one folder, everything else is made of that.
_LIBRARY = (".photoslibrary", ".photolibrary", ".aplibrary", ".migratedphotolibrary")
_ORIGINALS = frozenset({"originals", "masters"})
# Early ones of iPhoto keep originals in folders of years too.
_IPHOTO = "iphoto library"
_MADE_BY_IPHOTO = frozenset(
    {
        *(
            "data",
            "data.noindex",
            "modified",
            "previews",
            "thumbnails",
            "thumbs",
            "contents",
            "database",
            "attachments",
        ),
        *("auto import", "caches", "apple tv photo cache", "ipod photo cache", "faces", "resources"),
    }
)

# Immich puts a file `.immich` into each folder of its own; photographs are in the others, `library` and `upload`.
_MADE_BY_IMMICH = frozenset({"thumbs", "encoded-video", "profile", "backups"})

# A file of such a name in a folder: its owner wants no gallery to show what is in the folder and below it. Android's,
# Nextcloud's (two), PhotoPrism's where it keeps its thumbnails, and Jellyfin's if it is empty (else it holds patterns,
# in as many forms as there are programs).
_WISHES = frozenset({".nomedia", ".noimage", ".nomemories", ".ppstorage"})
_WISH_IF_EMPTY = ".ignore"


def is_foreign(name: str) -> bool:
    """Whether a folder is no album, by its name."""
    lower = name.lower()
    return lower in _NAMES or _FOREIGN(lower) is not None


def is_made_by_immich(name: str, entries: Iterable[str]) -> bool:
    """Whether a folder with these entries holds what the photo server Immich made of photographs."""
    return name in _MADE_BY_IMMICH and ".immich" in entries


def is_library(name: str) -> bool:
    """Whether a folder is a library of Apple's: no file in itself is a photograph, nor what lies in most folders."""
    return name.lower().endswith(_LIBRARY) or name.lower() == _IPHOTO


def is_of_owner(library: str, name: str) -> bool:
    """Whether a folder of such a library is an album: what its owner imported."""
    if library.lower() == _IPHOTO:
        return name.lower() not in _MADE_BY_IPHOTO and not is_foreign(name)
    return name.lower() in _ORIGINALS


def is_wish(name: str, size: int) -> bool:
    """Whether a file says that its folder is to be left out. size: of the file, bytes."""
    return name in _WISHES or (name == _WISH_IF_EMPTY and size == 0)


def may_be_wish(name: str) -> bool:
    """Whether that can be so, before its size is known."""
    return name in _WISHES or name == _WISH_IF_EMPTY
