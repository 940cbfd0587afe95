"""A collection in a folder: SQLite, HDF5 segments and FAISS files."""
