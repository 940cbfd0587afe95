"""The database of a collection's folder."""
