"""`Thumbnails`: small upright JPEGs of described photographs, kept on disk within a bound.

One is kept under the digest of the photograph's content, so that copies share it, another collection may too, and a
file that was changed since it was described never stands for what was described.
"""

import os
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from db.records import PhotoRow
from search.page.errors import RequestError, WorkerError
from search.page.worker import WorkerPool

# Longest sides, pixels. A grid needs the first ones, a whole screen the others (the last one: 4K).
SIDES = (256, 512, 1024, 2048, 4096)

CACHE_BYTES = 500_000_000  # about 12,000 photographs as a grid shows them on a sharp screen

# For one photograph, as in a build: the largest that are accepted take 10 s on a slow core.
SECONDS = 60.0

# As far below the bound as the cache is emptied: looking through all of it once for so much is enough.
_EMPTIED_TO = 0.9


def default_cache() -> Path:
    """A folder for them in the user's cache folder. Creates nothing."""
    return Path(platformdirs.user_cache_dir("densecap-search", appauthor=False)) / "thumbnails"


@dataclass(frozen=True)
class Thumbnail:
    """A JPEG."""

    jpeg: bytes
    is_described: bool  # of the content that was described; else of what is in the file now


class Thumbnails:
    """For any number of threads."""

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES, workers: int = 2):
        """folder: made when there is something to keep. cache_bytes: what all files in it may take."""
        self._folder = folder
        self._cache_bytes = cache_bytes
        self._pool = WorkerPool(workers, "search.page.thumbnail_worker", seconds=SECONDS)
        self._lock = threading.Lock()
        self._size: int | None = None  # bytes of the cache; None: not looked at yet

    def close(self) -> None:
        self._pool.close()

    def get(self, photo: PhotoRow, side: int) -> Thumbnail:
        """Of a photograph, its longest side at most `side` pixels, one of SIDES.

        Raises RequestError if the file is gone, or what is in it now is no photograph.
        """
        path = self._path(photo, side)
        with suppress(OSError):
            jpeg = path.read_bytes()
            with suppress(OSError):
                os.utime(path)  # those used last stay longest
            return Thumbnail(jpeg, True)
        try:
            answer, jpeg = self._pool.ask({"path": str(photo.path), "digest": photo.digest, "side": side})
        except WorkerError as error:
            raise RequestError(422, f"The photograph could not be decoded. {error}") from error
        if "missing" in answer:
            raise RequestError(410, "The file is not there any more: `indexer build` looks again.")
        if "refused" in answer:
            raise RequestError(422, f"The file cannot be shown: {answer['refused']}.")
        made = Thumbnail(jpeg, answer["is_described"])
        if made.is_described:
            self._keep(path, jpeg)
        return made

    def _path(self, photo: PhotoRow, side: int) -> Path:
        return self._folder / photo.digest[:2] / f"{photo.digest}-{side}.jpg"

    def _keep(self, path: Path, jpeg: bytes) -> None:
        """Into the cache. Whatever the disk says to it: a cache that cannot be written costs time only."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
            with os.fdopen(handle, "wb") as file:
                file.write(jpeg)
            os.replace(name, path)
        except OSError:
            return
        with self._lock:
            self._size = self._looked_at() if self._size is None else self._size + len(jpeg)
            if self._size > self._cache_bytes:
                self._empty()

    def _files(self) -> list[tuple[float, int, Path]]:
        """When it was used, bytes and path of all in the cache."""
        found = []
        for path in self._folder.glob("*/*"):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        return found

    def _looked_at(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _empty(self) -> None:
        """Delete what was not used for longest."""
        files = sorted(self._files())
        size = sum(size for _, size, _ in files)
        for _, file_size, path in files:
            if size <= self._cache_bytes * _EMPTIED_TO:
                break
            with suppress(OSError):
                path.unlink()
                size -= file_size
        self._size = size
