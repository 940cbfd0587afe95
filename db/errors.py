"""What can go wrong with a collection. Every message is a full sentence: what, where, and the way out.

DbError
└── CollectionError             anything below, and what the disk refuses (full, read-only, not permitted)
    ├── CollectionMissing       there is no collection in that folder, or on that server
    ├── CollectionUnreachable   its server does not answer, does not let us in, or was lost half-way
    ├── CollectionLocked        another process is writing it
    ├── CheckpointMismatch      it was described by another checkpoint
    ├── SchemaTooNew            a newer version of the program wrote it
    ├── CollectionDamaged       a file of it is missing or altered
    └── UnknownId               it holds no photo or region of that id (also a KeyError)
"""


class DbError(Exception):
    """Base of everything that this package raises on purpose."""


class CollectionError(DbError):
    """The collection cannot be used as asked."""


class CollectionMissing(CollectionError):
    """There is no collection in that folder, or on that server."""


class CollectionUnreachable(CollectionError):
    """The server of the collection does not answer, does not let us in, or was lost half-way."""


class CollectionLocked(CollectionError):
    """Another process is writing the collection; the message names its process id and start time."""


class CheckpointMismatch(CollectionError):
    """The collection was described by another checkpoint: its vectors mean nothing to this one."""


class SchemaTooNew(CollectionError):
    """A newer version of the program wrote the collection."""


class UnknownId(CollectionError, KeyError):
    """There is no photo or region of that id. If the id came from the same commit, the collection is damaged."""

    def __init__(self, what: str):
        """what: the kind of row and the id, such as "region 7"; it ends up in the sentence."""
        super().__init__(f"The collection knows no {what}: if you did not ask for it, run `indexer verify`.")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would put it in quotes


class CollectionDamaged(CollectionError):
    """A file of the collection is missing or was altered."""

    def __init__(self, fault: str):
        """fault: the beginning of the sentence: which file, and what is wrong with it."""
        super().__init__(f"{fault}: run `indexer verify --repair`.")
        self.fault = fault
