"""Every file name in a collection's folder, in one place.

    <folder>/
    ├── photos.db                     SQLite: what the collection holds, and which of the files below belong to it
    │   photos.db-wal -shm -journal   SQLite's own
    ├── photos.copy.db                photos.db as the last build left it, for `verify --repair`
    ├── photos.schema-<version>.db    photos.db before a newer program brought its schema up to date
    ├── photos.db.damaged             what the copy was put in the place of
    ├── features/
    │   └── <id>-<sha256>.h5          HDF5 segments: codes and embeddings, one file a commit
    ├── regions.<id>.faiss            FAISS files: a cache of the embeddings
    ├── lists.<sha256>.faiss          the centres of their inverted lists, one file for many of them
    ├── *.faiss.damaged               one that could not be used
    ├── lock                          locked by the one writer; says which process that is
    ├── readers                       share-locked by every reader: no file is deleted meanwhile
    ├── next/                         a collection for another checkpoint, on its way to replace this one
    └── discarded/                    one that is being deleted

    <name>.tmp                        any of these while it is written

A file belongs to the collection once photos.db names it; docs/architecture.md says what is in each.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")
_TEMPORARY, _DAMAGED = ".tmp", ".damaged"


@dataclass(frozen=True)
class Layout:
    """The paths in the collection's folder."""

    folder: Path

    @property
    def database(self) -> Path:
        return self.folder / "photos.db"

    @property
    def database_copy(self) -> Path:
        return self.folder / "photos.copy.db"

    def database_of_schema(self, version: int) -> Path:
        return self.folder / f"photos.schema-{version}.db"

    @property
    def features(self) -> Path:
        return self.folder / "features"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def readers(self) -> Path:
        return self.folder / "readers"

    @property
    def successor(self) -> "Layout":
        return Layout(self.folder / "next")

    @property
    def discarded(self) -> Path:
        return self.folder / "discarded"

    def has_orphaned_files(self) -> bool:
        """Whether there are files that only a collection leaves, and no photos.db or an empty one to name them."""
        return (
            self.database_copy.exists() or any(self.features.glob("*.h5")) or any(self.folder.glob("regions.*.faiss"))
        )

    def unfinished_databases(self) -> Iterator[Path]:
        """Copies of photos.db that were being written."""
        return self.folder.glob(f"*.db{_TEMPORARY}")


def segment_name(segment_id: int, sha256: str) -> str:
    """In `features`. The checksum is part of it: a name never stands for two contents, not even if an id comes again
    after a commit that failed."""
    return f"{segment_id:08d}-{sha256[:8]}.h5"


def index_file_name(index_id: int) -> str:
    return f"regions.{index_id}.faiss"


def quantizer_name(sha256: str) -> str:
    """By its content: never two contents under one name."""
    return f"lists.{sha256[:16]}.faiss"


def segments_in(features: Path) -> Iterator[Path]:
    """All segments, those being written too."""
    yield from features.glob("*.h5")
    yield from features.glob(f"*.h5{_TEMPORARY}")


def index_files_in(folder: Path) -> Iterator[Path]:
    """All FAISS files, their lists and those being written too; not those set aside as damaged."""
    name = re.compile(rf"(regions\.\d+|lists\.[0-9a-f]{{16}})\.faiss({re.escape(_TEMPORARY)})?")
    return (path for path in folder.glob("*.faiss*") if name.fullmatch(path.name))


def temporary(path: Path) -> Path:
    """What a file is called until it is complete."""
    return path.with_name(path.name + _TEMPORARY)


def damaged(path: Path) -> Path:
    """What a damaged file is called once another takes its place."""
    return path.with_name(path.name + _DAMAGED)
