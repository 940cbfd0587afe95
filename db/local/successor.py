"""The folder `next`: a collection for another checkpoint, on its way to replace the one that it is in."""

import os
import shutil

from db import queries
from db.local.layout import Layout
from db.local.sqlite.connection import Database
from db.local.sqlite.replacement import is_created
from db.records import ModelIdentity


def model_of(layout: Layout) -> ModelIdentity | None:
    """The checkpoint of the collection in a folder; None: there is none yet."""
    if not layout.database.exists():
        return None
    database = Database(layout.database, write=False)
    try:
        with database.session() as session:
            return queries.model(session) if is_created(session) else None
    finally:
        database.close()


def discard(layout: Layout) -> None:
    """Delete a collection's successor. Killed at any moment, it is whole, or gone but for what `sweep` deletes."""
    sweep(layout)
    if layout.successor.folder.exists():
        os.replace(layout.successor.folder, layout.discarded)
        sweep(layout)


def sweep(layout: Layout) -> None:
    """Delete what is left of a successor that was being discarded."""
    if layout.discarded.exists():
        shutil.rmtree(layout.discarded)
