"""Everything on disk or on a server: photos, regions with their phrases, codes and embeddings. Knows no torch.

`db.collection` is what `indexer` and `search` use: the protocol `Collection` and `open_collection`. `db.local` is a
folder with SQLite, HDF5 segments and FAISS files; its maintenance (verify, compact, rebuild, switch to another
checkpoint) is in `db.local.maintenance`. `db.postgres` is a PostgreSQL server. docs/architecture.md documents the
formats.
"""
