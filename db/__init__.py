"""Everything on disk: photographs, boxes and phrases in SQLite, features in HDF5 segments, vectors in FAISS.

`Collection` is the three as one unit. Importing this package loads SQLAlchemy; faiss is loaded by the first search or
saving, h5py by the first commit. Knows no torch.
"""

from db.collection import Collection
from db.errors import (
    CheckpointMismatch,
    CollectionDamaged,
    CollectionError,
    CollectionLocked,
    CollectionMissing,
    DbError,
    SchemaTooNew,
)
from db.location import default_collection
from db.records import (
    BuildRecord,
    FailedFile,
    Features,
    ModelIdentity,
    NewPath,
    NewPhoto,
    PhotoRow,
    PhotoStat,
    RegionRow,
)

__all__ = [
    "BuildRecord",
    "CheckpointMismatch",
    "Collection",
    "CollectionDamaged",
    "CollectionError",
    "CollectionLocked",
    "CollectionMissing",
    "DbError",
    "FailedFile",
    "Features",
    "ModelIdentity",
    "NewPath",
    "NewPhoto",
    "PhotoRow",
    "PhotoStat",
    "RegionRow",
    "SchemaTooNew",
    "default_collection",
]
