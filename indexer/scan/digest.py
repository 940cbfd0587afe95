"""The digest of a file: two files of one digest have the same content."""

import hashlib
from pathlib import Path


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
