"""Everything on disk: photographs, boxes and phrases in SQLite, features in HDF5 segments, vectors in FAISS.

`Collection` is the three as one unit. Knows no torch. Each library is loaded when it is first needed, so that
`search --help` does not wait for it: SQLAlchemy (0.25 s) with `Collection`, faiss with the first search or saving,
h5py with the first commit.
"""

from typing import TYPE_CHECKING, Any

from db.errors import (
    CheckpointMismatch,
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionMissing,
    DbError,
    SchemaTooNew,
    UnknownId,
)
from db.location import default_collection
from db.records import (
    BuildRecord,
    CompactionReport,
    FailedFile,
    Features,
    IndexReport,
    ModelIdentity,
    NewPath,
    NewPhoto,
    PhotoRow,
    PhotoStat,
    RegionRow,
)

if TYPE_CHECKING:
    from db.collection import Collection

__all__ = [
    "BuildRecord",
    "CheckpointMismatch",
    "Collection",
    "CollectionDamaged",
    "CollectionError",
    "CollectionLocked",
    "CollectionMissing",
    "CompactionReport",
    "DbError",
    "FailedFile",
    "Features",
    "IndexReport",
    "ModelIdentity",
    "NewPath",
    "NewPhoto",
    "PhotoRow",
    "PhotoStat",
    "RegionRow",
    "SchemaTooNew",
    "UnknownId",
    "default_collection",
]


def __getattr__(name: str) -> Any:
    if name == "Collection":
        from db.collection import Collection

        return Collection
    raise AttributeError(f"module 'db' has no attribute {name!r}")
