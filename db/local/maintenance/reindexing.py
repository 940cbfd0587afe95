"""`rebuild_index`: all FAISS files from the segments."""

from typing import TYPE_CHECKING

from db.local.records import FaissFile
from db.local.sqlite.connection import plain_errors
from db.local.sqlite.writes import next_id, replace_indexes
from db.records import IndexReport

if TYPE_CHECKING:
    from db.local.collection import LocalCollection


def rebuild_index(collection: "LocalCollection") -> IndexReport:
    """Build all FAISS files from the segments, and measure how well they find.

    Files are of the kind that suits the number of regions. The same collection gives the same files.

    Raises:
        CollectionDamaged: a segment is missing or altered.
    """
    collection.require_writer()
    snapshot = collection.snapshot
    with collection.database.session() as session:
        first_id, quantizer_id = next_id(session, "index_file"), next_id(session, "quantizer")
    # All are committed at once: ranges of old and new files need not agree.
    files: list[FaissFile] = []
    quantizer = None  # is trained for the first file that needs it
    with plain_errors(collection.path):
        for plan in collection.index_files.plan(snapshot, None, from_scratch=True):
            written = collection.index_files.write(first_id + len(files), plan, snapshot, quantizer, quantizer_id)
            files.append(written.file)
            quantizer = written.quantizer or quantizer
    with collection.database.session() as session:
        replace_indexes(session, [file.id for file in snapshot.files], files, quantizer)
    collection.index_saved()
    from db.local.vectors.recall import measure  # imports faiss

    return measure(collection.reader.vectors, collection.snapshot, collection.segments)
