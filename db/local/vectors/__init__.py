"""The FAISS files: nearest embeddings. Only `faiss_index` imports faiss."""
