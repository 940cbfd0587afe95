"""A collection in a folder: SQLite for the rows, HDF5 segments for the features, FAISS files as a cache.

`layout` draws the folder; `collection` is the back end.
"""
