"""`vacuum`: PostgreSQL's own cleaning up, for who does not want to wait until it does it by itself."""

from sqlalchemy import text
from sqlalchemy.orm import Session

from db.postgres.partitions import TABLES, partitions
from db.postgres.server import Server
from db.records import CompactionReport


def vacuum(server: Server) -> CompactionReport:
    """Give the room of rows that are gone to new ones, and that at the end of a table back to the disk.

    Autovacuum does the same by and by. Neither questions nor commits wait.
    """
    with server.session() as session:
        before, dead = _room(session)
        tables = [partition.of(table) for table in TABLES for partition in partitions(session)]
    tables += ["photo", "meta", "writer"]
    with server.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in tables:
            connection.execute(text(f"VACUUM (ANALYZE) {table}"))
    with server.session() as session:
        after, _ = _room(session)
    return CompactionReport(None, None, bytes_before=before, bytes_after=after, rows_dropped=dead)


def _room(session: Session) -> tuple[int, int]:
    """Bytes of all tables and indexes, and regions that are gone but not cleaned up yet."""
    session.execute(text("SELECT pg_stat_force_next_flush()"))
    size = session.scalar(
        text(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
            "WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind = 'r'"
        )
    )
    dead = session.scalar(
        text(
            "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables "
            "WHERE schemaname = current_schema() AND relname ~ '^region_[0-9]+$'"
        )
    )
    assert isinstance(size, int) and isinstance(dead, int)
    return size, dead
