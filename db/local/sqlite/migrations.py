"""The schema of photos.db, as numbered steps forwards. A step that was released is never edited.

The number of the last step taken is SQLite's `user_version`, so it commits together with what the step did.
"""

from collections.abc import Callable, Iterable

from sqlalchemy import Connection

from db.errors import CollectionError, SchemaTooNew


def m001_tables(connection: Connection) -> None:
    """Roots, photos, regions, segments, builds, and the row about the collection itself.

    AUTOINCREMENT: SQLite otherwise gives the highest deleted id to the next row, and a region id that once meant
    another region is the one thing FAISS cannot notice.
    """
    for statement in (
        """
        CREATE TABLE meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            model_digest TEXT NOT NULL,
            embedding_size INTEGER NOT NULL,
            code_size INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            index_generation INTEGER NOT NULL,
            index_revision INTEGER NOT NULL,
            index_lists INTEGER NOT NULL,
            index_size INTEGER NOT NULL,
            index_sha256 TEXT NOT NULL
        )""",
        """
        CREATE TABLE root (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            path BLOB NOT NULL UNIQUE
        )""",
        """
        CREATE TABLE segment (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            rows INTEGER NOT NULL,
            size INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            codes_offset INTEGER NOT NULL,
            embeddings_offset INTEGER NOT NULL
        )""",
        """
        CREATE TABLE photo (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            root_id INTEGER NOT NULL REFERENCES root (id),
            path BLOB NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            digest TEXT,
            reason TEXT,
            width INTEGER,
            height INTEGER,
            first_region_id INTEGER,
            region_count INTEGER,
            segment_id INTEGER REFERENCES segment (id),
            first_row INTEGER,
            UNIQUE (root_id, path),
            CHECK ((reason IS NULL) = (segment_id IS NOT NULL))
        )""",
        "CREATE INDEX ix_photo_digest ON photo (digest)",
        "CREATE INDEX ix_photo_segment_id ON photo (segment_id)",
        """
        CREATE TABLE region (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            photo_id INTEGER NOT NULL REFERENCES photo (id) ON DELETE CASCADE,
            x1 REAL NOT NULL,
            y1 REAL NOT NULL,
            x2 REAL NOT NULL,
            y2 REAL NOT NULL,
            score REAL NOT NULL,
            phrase TEXT NOT NULL
        )""",
        "CREATE INDEX ix_region_photo_id ON region (photo_id)",
        """
        CREATE TABLE build (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            finished_at TEXT NOT NULL,
            seconds REAL NOT NULL,
            counts JSON NOT NULL
        )""",
    ):
        connection.exec_driver_sql(statement)


def m002_checksums(connection: Connection) -> None:
    """Checksums of each photo's rows; several FAISS files, each of a range of regions, in a table of their own."""
    for statement in (
        "ALTER TABLE photo ADD COLUMN features_crc32 INTEGER",
        "ALTER TABLE photo ADD COLUMN regions_crc32 INTEGER",
        "CREATE INDEX ix_photo_first_region_id ON photo (first_region_id, region_count)",
        """
        CREATE TABLE index_file (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            first_region_id INTEGER NOT NULL,
            last_region_id INTEGER NOT NULL,
            region_count INTEGER NOT NULL,
            lists INTEGER NOT NULL,
            size INTEGER NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        # The one file that there was, if it is up to date; else the next one is made from the segments.
        """
        INSERT INTO index_file
        SELECT index_generation, 1, (SELECT seq FROM sqlite_sequence WHERE name = 'region'),
            (SELECT sum(region_count) FROM photo), index_lists, index_size, index_sha256
        FROM meta
        WHERE index_generation > 0 AND index_revision = revision
            AND EXISTS (SELECT * FROM photo WHERE region_count > 0)""",
        """
        CREATE TABLE new_meta (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            model_digest TEXT NOT NULL,
            embedding_size INTEGER NOT NULL,
            code_size INTEGER NOT NULL,
            revision INTEGER NOT NULL
        )""",
        "INSERT INTO new_meta SELECT id, model_digest, embedding_size, code_size, revision FROM meta",
        "DROP TABLE meta",
        "ALTER TABLE new_meta RENAME TO meta",
    ):
        connection.exec_driver_sql(statement)


def m003_headers(connection: Connection) -> None:
    """What headers tell, change times, what is missing of a picture, and what was left out of a root.

    Headers of photographs that are there already are read by the next build.
    """
    for column in (
        "ctime_ns INTEGER",
        "incomplete TEXT",
        "taken TEXT",
        "utc_offset INTEGER",
        "make TEXT",
        "model TEXT",
        "lens TEXT",
        "latitude REAL",
        "longitude REAL",
        "rating INTEGER",
        "keywords JSON",
    ):
        connection.exec_driver_sql(f"ALTER TABLE photo ADD COLUMN {column}")
    connection.exec_driver_sql("ALTER TABLE root ADD COLUMN left_out JSON")


def m004_quantizer(connection: Connection) -> None:
    """One set of lists for many FAISS files. Files that have lists of their own keep them until they are rewritten."""
    for statement in (
        """
        CREATE TABLE quantizer (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            lists INTEGER NOT NULL,
            nprobe INTEGER NOT NULL,
            regions INTEGER NOT NULL,
            size INTEGER NOT NULL,
            sha256 TEXT NOT NULL
        )""",
        "ALTER TABLE index_file ADD COLUMN quantizer_id INTEGER",
        "ALTER TABLE index_file ADD COLUMN recall REAL",
    ):
        connection.exec_driver_sql(statement)


def m005_precisions(connection: Connection) -> None:
    """In which ways photographs were described."""
    connection.exec_driver_sql("ALTER TABLE meta ADD COLUMN precisions JSON")


Migration = Callable[[Connection], None]
MIGRATIONS: tuple[Migration, ...] = (m001_tables, m002_checksums, m003_headers, m004_quantizer, m005_precisions)
# What a reader needs is in the tables from this step on: it does without what came later.
READABLE = 3
_SINCE = {  # columns; the table "quantizer" is of step 4 too
    ("index_file", "quantizer_id"): 4,
    ("index_file", "recall"): 4,
    ("meta", "precisions"): 5,
}


def columns_of(table: str, declared: Iterable[str], version: int) -> list[str]:
    """Those of a table's declared columns that a readable database of this schema has, in their order."""
    if table == "quantizer" and version < 4:
        return []
    return [name for name in declared if _SINCE.get((table, name), 0) <= version]


def schema_version(connection: Connection) -> int:
    """The number of the last step that the database has taken; 0: nothing is in it."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def check_version(version: int) -> None:
    """Refuse a database that this program cannot read as it is.

    Raises:
        SchemaTooNew: a newer program wrote it.
        CollectionError: an older one did, and it was not migrated yet.
    """
    if version > len(MIGRATIONS):
        raise SchemaTooNew(
            f"The collection has schema {version}, this program knows schemas up to {len(MIGRATIONS)}: "
            "use the newer version of densecap-search that wrote it."
        )
    if version < READABLE:
        raise CollectionError(
            f"The collection has the older schema {version}: run `indexer build` once to bring it to {len(MIGRATIONS)}."
        )


def migrate(connection: Connection) -> None:
    """Take the steps that are missing, within the caller's transaction: all of them or none.

    Raises:
        SchemaTooNew: a newer program wrote the database.
    """
    for version, step in enumerate(MIGRATIONS[schema_version(connection) :], start=schema_version(connection) + 1):
        step(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {version}")
    check_version(schema_version(connection))
