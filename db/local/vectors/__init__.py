"""FAISS and its files, a cache of what the segments hold."""
