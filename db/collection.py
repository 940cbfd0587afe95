"""Collection: what indexer and search use, whatever holds it."""

from db.local.collection import Collection

__all__ = ["Collection"]
