"""A collection on a PostgreSQL server with pgvector: rows, vectors and codes in one transaction, any number of writers.

`collection.py` is the protocol `db.collection.Collection`; docs/scaling.md says when a server is worth it and
documents its tables.
"""
