"""Data sets brought into one format, and word lists."""
